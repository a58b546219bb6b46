// A caller who gives up while a runtime connects: nothing stays behind, wherever that was.
#include "sandkey/runtime/ledger.h"
#include "tests/contract/suite.h"

#include <gmock/gmock.h>

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::contract {
namespace {

using std::chrono::milliseconds;
using ::testing::IsEmpty;

// The provider itself, and somebody who is told of each step.
class WatchedProvider final : public Provider {
 public:
  // ("create", false) when it begins, ("create", true) when it has succeeded.
  using Watcher = std::function<void(std::string_view step, bool done)>;
  WatchedProvider(std::shared_ptr<Provider> provider, Watcher watcher)
      : provider_(std::move(provider)), watcher_(std::move(watcher)) {}

  [[nodiscard]] std::string_view name() const noexcept override { return provider_->name(); }
  [[nodiscard]] Capabilities capabilities() const override { return provider_->capabilities(); }
  [[nodiscard]] Account account() const override { return provider_->account(); }
  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override {
    return watch("find", provider_->find(std::move(sid), deadline));
  }
  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override {
    return provider_->list(deadline);
  }
  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override {
    return provider_->describe(std::move(id), deadline);
  }
  void check(const SandboxIntent& intent) const override { provider_->check(intent); }
  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override {
    return watch("create", provider_->create(std::move(intent), deadline));
  }
  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override {
    watcher_("start the agent", false);
    co_await provider_->start_agent(std::move(id), deadline);
    watcher_("start the agent", true);
  }
  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override {
    return watch("reach the agent", provider_->agent_endpoint(std::move(id), deadline));
  }
  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override {
    return provider_->expose(std::move(id), port, deadline);
  }
  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId id, std::chrono::seconds lease,
                                                               Deadline deadline) override {
    return provider_->renew(std::move(id), lease, deadline);
  }
  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override {
    return provider_->pause(std::move(id), deadline);
  }
  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override {
    return provider_->resume(std::move(id), deadline);
  }
  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override {
    return provider_->destroy(std::move(id), deadline);
  }

 private:
  template <class T>
  asio::awaitable<T> watch(std::string_view step, asio::awaitable<T> call) {
    watcher_(step, false);
    T result = co_await std::move(call);
    watcher_(step, true);
    co_return result;
  }

  std::shared_ptr<Provider> provider_;
  Watcher watcher_;
};

class Interruptions : public ContractTest {
 protected:
  // Connects a runtime of its own, giving up when `when` says so of a step; then closes it. Returns whether
  // connecting was over before it came to that.
  bool connect_until(const std::function<bool(std::string_view step, bool done)>& when,
                     milliseconds later = milliseconds(0)) {
    std::stop_source stop;
    TaskGroup timers(*engine_);
    const auto give_up = [&]() -> asio::awaitable<void> {
      co_await engine_->sleep_for(later);
      stop.request_stop();
    };
    const auto watcher = [&](std::string_view step, bool done) {
      if (!when(step, done)) return;
      if (later == milliseconds(0)) {
        stop.request_stop();
      } else {
        timers.spawn(give_up());
      }
    };
    const auto provider = std::make_shared<WatchedProvider>(make_provider(*engine_, config()), watcher);
    RuntimeOptions options;
    options.ledger = open_user_ledger(*engine_);
    options.status_callback = [&](std::string_view, RuntimeStatus status, const std::string&) {
      watcher(to_string(status), false);
    };
    ActionExecutionClient runtime(*engine_, provider, config(), nullptr, sid("given-up"), std::move(options));
    bool over = true;
    try {
      engine_->wait(runtime.async_connect(), stop.get_token());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cancelled) << error.what();
      over = false;
    }
    engine_->wait(timers.join());
    runtime.close();
    EXPECT_THAT(existing(), IsEmpty());
    EXPECT_TRUE(open_user_ledger(*engine_)->list().empty());
    return over;
  }
};
INSTANTIATE_TEST_SUITE_P(, Interruptions, ::testing::ValuesIn(every_provider()), name_of);

TEST_P(Interruptions, InEachPhaseOfConnectingLeaveNothing) {
  const std::vector<std::pair<std::string, bool>> moments{{"find", false},
                                                          {"find", true},
                                                          {"create", false},
                                                          {"create", true},
                                                          {"start the agent", false},
                                                          {"start the agent", true},
                                                          {"reach the agent", false},
                                                          {"reach the agent", true},
                                                          {"STATUS$STARTING_RUNTIME", false},
                                                          {"STATUS$RUNTIME_STARTED", false},
                                                          {"STATUS$SETTING_UP_WORKSPACE", false}};
  for (const auto& [name, end] : moments) {
    SCOPED_TRACE(name + (end ? ": done" : ": begun"));
    const bool over = connect_until(
        [&name = name, end = end](std::string_view step, bool done) { return step == name && done == end; });
    EXPECT_FALSE(over);
  }
}

TEST_P(Interruptions, AtAnyMomentOfACreationLeaveNothing) {
  for (const int later : {1, 2, 4, 8, 12, 16, 24, 32, 48, 64}) {
    SCOPED_TRACE(later);
    (void)connect_until([](std::string_view step, bool done) { return step == "create" && !done; },
                        milliseconds(later));
  }
}

TEST_P(Interruptions, ASessionThatWasGivenUpCanBeHadAgain) {
  EXPECT_FALSE(connect_until([](std::string_view step, bool done) { return step == "create" && !done; }));
  const auto runtime = connected("given-up");
  EXPECT_EQ(output(*runtime, "echo again"), "again");
  runtime->close();
}

TEST_P(Interruptions, ARuntimeThatWasGivenUpConnectsWhenAskedAgain) {
  std::stop_source stop;
  RuntimeOptions options;
  options.status_callback = [&](std::string_view, RuntimeStatus status, const std::string&) {
    if (status == RuntimeStatus::setting_up_workspace) stop.request_stop();
  };
  const auto runtime = make("asked-again", config(), std::move(options));
  EXPECT_EQ(thrown([&] { engine_->wait(runtime->async_connect(), stop.get_token()); }).code(),
            ErrorCode::cancelled);
  runtime->connect();
  EXPECT_EQ(output(*runtime, "echo connected"), "connected");
  runtime->close();
}

// The agent cannot tell a caller who left from a connection that broke, so it goes on waiting for the command
// as long as it was told to.
TEST_P(Interruptions, OfACommandEndTheWaitAndLeaveTheRuntimeUsable) {
  const auto runtime = connected("command");
  std::stop_source stop;
  TaskGroup watching(*engine_);
  // Given up once the command is known to run.
  const auto watch = [&]() -> asio::awaitable<void> {
    const Deadline limit = soon();
    while (!stop.stop_requested() && engine_->steady_now() < limit) {
      const RemoteStat there = co_await runtime->agent().stat("/workspace/started", soon());
      if (there.type == RemoteStat::Type::file) stop.request_stop();
    }
  };
  watching.spawn(watch());
  CmdRunAction wait{.command = "touch started; sleep 1000", .blocking = true};
  constexpr double kTimeout = 3;
  const auto begin = std::chrono::steady_clock::now();
  const Error error =
      thrown([&] { (void)engine_->wait(runtime->async_run(std::move(wait), kTimeout), stop.get_token()); });
  EXPECT_EQ(error.code(), ErrorCode::cancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(2500));
  engine_->wait(watching.join());
  EXPECT_EQ(exec(*runtime, {.argv = {"echo", "usable"}}).output[0], "usable\n");
  (void)runtime->run({.command = "C-c", .is_input = true}, 60);
  EXPECT_EQ(output(*runtime, "echo usable"), "usable");
  runtime->close();
}

}  // namespace
}  // namespace sandkey::contract
