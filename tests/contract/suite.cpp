#include "tests/contract/suite.h"

#include <boost/asio/this_coro.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>

extern char** environ;

namespace sandkey::contract {
namespace {

constexpr std::chrono::seconds kConnectTimeout{90};
constexpr double kCommandTimeout = 60;

}  // namespace

Subject& subject() {
  static Subject chosen;
  return chosen;
}

std::vector<std::string> every_provider() {
  return {subject().name};
}

std::vector<std::string> providers_with_a_key() {
  if (subject().key.empty()) return {};
  return {subject().name};
}

std::vector<std::string> emulated_providers() {
  if (subject().mode != Mode::emulated) return {};
  return {subject().name};
}

std::string name_of(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

Overrides private_world(const runtime_test::TempDir& dir) {
  return {{"HOME", dir.path()},
          {"SANDKEY_STATE_DIR", dir / "state"},
          {"SANDKEY_CONFIG_DIR", dir / "config"},
          {"XDG_CONFIG_HOME", dir / "config"},
          {"XDG_STATE_HOME", dir / "state"},
          {"XDG_RUNTIME_DIR", std::nullopt},
          {"DBUS_SESSION_BUS_ADDRESS", std::nullopt}};
}

EngineOptions engine_options(Overrides overrides, std::size_t threads) {
  EngineOptions options;
  options.threads = threads;
  options.environment = [overrides =
                             std::move(overrides)](const std::string& name) -> std::optional<std::string> {
    const auto override = overrides.find(name);
    if (override != overrides.end()) return override->second;
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody sets any
    if (value == nullptr) return std::nullopt;
    return value;
  };
  return options;
}

bool eventually(const std::function<bool()>& holds, std::chrono::seconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::usleep(10'000);
  }
  return true;
}

Error thrown(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::internal, "");
}

ContractTest::ContractTest()
    : world_(private_world(dir_)),
      emulator_(subject().mode == Mode::emulated ? Emulator::around_us(subject().name) : nullptr),
      engine_(make_engine()) {
  char random[16];
  std::snprintf(random, sizeof random, "%08x", static_cast<unsigned>(engine_->random()));
  prefix_ = "contract-" + std::string(random) + "-";
}

void ContractTest::SetUp() {
  try {
    if (subject().mode == Mode::plain) (void)make_provider(*engine_, config());
  } catch (const Error& error) {
    GTEST_SKIP() << "this machine cannot make sandboxes: " << error.what();
  }
  ready_ = true;
}

void ContractTest::TearDown() {
  if (!ready_) return;
  if (is_emulated()) emulator_->remove_faults();
  if (eventually([this] { return existing().empty(); }, std::chrono::seconds(5))) return;
  const std::vector<std::string> left = existing();
  ADD_FAILURE() << "left behind: " << ::testing::PrintToString(left);
  for (const std::string& id : left) kill_sandbox({id});  // or the next case would be blamed for them
}

std::unique_ptr<Engine> ContractTest::make_engine(const Overrides& more, std::size_t threads) const {
  Overrides all = more;
  all.insert(world_.begin(), world_.end());
  return std::make_unique<Engine>(engine_options(std::move(all), threads));
}

OpenHandsConfig ContractTest::config() {
  OpenHandsConfig config;
  config.runtime = subject().name;
  config.sandbox.remote_runtime_init_timeout = kConnectTimeout;
  return config;
}

OpenHandsConfig ContractTest::kept(std::chrono::seconds lease) {
  OpenHandsConfig config = ContractTest::config();
  config.sandbox.keep_runtime_alive = true;
  config.sandbox.lease = lease;
  return config;
}

std::unique_ptr<ActionExecutionClient> ContractTest::make(std::string_view name,
                                                          const OpenHandsConfig& config,
                                                          RuntimeOptions options) {
  return make_runtime(*engine_, config, nullptr, sid(name), std::move(options));
}

std::unique_ptr<ActionExecutionClient> ContractTest::connected(std::string_view name,
                                                               const OpenHandsConfig& config,
                                                               RuntimeOptions options) {
  auto runtime = make(name, config, std::move(options));
  try {
    runtime->connect();
  } catch (const Error&) {
    runtime->close();
    throw;
  }
  return runtime;
}

std::unique_ptr<ActionExecutionClient> ContractTest::attached(std::string_view name,
                                                              const OpenHandsConfig& config) {
  RuntimeOptions options;
  options.attach_to_existing = true;
  return connected(name, config, std::move(options));
}

std::string ContractTest::output(ActionExecutionClient& runtime, const std::string& command) {
  const Observation seen = runtime.run({.command = command}, kCommandTimeout);
  const auto* run = seen.as<CmdOutputObservation>();
  EXPECT_TRUE(run != nullptr && run->metadata.exit_code == 0) << command << ": " << seen.content;
  return seen.content;
}

std::int64_t ContractTest::exit_code(ActionExecutionClient& runtime, const std::string& command) {
  const Observation seen = runtime.run({.command = command}, kCommandTimeout);
  const auto* run = seen.as<CmdOutputObservation>();
  EXPECT_NE(run, nullptr) << command << ": " << seen.content;
  return run == nullptr ? -1 : run->metadata.exit_code;
}

ContractTest::Ran ContractTest::exec(ActionExecutionClient& runtime, const ExecCommand& command,
                                     std::string input) {
  Ran ran;
  const auto stream = runtime.agent().exec(command);
  const auto feed = [&]() -> asio::awaitable<void> {
    const std::span<const char> text(input);
    (void)co_await stream->write(std::as_bytes(text));
    co_await stream->close_input();
  };
  const auto follow = [&]() -> asio::awaitable<void> {
    TaskGroup feeding(*engine_, co_await asio::this_coro::executor);
    ExecSink sink = [&](std::size_t channel, std::span<const std::byte> bytes) -> asio::awaitable<void> {
      ran.output.at(channel).append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      co_return;
    };
    std::function<void()> started = [&] {
      if (command.input) feeding.spawn(feed());
    };
    ran.result = co_await stream->follow(sink, started);
    co_await feeding.join();
  };
  engine_->wait(follow());
  return ran;
}

SandboxInfo ContractTest::describe(ActionExecutionClient& runtime) {
  return engine_->wait(runtime.provider()->describe(runtime.sandbox_id(), soon()));
}

void ContractTest::destroy(const std::shared_ptr<Provider>& provider, const SandboxId& id) {
  engine_->wait(provider->destroy(id, soon()));
}

std::vector<SandboxInfo> ContractTest::listed() {
  const auto provider = make_provider(*engine_, config());
  std::vector<SandboxInfo> all = engine_->wait(provider->list(soon()));
  std::erase_if(all, [this](const SandboxInfo& info) {
    return !info.sid.starts_with(prefix_) || info.state == SandboxState::ended;
  });
  return all;
}

std::vector<std::string> ContractTest::existing() {
  std::vector<std::string> ids;
  if (is_emulated()) {  // nobody else uses it
    for (const EmulatedSandbox& sandbox : emulator_->sandboxes()) {
      // Some clouds answer before the last of it is gone; nothing can keep it any more.
      if (sandbox.state != "destroying") ids.push_back(sandbox.id);
    }
  } else {
    for (const SandboxInfo& info : listed()) ids.push_back(info.id.value);
  }
  return ids;
}

void ContractTest::kill_sandbox(const SandboxId& id) {
  if (is_emulated()) {
    emulator_->kill(id.value);
  } else {
    const auto other = make_engine();
    const auto provider = make_provider(*other, config());
    other->wait(provider->destroy(id, other->in(std::chrono::seconds(60))));
  }
}

runtime_test::Spawn ContractTest::another_process(std::vector<std::string> arguments) const {
  runtime_test::Spawn spawn;
  spawn.argv = {"/proc/self/exe", "--provider=" + subject().name, "--play"};
  spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos)
      spawn.environment[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  for (const auto& [name, value] : world_) {
    spawn.environment.erase(name);
    if (value) spawn.environment[name] = *value;
  }
  spawn.err = STDERR_FILENO;
  return spawn;
}

std::optional<Overrides> ContractTest::as_account(std::string_view name) {
  const std::vector<KeyPart>& key = subject().key;
  const auto texts = emulator_->account(name, key.size());
  if (!texts) return std::nullopt;
  Overrides overrides;
  for (std::size_t i = 0; i < key.size(); ++i) overrides[key[i].variable] = texts->at(i);
  return overrides;
}

// keep SID: makes a sandbox that stays, says so, and waits to be killed.
// attach SID: prints what `cat note; echo $COLOUR` prints in the session's sandbox.
// share SID: creates or joins it, prints its id, and stays until its input ends.
int play(const std::vector<std::string>& arguments) {
  if (arguments.size() != 2) return 2;
  const std::string& role = arguments[0];
  OpenHandsConfig config;
  config.runtime = subject().name;
  config.sandbox.remote_runtime_init_timeout = kConnectTimeout;
  RuntimeOptions options;
  if (role == "keep") {
    config.sandbox.keep_runtime_alive = true;
    config.sandbox.lease = std::chrono::minutes(10);
  } else if (role == "attach") {
    options.attach_to_existing = true;
  } else if (role != "share") {
    return 2;
  }
  Engine engine;
  const auto runtime = make_runtime(engine, config, nullptr, arguments[1], std::move(options));
  runtime->connect();
  const auto say = [](const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
  };
  if (role == "keep") {
    (void)runtime->run({.command = "echo mine > note; export COLOUR=red"}, kCommandTimeout);
    say("ready");
    while (true) ::pause();
  }
  if (role == "share") {
    say(runtime->sandbox_id().value);
    while (std::getchar() != EOF) {
    }
  } else {
    say(runtime->run({.command = "cat note; echo $COLOUR"}, kCommandTimeout).content);
  }
  runtime->close();
  return 0;
}

}  // namespace sandkey::contract
