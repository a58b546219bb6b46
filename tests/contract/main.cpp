// contract_test --provider=NAME [--gtest_...]: the contract suite over one provider.
//
// A provider that needs a key is tested under the emulator (sandkey-emulator -- contract_test ...), or with
// SANDKEY_LIVE=1 and a key in the environment on the real cloud, where it costs money and leaves out the
// cases that need the emulator. Exit code 77 says that nothing was tested, and why.
#include "tests/contract/suite.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::contract {
namespace {

constexpr int kUsage = 2;
constexpr int kNothingTested = 77;  // what ctest takes for "skipped"

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets any
  return value == nullptr ? "" : value;
}

int usage() {
  std::fprintf(stderr, "usage: contract_test --provider=NAME [--gtest_...]\n");
  return kUsage;
}

int nothing_tested(const std::string& why) {
  std::fprintf(stderr,
               "==========================================================================\n"
               "NOT TESTED: the contract of %s.\n%s\n"
               "==========================================================================\n",
               subject().name.c_str(), why.c_str());
  return kNothingTested;
}

std::string variables() {
  std::string names;
  for (const KeyPart& part : subject().key) names += (names.empty() ? "" : ", ") + part.variable;
  return names;
}

bool have_key() {
  const std::vector<KeyPart>& key = subject().key;
  return std::ranges::all_of(key,
                             [](const KeyPart& part) { return !variable(part.variable.c_str()).empty(); });
}

void learn_key(const CredentialSpec& spec) {
  for (const PartSpec& part : spec.forms.front().parts)
    subject().key.push_back({std::string(part.variables.front()), std::string(part.config_key)});
  for (const FormSpec& form : spec.forms)
    for (const PartSpec& part : form.parts)
      subject().key_variables.insert(subject().key_variables.end(), part.variables.begin(),
                                     part.variables.end());
}

// Sets the mode; an exit code if nothing can be tested in any.
std::optional<int> choose_mode() {
  if (subject().key.empty()) {
    subject().mode = Mode::plain;
    return std::nullopt;
  }
  if (!variable("SANDKEY_EMULATOR_URL").empty()) {
    subject().mode = Mode::emulated;
    return std::nullopt;
  }
  if (variable("SANDKEY_LIVE") != "1") {
    return nothing_tested(
        "Start it under the emulator: sandkey-emulator -- contract_test --provider=" + subject().name +
        "\nor set SANDKEY_LIVE=1 and " + variables() + " to test the real cloud, which costs money.");
  }
  if (!have_key())
    return nothing_tested("SANDKEY_LIVE=1 asks for the real cloud, but " + variables() + " is not set.");
  subject().mode = Mode::live;
  std::fprintf(stderr, "contract_test: on the real %s; cases that need faults or bad accounts are left out\n",
               subject().name.c_str());
  return std::nullopt;
}

int run(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  constexpr std::string_view kProvider = "--provider=";
  const auto choice = std::find_if(words.begin(), words.end(),
                                   [&](const std::string& word) { return word.starts_with(kProvider); });
  if (choice == words.end()) return usage();
  subject().name = choice->substr(kProvider.size());
  words.erase(choice);
  const ProviderEntry& entry = find_provider(subject().name);
  if (entry.open == nullptr) return nothing_tested("This version can make no sandboxes there yet.");
  const auto facts = all_facts().find(subject().name);
  if (facts == all_facts().end()) {
    std::fprintf(stderr,
                 "contract_test: write sandkey/providers/%s/contract.h; see docs/adding-a-provider.md\n",
                 subject().name.c_str());
    return kUsage;
  }
  subject().facts = facts->second;
  if (entry.cloud) learn_key(entry.cloud->credential_spec());
  if (!words.empty() && words[0] == "--play") return play({words.begin() + 1, words.end()});
  if (const auto code = choose_mode()) return *code;
  // From here on the suites ask which providers concern them.
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace sandkey::contract

int main(int argc, char** argv) {
  try {
    return sandkey::contract::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "contract_test: %s\n", error.what());
    return 1;
  }
}
