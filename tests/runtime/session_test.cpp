// Runtimes that share sessions through a ledger: who creates, who attaches, who ends what.
#include "fake_cloud.h"
#include "fixtures.h"
#include "sandkey/base/error.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

namespace sandkey::runtime_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Session : public ::testing::Test {
 protected:
  Session() {
    cloud->agent = agent.address();
    // Of renewing, only the tests that ask for a lease shall know.
    cloud->can.renew = false;
  }

  std::unique_ptr<ActionExecutionClient> runtime(const OpenHandsConfig& config = quick_config(),
                                                 bool attach = false) {
    RuntimeOptions options;
    options.ledger = ledger;
    options.attach_to_existing = attach;
    options.setup_environment = false;
    return std::make_unique<ActionExecutionClient>(engine, cloud, config, nullptr, "s", std::move(options));
  }

  // What a process that is dead by now had written down.
  void left_by_a_dead_process(const std::optional<SandboxId>& sandbox, bool kept = false) {
    LedgerEntry entry;
    entry.sid = "s";
    entry.provider = "fake";
    entry.owner = ProcessIdentity::current();
    entry.owner.pid = dead_process();
    entry.kept = kept;
    ASSERT_EQ(ledger->claim(entry, false).verdict, LedgerClaim::Verdict::create);
    if (sandbox) {
      ASSERT_TRUE(ledger->created("s", entry.owner, *sandbox, std::nullopt));
    }
    cloud->sandbox = sandbox;
  }

  template <typename Condition>
  bool eventually(Condition condition) {
    const auto wait = [&]() -> asio::awaitable<bool> {
      for (int i = 0; i < 1000; ++i) {
        if (condition()) co_return true;
        co_await engine.sleep_for(std::chrono::milliseconds(10));
      }
      co_return false;
    };
    return engine.wait(wait());
  }
  bool seen(const std::string& call, std::ptrdiff_t times = 1) {
    return eventually([&] { return std::count(cloud->calls.begin(), cloud->calls.end(), call) >= times; });
  }

  static pid_t dead_process() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    return child;
  }

  Engine engine;
  TempDir dir;
  AgentProcess agent;
  std::shared_ptr<FakeCloud> cloud = std::make_shared<FakeCloud>();
  std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>(dir / "ledger.db");
};

TEST_F(Session, TheIntentIsWrittenDownBeforeTheRequestAndTheIdAfterIt) {
  std::optional<LedgerEntry> seen;
  cloud->on_create = [&] { seen = ledger->find("s"); };
  const auto first = runtime();
  first->connect();
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->sandbox, std::nullopt);
  EXPECT_EQ(seen->owner, ProcessIdentity::current());
  const auto after = ledger->find("s");
  ASSERT_TRUE(after);
  EXPECT_EQ(after->sandbox, SandboxId{"box"});
  EXPECT_EQ(after->provider, "fake");
  first->close();
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, ASecondRuntimeAttachesAndLeavesTheSandboxToTheFirst) {
  const auto first = runtime();
  first->connect();
  const auto second = runtime();
  second->connect();
  EXPECT_EQ(second->sandbox_id(), first->sandbox_id());
  second->close();
  EXPECT_THAT(cloud->calls, ElementsAre("find s", "create s"));
  first->close();
  EXPECT_THAT(cloud->calls, ElementsAre("find s", "create s", "destroy box"));
}

TEST_F(Session, WhoComesWhileItIsBeingCreatedWaitsAndAttaches) {
  // The one who creates is in another process as far as the ledger can tell: its parent, which is alive.
  LedgerEntry theirs;
  theirs.sid = "s";
  theirs.provider = "fake";
  theirs.owner = ProcessIdentity::current();
  ASSERT_EQ(ledger->claim(theirs, false).verdict, LedgerClaim::Verdict::create);
  const auto waits = runtime();
  const auto both = [&]() -> asio::awaitable<void> {
    TaskGroup group(engine);
    group.spawn(waits->async_connect());
    co_await engine.sleep_for(std::chrono::milliseconds(30));
    cloud->sandbox = SandboxId{"box"};
    (void)ledger->created("s", theirs.owner, SandboxId{"box"}, std::nullopt);
    co_await group.join();
  };
  engine.wait(both());
  EXPECT_EQ(waits->sandbox_id(), SandboxId{"box"});
  EXPECT_EQ(std::count(cloud->calls.begin(), cloud->calls.end(), "create s"), 0);
}

TEST_F(Session, WhatTheAccountWarnsOfIsSaidBeforeAnythingIsCreated) {
  cloud->told.warnings = {"the key may create but not delete"};
  RuntimeOptions options;
  options.ledger = ledger;
  std::vector<std::string> warnings;
  options.status_callback = [&](std::string_view level, RuntimeStatus, const std::string& message) {
    if (level != "warning") return;
    warnings.push_back(message);
    EXPECT_EQ(std::count(cloud->calls.begin(), cloud->calls.end(), "create s"), 0);
  };
  ActionExecutionClient warned(engine, cloud, quick_config(), nullptr, "s", std::move(options));
  warned.connect();
  EXPECT_THAT(warnings, ElementsAre("fake: the key may create but not delete"));
  warned.close();
}

TEST_F(Session, WhoGivesUpGivesItsClaimBack) {
  std::stop_source stop;
  RuntimeOptions options;
  options.ledger = ledger;
  options.status_callback = [&](std::string_view, RuntimeStatus status, const std::string&) {
    if (status == RuntimeStatus::starting_runtime) stop.request_stop();
  };
  ActionExecutionClient gives_up(engine, cloud, quick_config(), nullptr, "s", std::move(options));
  EXPECT_THROW(engine.wait(gives_up.async_connect(), stop.get_token()), Error);
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, WhatIsMadeForACallerWhoGaveUpIsEnded) {
  std::stop_source stop;
  cloud->on_create = [&] { stop.request_stop(); };
  const auto gives_up = runtime();
  EXPECT_THROW(engine.wait(gives_up->async_connect(), stop.get_token()), Error);
  EXPECT_EQ(cloud->sandbox, std::nullopt);
  EXPECT_EQ(std::count(cloud->calls.begin(), cloud->calls.end(), "destroy box"), 1);
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, ACreationThatNeverEndsIsWaitedForUntilTheDeadline) {
  LedgerEntry theirs;
  theirs.sid = "s";
  theirs.provider = "fake";
  theirs.owner = ProcessIdentity::current();
  ASSERT_EQ(ledger->claim(theirs, false).verdict, LedgerClaim::Verdict::create);
  OpenHandsConfig config = quick_config();
  config.sandbox.remote_runtime_init_timeout = std::chrono::seconds(1);
  const auto waits = runtime(config);
  try {
    waits->connect();
    FAIL() << "it connected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
    EXPECT_THAT(error.what(), HasSubstr("process " + std::to_string(::getpid())));
  }
}

TEST_F(Session, TheSandboxOfADeadProcessIsAdoptedAndEnded) {
  left_by_a_dead_process(SandboxId{"box"});
  const auto heir = runtime();
  heir->connect();
  heir->close();
  EXPECT_THAT(cloud->calls, ElementsAre("destroy box"));
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, ACreationThatItsProcessDidNotLiveToFinishIsLookedForFirst) {
  left_by_a_dead_process(std::nullopt);
  cloud->sandbox = SandboxId{"box"};  // it had got that far
  const auto heir = runtime();
  heir->connect();
  EXPECT_THAT(cloud->calls, ElementsAre("find s"));
  EXPECT_EQ(ledger->find("s")->sandbox, SandboxId{"box"});
  heir->close();
  EXPECT_EQ(cloud->sandbox, std::nullopt);
}

TEST_F(Session, AKeptSandboxIsNobodysToEnd) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  const auto visitor = runtime();
  visitor->connect();
  visitor->close();
  EXPECT_THAT(cloud->calls, ElementsAre());
  EXPECT_TRUE(ledger->find("s"));
}

TEST_F(Session, OneThatIsGoneIsReplaced) {
  left_by_a_dead_process(SandboxId{"old"}, true);
  cloud->sandbox.reset();
  const auto next = runtime();
  next->connect();
  EXPECT_EQ(next->sandbox_id(), SandboxId{"box"});
  EXPECT_EQ(ledger->find("s")->sandbox, SandboxId{"box"});
}

TEST_F(Session, APausedOneIsResumed) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  cloud->state = SandboxState::paused;
  runtime()->connect();
  EXPECT_THAT(cloud->calls, ElementsAre("resume"));
}

// Of one that is paused the lease is not told.
TEST_F(Session, TheLeaseOfOneThatWasWokenIsRenewed) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  cloud->can.renew = true;
  cloud->lease_length = std::chrono::seconds(600);
  cloud->state = SandboxState::paused;
  const auto user = runtime();
  user->connect();
  EXPECT_TRUE(seen("renew 600"));
}

TEST_F(Session, TheLeaseOfOneThatSomebodyPausedIsRenewedLater) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  cloud->can.renew = true;
  cloud->lease_length = std::chrono::seconds(3);
  cloud->on_renew = [] { throw Error(ErrorCode::not_found, "it is paused"); };
  const auto user = runtime();
  user->connect();
  EXPECT_TRUE(seen("renew 3", 2));
  EXPECT_EQ(user->status(), RuntimeStatus::ready);
  // Until it is not there any more.
  EXPECT_TRUE(eventually([&] {
    cloud->sandbox.reset();
    return true;
  }));
  EXPECT_TRUE(eventually([&] { return user->status() == RuntimeStatus::disconnected; }));
}

TEST_F(Session, OneWhoseAgentWasNotReachedCanBeResumed) {
  cloud->agent = "unix:" + (dir / "none.sock");
  OpenHandsConfig config = quick_config();
  config.sandbox.remote_runtime_init_timeout = std::chrono::seconds(1);
  const auto user = runtime(config);
  EXPECT_FALSE(user->check_if_alive());
  EXPECT_THROW(user->connect(), Error);
  EXPECT_FALSE(user->check_if_alive());
  EXPECT_THROW(user->resume(), Error);  // as there is no agent
  user->close();
}

TEST_F(Session, AttachingNeverCreatesAndForgetsWhatIsGone) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  cloud->sandbox.reset();
  try {
    runtime(quick_config(), true)->connect();
    FAIL() << "it connected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr("has ended"));
  }
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, ASessionOfAnotherProviderIsAConflict) {
  LedgerEntry theirs;
  theirs.sid = "s";
  theirs.provider = "elsewhere";
  theirs.owner = ProcessIdentity::current();
  (void)ledger->claim(theirs, false);
  (void)ledger->created("s", theirs.owner, SandboxId{"x"}, std::nullopt);
  for (const bool attach : {false, true}) {
    try {
      runtime(quick_config(), attach)->connect();
      FAIL() << "it connected";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::conflict);
      EXPECT_THAT(error.what(), HasSubstr("elsewhere"));
    }
  }
}

TEST_F(Session, AFailedCreationLeavesNoEntry) {
  cloud->on_create = [] {
    throw Error(ErrorCode::quota_exceeded, "five sandboxes are all you have",
                {.provider = "fake",
                 .operation = "create",
                 .phase = {},
                 .request_id = {},
                 .processed = Processed::no});
  };
  EXPECT_THROW(runtime()->connect(), Error);
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, ACreationOfWhichNobodyKnowsIsLookedForByWhoComesNext) {
  cloud->on_create = [] { throw Error(ErrorCode::unavailable, "the connection broke"); };
  const auto first = runtime();
  EXPECT_THROW(first->connect(), Error);
  ASSERT_TRUE(ledger->find("s"));
  EXPECT_EQ(ledger->find("s")->sandbox, std::nullopt);
  EXPECT_FALSE(ledger->find("s")->owner.may_be_alive());
  cloud->on_create = [] {};
  cloud->sandbox = SandboxId{"box"};  // it had got that far
  cloud->calls.clear();
  first->connect();
  EXPECT_THAT(cloud->calls, ElementsAre("find s"));
  first->close();
  EXPECT_THAT(cloud->calls, ElementsAre("find s", "destroy box"));
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

// What the ledger does not know of was made elsewhere, and may be in use there.
TEST_F(Session, ASandboxOfAnotherMachineIsItsToEnd) {
  cloud->sandbox = SandboxId{"box"};
  const auto visitor = runtime();
  visitor->connect();
  EXPECT_TRUE(ledger->find("s")->kept);
  visitor->close();
  EXPECT_THAT(cloud->calls, ElementsAre("find s"));
}

TEST_F(Session, WhatIsKeptIsNotEndedForWantOfALedger) {
  cloud->sandbox = SandboxId{"box"};
  for (const bool kept : {true, false}) {
    cloud->kept = kept;
    RuntimeOptions options;
    options.setup_environment = false;
    ActionExecutionClient alone(engine, cloud, quick_config(), nullptr, "s", std::move(options));
    alone.connect();
    alone.close();
    EXPECT_EQ(cloud->sandbox.has_value(), kept);
  }
}

TEST_F(Session, WhatCannotBeLookedAtIsNotEnded) {
  cloud->sandbox = SandboxId{"box"};
  cloud->on_describe = [] { throw Error(ErrorCode::unavailable, "busy"); };
  EXPECT_THROW(runtime()->connect(), Error);
  EXPECT_TRUE(cloud->sandbox);
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, WhoCreatesSecondLeavesTheSandboxToTheFirst) {
  cloud->others = true;
  const auto second = runtime();
  second->connect();
  second->close();
  EXPECT_THAT(cloud->calls, ElementsAre("find s", "create s"));
}

TEST_F(Session, AFailedCreationEndsNothingOfOthers) {
  cloud->others = true;
  cloud->on_create = [this] {
    cloud->sandbox = SandboxId{"box"};
    throw Error(ErrorCode::unavailable, "the connection broke");
  };
  EXPECT_THROW(runtime()->connect(), Error);
  EXPECT_TRUE(cloud->sandbox);
}

TEST_F(Session, AnEndThatFailedIsTriedAgain) {
  const auto owner = runtime();
  owner->connect();
  cloud->on_destroy = [] { throw Error(ErrorCode::unavailable, "busy"); };
  EXPECT_THROW(owner->close(), Error);
  cloud->on_destroy = [] {};
  owner->close();
  EXPECT_EQ(cloud->sandbox, std::nullopt);
  EXPECT_EQ(ledger->find("s"), std::nullopt);
  cloud->calls.clear();
  owner->close();
  EXPECT_THAT(cloud->calls, ElementsAre());
}

TEST_F(Session, OneThatCannotBeWrittenDownIsEnded) {
  cloud->on_create = [this] { std::filesystem::remove(ledger->file()); };
  EXPECT_THROW(runtime()->connect(), Error);
  EXPECT_EQ(cloud->sandbox, std::nullopt);
}

TEST_F(Session, ASandboxIsNotLookedForInAnotherAccount) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  OpenHandsConfig config = quick_config();
  config.profile = "other";
  try {
    runtime(config, true)->connect();
    FAIL() << "it connected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::conflict);
    EXPECT_THAT(error.what(), HasSubstr("--profile"));
  }
  EXPECT_TRUE(ledger->find("s"));
}

TEST_F(Session, ACreationThatFailsButLeavesASandboxIsTidiedUp) {
  cloud->on_create = [this] {
    cloud->sandbox = SandboxId{"box"};
    throw Error(ErrorCode::unavailable, "the connection broke");
  };
  EXPECT_THROW(runtime()->connect(), Error);
  EXPECT_EQ(cloud->sandbox, std::nullopt);
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, ARuntimeThatFailedAfterCreatingStillOwnsTheSandbox) {
  cloud->agent = "unix:" + (dir / "none.sock");
  OpenHandsConfig config = quick_config();
  config.sandbox.remote_runtime_init_timeout = std::chrono::seconds(1);
  const auto first = runtime(config);
  EXPECT_THROW(first->connect(), Error);
  cloud->agent = agent.address();
  first->connect();
  first->close();
  EXPECT_EQ(cloud->sandbox, std::nullopt);
  EXPECT_EQ(ledger->find("s"), std::nullopt);
}

TEST_F(Session, ALeaseIsRenewedWhileConnected) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  cloud->can.renew = true;
  cloud->lease_end = std::chrono::system_clock::time_point(std::chrono::seconds(1));
  OpenHandsConfig config = quick_config();
  config.sandbox.lease = std::chrono::seconds(3);
  const auto user = runtime(config);
  user->connect();
  EXPECT_TRUE(seen("renew 3", 2));  // at once, and again after a third of it
  user->close();
  EXPECT_EQ(ledger->find("s")->lease_end, std::chrono::system_clock::time_point(std::chrono::seconds(3)));
}

TEST_F(Session, ALeaseThatCannotBeAnotherIsRenewedAsOftenAsItNeeds) {
  left_by_a_dead_process(SandboxId{"box"}, true);
  cloud->can.renew = true;
  cloud->can.fixed_lease = true;
  cloud->lease_length = std::chrono::seconds(7);
  cloud->lease_end = engine.system_now();
  OpenHandsConfig config = quick_config();
  config.sandbox.lease = std::chrono::hours(1);
  const auto user = runtime(config);
  user->connect();
  EXPECT_TRUE(seen("renew 7"));
  user->close();
}

}  // namespace
}  // namespace sandkey::runtime_test
