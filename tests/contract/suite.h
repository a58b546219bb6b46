// What all cases of the contract suite stand on: the provider under test, and a world of their own for each.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/providers/registry.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/agent_client.h"
#include "tests/contract/emulator.h"
#include "tests/contract/facts.h"
#include "tests/runtime/fixtures.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

inline void PrintTo(ErrorCode code, std::ostream* out) {
  *out << to_string(code);
}

}  // namespace sandkey

namespace sandkey::contract {

// By the provider's name; generated.
[[nodiscard]] const std::map<std::string_view, const Facts*>& all_facts();

// One text of the provider's usual key.
struct KeyPart {
  std::string variable;  // "E2B_API_KEY"
  std::string field;     // of the configuration: "e2b_api_key"
};

enum class Mode {
  plain,     // no account is needed
  emulated,  // under sandkey-emulator
  live       // the real cloud, with the key of the environment
};

// What is tested by this process; chosen by main() before the cases are instantiated.
struct Subject {
  std::string name = {};
  const Facts* facts = nullptr;
  std::vector<KeyPart> key = {};                // empty: it has no accounts
  std::vector<std::string> key_variables = {};  // all by which any key of it may come
  Mode mode = Mode::plain;
};
[[nodiscard]] Subject& subject();

// The provider's name, for suites that concern it; otherwise nothing, and they are not instantiated.
[[nodiscard]] std::vector<std::string> every_provider();
[[nodiscard]] std::vector<std::string> providers_with_a_key();
[[nodiscard]] std::vector<std::string> emulated_providers();

// The end of a case's name.
[[nodiscard]] std::string name_of(const ::testing::TestParamInfo<std::string>& info);

// What a case sees of the environment: these first (nothing: not set), then the process's.
using Overrides = std::map<std::string, std::optional<std::string>, std::less<>>;

// A state folder and a home of its own, so that neither the user's sessions nor the user's keys are seen.
[[nodiscard]] Overrides private_world(const runtime_test::TempDir& dir);
[[nodiscard]] EngineOptions engine_options(Overrides overrides, std::size_t threads = 1);

// Asks until it is true; false when it is not for that long.
[[nodiscard]] bool eventually(const std::function<bool()>& holds,
                              std::chrono::seconds patience = std::chrono::seconds(20));

// What the call throws; fails the test if it throws nothing.
[[nodiscard]] Error thrown(const std::function<void()>& call);

// One case. At its end none of its sandboxes may exist any more.
class ContractTest : public ::testing::TestWithParam<std::string> {
 protected:
  ContractTest();
  void SetUp() override;
  void TearDown() override;

  // An engine in the case's world, changed by `more`.
  [[nodiscard]] std::unique_ptr<Engine> make_engine(const Overrides& more = {},
                                                    std::size_t threads = 1) const;

  [[nodiscard]] static OpenHandsConfig config();
  // Whose sandboxes stay after close().
  [[nodiscard]] static OpenHandsConfig kept(std::chrono::seconds lease = std::chrono::minutes(10));
  // A session that no other case and no other run has.
  [[nodiscard]] std::string sid(std::string_view name) const { return prefix_ + std::string(name); }

  [[nodiscard]] std::unique_ptr<ActionExecutionClient> make(
      std::string_view name, const OpenHandsConfig& config = ContractTest::config(),
      RuntimeOptions options = {});
  [[nodiscard]] std::unique_ptr<ActionExecutionClient> connected(
      std::string_view name, const OpenHandsConfig& config = ContractTest::config(),
      RuntimeOptions options = {});
  // The session's sandbox must exist.
  [[nodiscard]] std::unique_ptr<ActionExecutionClient> attached(
      std::string_view name, const OpenHandsConfig& config = ContractTest::config());

  // What a command prints. It must succeed.
  static std::string output(ActionExecutionClient& runtime, const std::string& command);
  static std::int64_t exit_code(ActionExecutionClient& runtime, const std::string& command);

  struct Ran {
    ExecResult result;
    std::array<std::string, 2> output;  // standard output and standard error
  };
  // Beside the shell, with `input` on its standard input.
  [[nodiscard]] Ran exec(ActionExecutionClient& runtime, const ExecCommand& command, std::string input = {});

  // Soon enough for any single request of a provider.
  [[nodiscard]] Deadline soon() const { return engine_->in(std::chrono::seconds(60)); }
  [[nodiscard]] SandboxInfo describe(ActionExecutionClient& runtime);
  void destroy(const std::shared_ptr<Provider>& provider, const SandboxId& id);
  // This case's sandboxes, as the provider tells.
  [[nodiscard]] std::vector<SandboxInfo> listed();
  // This case's sandboxes that exist: the emulator's word where there is one, else the provider's.
  [[nodiscard]] std::vector<std::string> existing();
  // The sandbox ends, and nobody tells its client.
  void kill_sandbox(const SandboxId& id);

  // This program once more, in another process; `arguments` as play() takes them.
  [[nodiscard]] runtime_test::Spawn another_process(std::vector<std::string> arguments) const;

  // The emulator, where this runs under one.
  [[nodiscard]] Emulator& emulator() { return *emulator_; }
  [[nodiscard]] bool is_emulated() const noexcept { return emulator_ != nullptr; }
  // Changes to the world that make this account of the emulator the one that is used. Nothing if it has none.
  [[nodiscard]] std::optional<Overrides> as_account(std::string_view name);

  runtime_test::TempDir dir_;
  Overrides world_;
  std::unique_ptr<Emulator> emulator_;
  std::unique_ptr<Engine> engine_;

 private:
  std::string prefix_;
  bool ready_ = false;  // or the case was skipped before it could leave anything
};

// What another_process() does: `keep SID`, `attach SID`, `share SID`. Returns its exit code.
int play(const std::vector<std::string>& arguments);

}  // namespace sandkey::contract
