// Every verb in every cloud that is emulated: with nothing but the vendor's own variables.
#include "sandkey/providers/registry.h"
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace sandkey::cli_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Those that can make sandboxes, and whose emulators may.
std::vector<std::string> clouds() {
  std::vector<std::string> names;
  std::istringstream emulated(SANDKEY_EMULATED);
  for (std::string name; emulated >> name;) {
    if (find_provider(name).open != nullptr) names.push_back(name);
  }
  return names;
}

class CliCloud : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_sandboxes(); !why.empty()) GTEST_SKIP() << why;
    if (emulated("ask accounts | grep -q '\"'$P'\":'").code != 0)
      GTEST_SKIP() << GetParam() << " is not emulated";
  }
  // A script of a shell's under `sandkey emulate`, in which $S is the program, $P the provider, and `key_of
  // ACCOUNT` prints the key of one of the emulator's accounts, each text of it on a line.
  Result emulated(const std::string& script) {
    const std::string helpers = R"sh(
      ask() { curl -s -H "X-Emulator-Key: $SANDKEY_EMULATOR_KEY" "$SANDKEY_EMULATOR_URL/_emulator/$1"; }
      key_of() { ask accounts | python3 -c "import json, sys
print(json.load(sys.stdin)['$P']['$1'].replace(':', chr(10)))"; }
    )sh";
    program_.environment["S"] = SANDKEY_CLI;
    program_.environment["P"] = GetParam();
    program_.environment["HERE"] = here_.path();
    return program_.run({"emulate", "--", "/bin/sh", "-e", "-c", helpers + script});
  }
  // "E2B_API_KEY": of the first text of its usual key.
  [[nodiscard]] static std::string variable() {
    const CredentialSpec& spec = find_provider(GetParam()).cloud->credential_spec();
    return std::string(spec.forms.front().parts.front().variables.front());
  }

  TempDir here_;
  Program program_{here_};
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CliCloud);
INSTANTIATE_TEST_SUITE_P(, CliCloud, ::testing::ValuesIn(clouds()),
                         [](const auto& instance) { return instance.param; });

TEST_P(CliCloud, EveryVerbWorks) {
  const Result result = emulated(R"sh(
    $S auth check $P | grep -q accepted
    $S providers | grep -q "^$P  *yes"
    $S run --provider $P -- sh -c 'echo one; exit 3' || [ $? -eq 3 ]
    $S run --provider $P --keep --sid box -- sh -c 'echo kept >f'
    $S ls | grep -q "^box  *$P  *running"
    $S cp box:/workspace/f "$HERE/f" && cat "$HERE/f"
    mkdir "$HERE/d" && echo data >"$HERE/d/x" && $S cp "$HERE/d" box:/workspace/
    $S run --sid box -- cat d/x
    $S python --sid box 'x = 6 * 7'
    $S python --sid box 'print(x)'
    $S pause box && $S ls | grep -q "^box  *$P  *paused"
    $S resume box && $S ls | grep -q "^box  *$P  *running"
    $S pause box
    $S run --sid box -- cat f
    $S run --sid box -- sh -c 'echo page >index.html; python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1'
    $S url box 8000 --json | grep -q '"headers":{"'
    $S forward box 0:8000 >"$HERE/forward" 2>&1 & forward=$!
    until grep -q Forwarding "$HERE/forward"; do sleep 0.05; done
    curl -s "$(grep -o 'http://[^ ]*' "$HERE/forward")/index.html"
    kill $forward && wait $forward
    $S rm box
    $S ls --provider $P --json
  )sh");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out,
            "one\nkept\ndata\n[Code executed successfully with no output]\n42\nkept\npage\n"
            "{\"sandboxes\":[],\"complete\":true,\"errors\":[]}\n")
      << result.err;
}

TEST_P(CliCloud, AShellIsATerminal) {
  TerminalProgram terminal(program_, {"emulate", "--", SANDKEY_CLI, "shell", "--provider", GetParam()});
  terminal.type("tty; echo $((6 * 7)); exit 4\n");
  const std::string shown = terminal.read_until("42");
  EXPECT_EQ(terminal.process().wait(), 4);
  EXPECT_THAT(shown, HasSubstr("/dev/pts/"));
}

TEST_P(CliCloud, ProfilesKeepTheirSandboxesApart) {
  const Result result = emulated(R"sh(
    export SANDKEY_CONFIG_DIR="$HERE/config"
    key_of second | $S auth login $P --profile second >/dev/null 2>&1
    $S run --provider $P --profile second --keep --sid theirs -- true
    $S run --provider $P --keep --sid ours -- true
    $S ls --provider $P | tail -n +2 | cut -d' ' -f1
    $S ls --provider $P --profile second | tail -n +2 | cut -d' ' -f1
    $S ls | tail -n +2 | cut -d' ' -f1 | sort
    $S rm theirs ours
    $S ls --provider $P --profile second --json
  )sh");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "ours\ntheirs\nours\ntheirs\n{\"sandboxes\":[],\"complete\":true,\"errors\":[]}\n")
      << result.err;
}

TEST_P(CliCloud, ARefusedKeyStopsBeforeAnythingIsMade) {
  program_.environment["V"] = variable();
  const Result result = emulated(R"sh(
    export "$V=$(key_of unknown | head -n 1)"
    $S run --provider $P -- true && exit 1
    ask "journal?provider=$P" | grep -o '"method":"[A-Z]*"' | sort -u
  )sh");
  EXPECT_EQ(result.out, "\"method\":\"GET\"\n");
  EXPECT_THAT(result.err, AllOf(HasSubstr("does not know this"), HasSubstr("fingerprint"),
                                HasSubstr(variable() + " in the environment"),
                                HasSubstr("sandkey auth login " + GetParam())));
}

}  // namespace
}  // namespace sandkey::cli_test
