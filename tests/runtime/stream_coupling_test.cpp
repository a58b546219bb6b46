// A runtime that serves an event stream: actions in, observations out.
#include "fixtures.h"
#include "sandkey/base/error.h"
#include "sandkey/events/codec.h"
#include "sandkey/events/event_stream.h"
#include "sandkey/runtime/action_execution_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::runtime_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class StreamCoupling : public ::testing::Test {
 protected:
  StreamCoupling() {
    stream_->subscribe(
        EventStreamSubscriber::test,
        [this](const EventPtr& event) {
          if (const auto* observation = std::get_if<Observation>(event.get())) {
            const std::lock_guard lock(mutex_);
            observations_.push_back(*observation);
            changed_.notify_all();
          }
        },
        "test");
  }
  ~StreamCoupling() override {
    runtime_.reset();
    stream_->close();
  }

  void connect(RuntimeOptions options = {}) {
    options.status_callback = [this](std::string_view, RuntimeStatus status, const std::string& message) {
      const std::lock_guard lock(mutex_);
      statuses_.push_back(status);
      last_message_ = message;
      changed_.notify_all();
    };
    runtime_ = std::make_unique<ActionExecutionClient>(engine_, fixed(agent_.address()), config_, stream_,
                                                       "sid", std::move(options));
    runtime_->connect();
  }

  std::int64_t add(ActionBody body, EventSource source = EventSource::agent) {
    return header(*stream_->add_event(Action(std::move(body)), source)).id;
  }
  // Waits for the n-th observation, from 0.
  Observation observation(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return observations_.size() > n; });
    return observations_[n];
  }
  RuntimeStatus wait_for_bad_status() {
    std::unique_lock lock(mutex_);
    const auto bad = [this] {
      return !statuses_.empty() &&
             (statuses_.back() == RuntimeStatus::error || statuses_.back() == RuntimeStatus::disconnected);
    };
    changed_.wait(lock, bad);
    return statuses_.back();
  }

  AgentProcess agent_;
  OpenHandsConfig config_ = quick_config();
  Engine engine_;
  std::shared_ptr<EventStream> stream_ = std::make_shared<EventStream>("sid");
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Observation> observations_;
  std::vector<RuntimeStatus> statuses_;
  std::string last_message_;
  std::unique_ptr<ActionExecutionClient> runtime_;
};

TEST_F(StreamCoupling, EachActionGetsItsObservationWithCauseSourceAndToolCall) {
  connect();
  Action first(CmdRunAction{.command = "echo one"});
  first.tool_call_metadata = json::object{{"tool_call_id", "call-1"}};
  const std::int64_t one = header(*stream_->add_event(std::move(first), EventSource::agent)).id;
  const std::int64_t two = add(FileReadAction{.path = agent_.home() + "/.gitconfig"}, EventSource::user);
  const std::int64_t three = add(AgentThinkAction{.thought = "hm"});

  // What needs no sandbox is answered without waiting for what does.
  std::vector<Observation> got{observation(0), observation(1), observation(2)};
  const auto by_cause = [&got](std::int64_t cause) {
    for (const Observation& each : got) {
      if (each.cause == cause) return each;
    }
    ADD_FAILURE() << "nothing has the cause " << cause;
    return Observation();
  };
  const Observation ran = by_cause(one);
  EXPECT_NE(ran.as<CmdOutputObservation>(), nullptr);
  EXPECT_EQ(ran.content, "one");
  EXPECT_EQ(ran.source, EventSource::agent);
  EXPECT_EQ(ran.tool_call_metadata, (json::value(json::object{{"tool_call_id", "call-1"}})));
  const Observation read = by_cause(two);
  EXPECT_EQ(read.source, EventSource::user);
  EXPECT_TRUE(read.tool_call_metadata.is_null());
  EXPECT_NE(by_cause(three).as<AgentThinkObservation>(), nullptr);
}

TEST_F(StreamCoupling, ActionsAreExecutedInTheOrderOfTheStream) {
  connect();
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(add(CmdRunAction{.command = "echo " + std::to_string(i)}));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Observation got = observation(i);
    EXPECT_EQ(got.cause, ids[i]);
    EXPECT_EQ(got.content, std::to_string(i));
  }
}

TEST_F(StreamCoupling, WhatIsNotExecutedLeavesNoObservation) {
  connect();
  add(MessageAction{.content = "hello"});
  CmdRunAction waiting{.command = "touch " + agent_.work() + "/ran"};
  waiting.confirmation_state = ActionConfirmationStatus::awaiting_confirmation;
  add(waiting);
  const std::int64_t last = add(CmdRunAction{.command = "ls"});
  const Observation first = observation(0);
  EXPECT_EQ(first.cause, last);
  EXPECT_EQ(first.content, "");
}

TEST_F(StreamCoupling, AFailingCommandIsAnObservationAndNoBadStatus) {
  connect();
  add(CmdRunAction{.command = "false"});
  const Observation got = observation(0);
  ASSERT_NE(got.as<CmdOutputObservation>(), nullptr);
  EXPECT_EQ(got.as<CmdOutputObservation>()->metadata.exit_code, 1);
  EXPECT_EQ(runtime_->status(), RuntimeStatus::ready);
}

TEST_F(StreamCoupling, ABlockingActionWithoutATimeoutGetsTheDefaultOne) {
  connect();
  add(CmdRunAction{.command = "echo fine", .blocking = true});
  EXPECT_EQ(observation(0).content, "fine");
}

TEST_F(StreamCoupling, AnAgentThatDiesDisconnectsAndPublishesNothing) {
  config_.sandbox.timeout = std::chrono::seconds(1);  // with 5 s more for the reply: how long it is tried
  connect();
  agent_.kill();
  add(CmdRunAction{.command = "true"});
  EXPECT_EQ(wait_for_bad_status(), RuntimeStatus::disconnected) << last_message_;
  const std::lock_guard lock(mutex_);
  EXPECT_TRUE(observations_.empty());
  EXPECT_FALSE(last_message_.empty());
}

TEST_F(StreamCoupling, AnActionBeforeConnectIsAnErrorStatus) {
  RuntimeOptions options;
  options.status_callback = [this](std::string_view, RuntimeStatus status, const std::string& message) {
    const std::lock_guard lock(mutex_);
    statuses_.push_back(status);
    last_message_ = message;
    changed_.notify_all();
  };
  runtime_ = std::make_unique<ActionExecutionClient>(engine_, fixed(agent_.address()), config_, stream_,
                                                     "sid", std::move(options));
  add(CmdRunAction{.command = "true"});
  EXPECT_EQ(wait_for_bad_status(), RuntimeStatus::error);
  const std::lock_guard lock(mutex_);
  EXPECT_THAT(last_message_, HasSubstr("call connect() first"));
}

TEST_F(StreamCoupling, TwoRuntimesOfOneSessionConflict) {
  connect();
  try {
    ActionExecutionClient second(engine_, fixed(agent_.address()), config_, stream_, "sid");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::conflict);
  }
  runtime_.reset();
  ActionExecutionClient after(engine_, fixed(agent_.address()), config_, stream_, "sid");
}

TEST_F(StreamCoupling, AClosedRuntimeListensNoLonger) {
  connect();
  runtime_->close();
  add(CmdRunAction{.command = "touch " + agent_.work() + "/ran"});
  ActionExecutionClient second(engine_, fixed(agent_.address()), config_, stream_, "sid");
  second.connect();
  const std::int64_t last = add(CmdRunAction{.command = "ls"});
  const Observation first = observation(0);
  EXPECT_EQ(first.cause, last);
  EXPECT_EQ(first.content, "");
}

TEST_F(StreamCoupling, GitTokensAreExportedAndMasked) {
  RuntimeOptions options;
  options.git_provider_tokens.emplace("github", Secret("ghp-canary-42"));
  options.git_provider_tokens.emplace("gitlab", Secret("glpat-canary-43"));
  connect(std::move(options));
  add(CmdRunAction{.command = "echo $GITHUB_TOKEN $GITLAB_TOKEN | tee " + agent_.work() + "/tokens"});
  const Observation got = observation(0);
  EXPECT_EQ(got.content, "<secret_hidden> <secret_hidden>");
  EXPECT_EQ(read_file(agent_.work() + "/tokens"), "ghp-canary-42 glpat-canary-43\n");
  for (const EventPtr& event : stream_->get_events())
    EXPECT_THAT(serialize(*event), Not(HasSubstr("canary")));
}

TEST_F(StreamCoupling, ARuntimeMayGoWhileActionsAreWaiting) {
  connect();
  for (int i = 0; i < 20; ++i) add(CmdRunAction{.command = "true"});
  runtime_.reset();
}

}  // namespace
}  // namespace sandkey::runtime_test
