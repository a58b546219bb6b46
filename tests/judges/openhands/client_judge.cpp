// Our client against a real action execution server of OpenHands' own, which our_client.sh has started.
#include "sandkey/base/error.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/runtime/fixed_agent.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

namespace fs = std::filesystem;
using namespace sandkey;

int passed = 0;
int failed = 0;

void check(const std::string& name, const std::function<bool()>& condition) {
  std::string why;
  bool ok = false;
  try {
    ok = condition();
  } catch (const std::exception& error) {
    why = std::string(": ") + error.what();
  }
  std::printf("%s - our client, their server: %s%s\n", ok ? "ok" : "not ok", name.c_str(), why.c_str());
  std::fflush(stdout);
  ++(ok ? passed : failed);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr)
    throw std::runtime_error(std::string(name) + " is not set; this is run by our_client.sh");
  return value;
}

std::int64_t exit_code(const Observation& observation) {
  const auto* output = observation.as<CmdOutputObservation>();
  return output == nullptr ? -999 : output->metadata.exit_code;
}

std::string key_of(const std::string& file) {
  std::ifstream in(file);
  std::string key;
  std::getline(in, key);
  return key;
}

std::unique_ptr<ActionExecutionClient> make(Engine& engine, const std::string& url, const std::string& key,
                                            RuntimeOptions options) {
  auto provider = std::make_shared<FixedAgent>(Endpoint::parse(url), Secret(key));
  const OpenHandsConfig config;
  return std::make_unique<ActionExecutionClient>(engine, std::move(provider), config, nullptr, "judge",
                                                 std::move(options));
}

void judge() {
  const std::string url = variable("SANDKEY_JUDGE_URL");
  const std::string key = key_of(variable("SANDKEY_JUDGE_KEY_FILE"));
  const std::string work = variable("SANDKEY_JUDGE_WORK");
  std::string local = (fs::temp_directory_path() / "sandkey-judge-XXXXXX").string();
  if (::mkdtemp(local.data()) == nullptr) throw std::runtime_error("cannot make a folder");
  fs::create_directories(local + "/tree/sub");
  std::ofstream(local + "/one.txt") << "one\n";
  std::ofstream(local + "/tree/sub/two.txt") << "two\n";

  Engine engine;
  RuntimeOptions options;
  options.plugins = {{"jupyter"}};
  const std::string nasty = "a b $HOME `id` \"q\" 'p' \\ \n\xC3\xA9!";
  options.env_vars = {{"judge_value", nasty}};
  const auto runtime = make(engine, url, key, std::move(options));

  check("connect, with its environment", [&] {
    runtime->connect();
    return runtime->check_if_alive();
  });
  check("it is not taken for ours", [&] { return runtime->agent().greeting().protocol == 0; });
  check("run", [&] {
    const Observation seen = runtime->run({.command = "echo hello; exit_code() { return 3; }; exit_code"});
    return seen.content == "hello" && exit_code(seen) == 3;
  });
  check("a variable arrives as it is", [&] {
    return exit_code(runtime->run({.command = "printf %s \"$JUDGE_VALUE\" > value.txt"})) == 0 &&
           runtime->run_ipython({.code = "import os; open('value.txt').read() == os.environ['JUDGE_VALUE']"})
               .content.starts_with("True");
  });
  check("run_ipython keeps its state", [&] {
    (void)runtime->run_ipython({.code = "x = 6"});
    return runtime->run_ipython({.code = "x * 7"}).content.starts_with("42");
  });
  check("write, read, edit", [&] {
    (void)runtime->write({.path = work + "/f.txt", .content = "alpha\nbeta"});
    const Observation read = runtime->read({.path = work + "/f.txt"});
    const Observation edit = runtime->edit(
        {.path = work + "/f.txt", .command = "str_replace", .old_str = "beta", .new_str = "gamma"});
    const auto* body = edit.as<FileEditObservation>();
    return read.content == "alpha\nbeta\n" && body != nullptr && body->diff &&
           body->diff->find("+gamma") != std::string::npos;
  });
  check("a file that is not there is an error observation",
        [&] { return runtime->read({.path = work + "/none"}).as<ErrorObservation>() != nullptr; });
  check("copy_to a file", [&] {
    runtime->copy_to(local + "/one.txt", work);
    return runtime->run({.command = "cat " + work + "/one.txt"}).content == "one";
  });
  check("copy_to a folder", [&] {
    runtime->copy_to(local + "/tree", work, true);
    return runtime->run({.command = "cat " + work + "/tree/sub/two.txt"}).content == "two";
  });
  check("list_files", [&] {
    const auto names = runtime->list_files(work);
    return std::find(names.begin(), names.end(), "tree/") != names.end() &&
           std::find(names.begin(), names.end(), "one.txt") != names.end();
  });
  check("copy_from gives a zip of the folder", [&] {
    const fs::path zip = runtime->copy_from(work + "/tree");
    const bool good =
        std::system(("python3 -m zipfile -l '" + zip.string() + "' | grep -q sub/two.txt").c_str()) == 0;
    fs::remove(zip);
    return good;
  });
  check("copy_from of what is not there is an error, not a zip", [&] {
    try {
      fs::remove(runtime->copy_from(work + "/none"));
      return false;
    } catch (const Error&) {
      return true;
    }
  });
  check("a timeout is an observation, and C-c ends the command", [&] {
    const Observation slow = runtime->run({.command = "sleep 60"}, 1.0);
    const Observation ended = runtime->run({.command = "C-c", .is_input = true});
    return exit_code(slow) == -1 && exit_code(ended) == 130;
  });
  check("a wrong key is refused as such", [&] {
    RuntimeOptions attach;
    attach.attach_to_existing = true;
    const auto other = make(engine, url, "not-the-key-of-this-server", std::move(attach));
    try {
      other->connect();
      (void)other->run({.command = "true"});
      return false;
    } catch (const AuthenticationError& error) {
      return error.code() == ErrorCode::unauthenticated;
    }
  });
  check("close, twice", [&] {
    runtime->close();
    runtime->close();
    return runtime->status() == RuntimeStatus::stopped;
  });
  fs::remove_all(local);
}

}  // namespace

int main() {
  try {
    judge();
  } catch (const std::exception& error) {
    std::printf("not ok - %s\n", error.what());
    ++failed;
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
