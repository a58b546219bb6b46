// Clouds that misbehave, as the emulator lets them.
#include "tests/contract/suite.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <stop_token>
#include <string>
#include <vector>

namespace sandkey::contract {
namespace {

using std::chrono::seconds;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Faults : public ContractTest {
 protected:
  static std::string_view probe() { return subject().facts->routes.probes.front(); }
  static std::string_view create() { return subject().facts->routes.create; }

  void SetUp() override {
    ContractTest::SetUp();
    mark_ = emulator().last_request();
  }

  // The statuses with which the route was answered since the case began; a request without an answer has 0.
  std::vector<int> answers(std::string_view route) {
    std::vector<int> statuses;
    for (const JournalEntry& entry : emulator().requests_since(mark_))
      if (entry.route == route) statuses.push_back(entry.status);
    return statuses;
  }

  // Connects and works, with the one sandbox that exists; then closes it.
  void expect_one_working_sandbox(ActionExecutionClient& runtime) {
    runtime.connect();
    EXPECT_THAT(existing(), ElementsAre(runtime.sandbox_id().value));
    EXPECT_EQ(output(runtime, "echo works"), "works");
    runtime.close();
    EXPECT_THAT(existing(), IsEmpty());
  }

  void expect_no_key(const std::string& text) {
    for (const KeyPart& part : subject().key) {
      const auto key = engine_->environment(part.variable);
      EXPECT_TRUE(!key || text.find(*key) == std::string::npos) << "the message holds " << part.variable;
    }
  }

  static OpenHandsConfig impatient(seconds patience) {
    OpenHandsConfig config = ContractTest::config();
    config.sandbox.remote_runtime_init_timeout = patience;
    config.sandbox.remote_runtime_api_timeout = patience;
    return config;
  }

  static Fault status(int code, int times = 1) {
    if (subject().facts->routes.grpc) {
      return {.kind = "grpc_status", .status = code, .body = "made by the contract suite", .times = times};
    }
    return {.kind = "status",
            .status = code,
            .headers = {{"Content-Type", "application/json"}},
            .body = R"({"code":)" + std::to_string(code) + R"(,"message":"made by the contract suite"})",
            .times = times};
  }

 private:
  std::uint64_t mark_ = 0;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Faults);
INSTANTIATE_TEST_SUITE_P(, Faults, ::testing::ValuesIn(emulated_providers()), name_of);

TEST_P(Faults, AskedToWaitWeWaitAndSucceed) {
  Fault wait = status(429);
  wait.wait = seconds(1);
  for (const std::string_view route : {probe(), create()}) {
    SCOPED_TRACE(route);
    engine_ = make_engine();  // one that is not signed in yet
    emulator().inject(route, wait);
    const auto begin = std::chrono::steady_clock::now();
    const auto runtime = make("waits");
    expect_one_working_sandbox(*runtime);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, seconds(1));
  }
  EXPECT_EQ(std::ranges::count(answers(create()), 429), 1);
}

TEST_P(Faults, AskedToWaitTooLongWeSaySo) {
  Fault wait = status(429, kAlways);
  wait.wait = std::chrono::hours(24);
  emulator().inject(probe(), wait);
  const Error error = thrown([&] { (void)make("waits"); });
  EXPECT_EQ(error.code(), ErrorCode::rate_limited) << error.what();
  EXPECT_EQ(error.context().retry_after, std::chrono::hours(24));
  EXPECT_THAT(answers(probe()), SizeIs(1));
}

TEST_P(Faults, TooManyRequestsWithoutATimeAreTriedAgain) {
  emulator().inject(probe(), status(429));
  (void)make("throttled");
  EXPECT_THAT(answers(probe()), ElementsAre(429, 200));
}

TEST_P(Faults, TooManyRequestsForEverIsSaid) {
  emulator().inject(probe(), status(429, kAlways));
  const Error error = thrown([&] { (void)make("throttled"); });
  EXPECT_THAT(error.code(), AnyOf(ErrorCode::rate_limited, ErrorCode::quota_exceeded)) << error.what();
  EXPECT_LE(answers(probe()).size(), 10U);
}

TEST_P(Faults, ACloudThatIsDownForTwoRequestsIsAskedAThirdTime) {
  emulator().inject(probe(), status(503, 2));
  const auto runtime = make("patient");
  EXPECT_THAT(answers(probe()), ElementsAre(503, 503, 200));
}

TEST_P(Faults, ACloudThatStaysDownIsUnavailable) {
  emulator().inject(probe(), status(503, kAlways));
  const Error error = thrown([&] { (void)make("down"); });
  EXPECT_EQ(error.code(), ErrorCode::unavailable) << error.what();
  EXPECT_EQ(error.context().provider, subject().name);
  EXPECT_LE(answers(probe()).size(), 10U);
}

TEST_P(Faults, ACreateThatFailsLeavesNothingAndMayBeTriedAgain) {
  emulator().inject(create(), status(500, kAlways));
  const auto runtime = make("failed");
  const Error error = thrown([&] { runtime->connect(); });
  EXPECT_THAT(error.code(), AnyOf(ErrorCode::unavailable, ErrorCode::capacity_unavailable)) << error.what();
  EXPECT_EQ(error.context().phase, "create the sandbox");
  EXPECT_THAT(error.what(), HasSubstr("create the sandbox"));
  EXPECT_THAT(existing(), IsEmpty());
  emulator().remove_faults();
  expect_one_working_sandbox(*runtime);
}

TEST_P(Faults, AnswersThatAreNoneAreProtocolErrors) {
  const Fault garbage{.kind = "garbage", .times = kAlways};
  emulator().inject(probe(), garbage);
  EXPECT_EQ(thrown([&] { (void)make("garbage"); }).code(), ErrorCode::protocol);
  emulator().remove_faults();
  const auto runtime = make("garbage");
  emulator().inject(create(), garbage);
  EXPECT_EQ(thrown([&] { runtime->connect(); }).code(), ErrorCode::protocol);
  emulator().remove_faults();
  runtime->close();
  EXPECT_THAT(existing(), IsEmpty());
}

TEST_P(Faults, ACloudThatNeverAnswersMeetsTheDeadline) {
  const Fault hang{.kind = "hang", .times = kAlways};
  const auto begin = std::chrono::steady_clock::now();
  emulator().inject(probe(), hang);
  const auto sign_in = [&] {
    (void)engine_->wait(engine_->with_deadline(async_make_provider(*engine_, config()),
                                               engine_->in(seconds(1)), "making a provider"));
  };
  EXPECT_EQ(thrown(sign_in).code(), ErrorCode::deadline_exceeded);
  emulator().remove_faults();
  engine_ = make_engine();  // who comes later to the old one would share the question that hangs

  const auto runtime = make("hangs", impatient(seconds(2)));
  emulator().inject(create(), hang);
  const Error error = thrown([&] { runtime->connect(); });
  EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded) << error.what();
  EXPECT_EQ(error.context().phase, "create the sandbox");
  EXPECT_THAT(error.what(), HasSubstr("create the sandbox"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(30));
  emulator().remove_faults();
  runtime->close();
  EXPECT_THAT(existing(), IsEmpty());
}

TEST_P(Faults, ACreateWhoseAnswerIsLostIsFoundAndNotMadeTwice) {
  for (const char* kind : {"drop_after", "half"}) {
    SCOPED_TRACE(kind);
    emulator().inject(create(), {.kind = kind});
    const auto runtime = make("lost");
    expect_one_working_sandbox(*runtime);
  }
  EXPECT_THAT(answers(create()), SizeIs(2));  // once each
}

TEST_P(Faults, ACreateThatNeverArrivedIsAtMostMadeOnce) {
  emulator().inject(create(), {.kind = "drop_before"});
  const auto runtime = make("never-arrived");
  try {
    runtime->connect();
    EXPECT_THAT(existing(), ElementsAre(runtime->sandbox_id().value));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unavailable) << error.what();
    EXPECT_THAT(existing(), IsEmpty());
  }
  runtime->close();
}

TEST_P(Faults, AKeyThatIsSentBackIsNotShown) {
  emulator().inject(probe(), {.kind = "echo"});
  expect_no_key(thrown([&] { (void)make("echo"); }).what());
  std::string told;
  RuntimeOptions options;
  options.status_callback = [&](std::string_view, RuntimeStatus, const std::string& text) { told += text; };
  const auto runtime = make("echo", config(), std::move(options));
  emulator().inject(create(), {.kind = "echo"});
  expect_no_key(thrown([&] { runtime->connect(); }).what());
  expect_no_key(told);
  runtime->close();
  EXPECT_THAT(existing(), IsEmpty());
}

TEST_P(Faults, GivingUpOnACloudThatHangsIsQuickAndLeavesNothing) {
  std::stop_source stop;
  const auto runtime = make("given-up");
  emulator().inject(create(), {.kind = "hang"});
  TaskGroup watching(*engine_);
  const auto give_up = [&]() -> asio::awaitable<void> {
    co_await engine_->sleep_for(std::chrono::milliseconds(500));
    stop.request_stop();
  };
  watching.spawn(give_up());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(thrown([&] { engine_->wait(runtime->async_connect(), stop.get_token()); }).code(),
            ErrorCode::cancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(20));
  engine_->wait(watching.join());
  runtime->close();
  EXPECT_THAT(existing(), IsEmpty());
}

TEST_P(Faults, SlownessIsNoFault) {
  emulator().inject("*", {.kind = "slow", .milliseconds = 100, .times = kAlways});
  const auto runtime = make("slow");
  expect_one_working_sandbox(*runtime);
}

}  // namespace
}  // namespace sandkey::contract
