#include "sandkey/net/retry.h"

#include <gtest/gtest.h>

#include <limits>

namespace sandkey {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::system_clock;
using Unit = WaitHeader::Unit;

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

// Sun, 06 Nov 1994 08:49:37 GMT
const system_clock::time_point kNow = system_clock::from_time_t(784111777);

TEST(ParseWait, Numbers) {
  EXPECT_EQ(parse_wait("0", Unit::seconds, kNow), 0ms);
  EXPECT_EQ(parse_wait("120", Unit::seconds, kNow), 120s);
  EXPECT_EQ(parse_wait("1.5", Unit::seconds, kNow), 1500ms);
  EXPECT_EQ(parse_wait("0.0001", Unit::seconds, kNow), 1ms);
  EXPECT_EQ(parse_wait("250", Unit::milliseconds, kNow), 250ms);
  EXPECT_EQ(parse_wait("250.5", Unit::milliseconds, kNow), 251ms);
  EXPECT_EQ(parse_wait("784111780", Unit::unix_seconds, kNow), 3s);
  EXPECT_EQ(parse_wait("784111770", Unit::unix_seconds, kNow), 0ms) << "past";
  EXPECT_EQ(parse_wait("99999999999999999999999", Unit::seconds, kNow), milliseconds(24h * 365));
}

TEST(ParseWait, TheThreeFormatsOfDates) {
  EXPECT_EQ(parse_wait("Sun, 06 Nov 1994 08:49:47 GMT", Unit::seconds, kNow), 10s);
  EXPECT_EQ(parse_wait("Sunday, 06-Nov-94 08:49:47 GMT", Unit::seconds, kNow), 10s);
  EXPECT_EQ(parse_wait("Sun Nov  6 08:49:47 1994", Unit::seconds, kNow), 10s);
  EXPECT_EQ(parse_wait("Sun, 06 Nov 1994 08:49:37 GMT", Unit::seconds, kNow), 0ms);
  EXPECT_EQ(parse_wait("Sat, 05 Nov 1994 08:49:37 GMT", Unit::seconds, kNow), 0ms) << "past";
  EXPECT_EQ(parse_wait("Fri, 31 Dec 9999 23:59:59 GMT", Unit::seconds, kNow), milliseconds(24h * 365));
}

TEST(ParseWait, Nonsense) {
  for (const char* text : {"", " ", "-1", "+1", "1e3", "0x10", "inf", "nan", "soon", "1 2", "1s", "1,5",
                           "Sun, 06 Nov", "Sun, 99 Nov 1994 08:49:37 GMT", "Thu, 01 Jan 1970"}) {
    EXPECT_EQ(parse_wait(text, Unit::seconds, kNow).value_or(0ms), 0ms) << text;
  }
  EXPECT_EQ(parse_wait("soon", Unit::seconds, kNow), std::nullopt);
  EXPECT_EQ(parse_wait("-1", Unit::seconds, kNow), std::nullopt);
  EXPECT_EQ(parse_wait(std::string(1000, '9'), Unit::seconds, kNow), std::nullopt) << "no double";
}

TEST(ServerWait, ReadsTheHeadersOfThePolicyInTheirOrder) {
  RetryPolicy policy;
  EXPECT_EQ(server_wait(policy, {}, kNow), std::nullopt);
  EXPECT_EQ(server_wait(policy, {{"retry-after", "7"}}, kNow), 7s);
  EXPECT_EQ(server_wait(policy, {{"Retry-After-Ms", "7"}}, kNow), std::nullopt);
  policy.wait_headers = {{.name = "retry-after-ms", .unit = Unit::milliseconds}, {.name = "Retry-After"}};
  EXPECT_EQ(server_wait(policy, {{"Retry-After", "7"}, {"Retry-After-Ms", "70"}}, kNow), 70ms);
  EXPECT_EQ(server_wait(policy, {{"Retry-After", "7"}, {"Retry-After-Ms", "x"}}, kNow), 7s) << "the next one";
}

TEST(ServerWait, AFamilyOfHeadersGivesItsLongest) {
  RetryPolicy policy;
  policy.wait_headers = {{.name = "Retry-After-*"}};
  EXPECT_EQ(server_wait(policy, {{"retry-after-create", "3"}, {"Retry-After-All", "5"}, {"Retry-After", "9"}},
                        kNow),
            5s);
}

TEST(ServerWait, DatesAreRelativeToTheServersClock) {
  const HttpResponseHeaders headers{{"Date", "Sun, 06 Nov 1994 09:00:00 GMT"},
                                    {"Retry-After", "Sun, 06 Nov 1994 09:00:05 GMT"}};
  EXPECT_EQ(server_wait({}, headers, kNow), 5s);
  EXPECT_EQ(server_wait({}, headers, kNow + 24h), 5s);
}

// --- the decision ---

struct Row {
  const char* what;
  Attempt attempt;
  bool again;
};

TEST(RetryDelay, WhatIsRepeated) {
  const Row rows[] = {
      {"an answer", {.repeatable = true, .status = 200}, false},
      {"not found", {.repeatable = true, .status = 404}, false},
      {"server's fault", {.repeatable = true, .status = 500}, false},
      {"too fast", {.repeatable = true, .status = 429}, true},
      {"too fast, nothing was done", {.repeatable = false, .status = 429}, true},
      {"try later", {.repeatable = true, .status = 503}, true},
      {"try later, perhaps done", {.repeatable = false, .status = 503}, false},
      {"gateway", {.repeatable = true, .status = 502}, true},
      {"server says no", {.repeatable = true, .status = 503, .server_verdict = false}, false},
      {"server says yes", {.repeatable = true, .status = 409, .server_verdict = true}, true},
      {"server says yes, perhaps done", {.repeatable = false, .status = 409, .server_verdict = true}, false},
      {"broken", {.repeatable = true, .processed = Processed::unknown}, true},
      {"broken, perhaps done", {.repeatable = false, .processed = Processed::unknown}, false},
      {"not sent", {.repeatable = false, .processed = Processed::no}, true},
      {"broken, done", {.repeatable = false, .processed = Processed::yes}, false},
      {"will not change", {.repeatable = true, .processed = Processed::no, .permanent = true}, false},
      {"cancelled", {.repeatable = true, .error = ErrorCode::cancelled, .processed = Processed::no}, false},
      {"late",
       {.repeatable = true, .error = ErrorCode::deadline_exceeded, .processed = Processed::no},
       false},
      {"not HTTP", {.repeatable = true, .error = ErrorCode::protocol}, false},
      {"malformed",
       {.repeatable = true, .error = ErrorCode::invalid_argument, .processed = Processed::no},
       false},
      {"no budget", {.repeatable = true, .status = 503, .budget_left = false}, false},
      {"the last but one", {.number = 3, .repeatable = true, .status = 503}, true},
      {"the last one", {.number = 4, .repeatable = true, .status = 503}, false},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(retry_delay({}, row.attempt).has_value(), row.again) << row.what;
  }
}

TEST(RetryDelay, FullJitterUpToALimitThatDoubles) {
  RetryPolicy policy;
  policy.max_attempts = 1000;
  policy.first_delay = 100ms;
  policy.max_delay = 450ms;
  const auto longest = [&](int number) {
    milliseconds most{};
    // A multiple of every limit, plus each limit: what a remainder can be at most.
    for (std::uint64_t random = 0; random < 500; ++random) {
      most = std::max(
          most, retry_delay(policy, {.number = number, .repeatable = true, .status = 503, .random = random})
                    .value());
    }
    return most;
  };
  EXPECT_EQ(longest(1), 100ms);
  EXPECT_EQ(longest(2), 200ms);
  EXPECT_EQ(longest(3), 400ms);
  EXPECT_EQ(longest(4), 450ms);
  EXPECT_EQ(longest(999), 450ms);
  EXPECT_EQ(retry_delay(policy, {.repeatable = true, .status = 503, .random = 0}), 0ms);
}

TEST(RetryDelay, WhatTheServerAsksForIsKept) {
  Attempt attempt{.repeatable = true, .status = 429, .server_wait = 5s};
  EXPECT_EQ(retry_delay({}, attempt), 5s);
  attempt.random = kMost;
  EXPECT_GE(retry_delay({}, attempt).value(), 5s);
  EXPECT_LE(retry_delay({}, attempt).value(), 5s + RetryPolicy{}.first_delay);
  attempt.random = 0;
  attempt.server_wait = RetryPolicy{}.max_server_wait;
  EXPECT_EQ(retry_delay({}, attempt), RetryPolicy{}.max_server_wait);
  attempt.server_wait = RetryPolicy{}.max_server_wait + 1ms;
  EXPECT_EQ(retry_delay({}, attempt), std::nullopt);
}

TEST(RetryDelay, NeverPastTheDeadline) {
  Attempt attempt{.repeatable = true, .status = 429, .server_wait = 5s};
  attempt.time_left = 5s;
  EXPECT_EQ(retry_delay({}, attempt), std::nullopt);
  attempt.time_left = 5s + 1ns;
  EXPECT_EQ(retry_delay({}, attempt), 5s);
  attempt.server_wait.reset();
  attempt.time_left = 0ns;
  EXPECT_EQ(retry_delay({}, attempt), std::nullopt) << "not even without a wait";
  attempt.time_left = -1s;
  EXPECT_EQ(retry_delay({}, attempt), std::nullopt);
}

TEST(RetryBudget, AShareOfTheRequestsAndABurst) {
  RetryBudget budget;
  int repeats = 0;
  while (budget.take()) ++repeats;
  EXPECT_EQ(repeats, RetryBudget::kBurst);
  EXPECT_FALSE(budget.has_left());
  repeats = 0;
  for (int i = 0; i < 1000; ++i) {
    budget.on_request();
    if (budget.take()) ++repeats;
  }
  EXPECT_EQ(repeats, 1000 / RetryBudget::kRequestsPerRepeat);
  for (int i = 0; i < 1000; ++i) budget.on_request();
  repeats = 0;
  while (budget.take()) ++repeats;
  EXPECT_EQ(repeats, RetryBudget::kBurst) << "it does not save up more";
}

}  // namespace
}  // namespace sandkey
