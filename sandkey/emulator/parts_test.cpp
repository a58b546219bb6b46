// The parts of the host that need no cloud: faults, journal, clock, accounts, secrets, routes, variables.
#include "sandkey/base/async_event.h"
#include "sandkey/base/error.h"
#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/admin.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/faults.h"
#include "sandkey/emulator/journal.h"
#include "sandkey/emulator/known_secrets.h"
#include "sandkey/emulator/program.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/emulator/rfc3339.h"
#include "sandkey/emulator/router.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sandkey::emulator {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

json::object object(const char* text) {
  return json::parse(text).as_object();
}

// ---- Faults

FaultRule rule(const std::string& route, std::uint64_t skip, std::uint64_t times, int status) {
  FaultRule made;
  made.provider = "acme";
  made.route = route;
  made.skip = skip;
  made.times = times;
  made.fault.status = status;
  return made;
}

TEST(FaultScript, PassesOverSomeThenHappensSoOften) {
  FaultScript script;
  script.add(rule("GET /a/{id}", 2, 2, 500));
  std::vector<bool> happened;
  for (int i = 0; i < 6; ++i) happened.push_back(script.take("acme", "GET /a/{sandboxID}").has_value());
  EXPECT_THAT(happened, ElementsAre(false, false, true, true, false, false));
}

TEST(FaultScript, IsForOneCloudAndRouteOrForAll) {
  FaultScript script;
  script.add(rule("GET /a", 0, 0, 500));
  EXPECT_FALSE(script.take("other", "GET /a"));
  EXPECT_FALSE(script.take("acme", "POST /a"));
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(script.take("acme", "GET /a"));
  script.clear();
  EXPECT_FALSE(script.take("acme", "GET /a"));
  script.add(rule("*", 0, 1, 501));
  EXPECT_EQ(script.take("acme", "PUT /anything")->status, 501);
}

TEST(FaultScript, TakesTheFirstRuleThatIsNotUsedUp) {
  FaultScript script;
  EXPECT_EQ(script.add(rule("GET /a", 0, 1, 500)), 1);
  EXPECT_EQ(script.add(rule("*", 0, 1, 503)), 2);
  EXPECT_EQ(script.take("acme", "GET /a")->status, 500);
  EXPECT_EQ(script.take("acme", "GET /a")->status, 503);
  EXPECT_FALSE(script.take("acme", "GET /a"));
}

TEST(FaultScript, HasALimit) {
  FaultScript script;
  for (std::size_t i = 0; i < kMaxFaultRules; ++i) script.add(rule("*", 0, 1, 500));
  EXPECT_THROW(script.add(rule("*", 0, 1, 500)), Error);
}

TEST(FaultRules, AreReadFromJson) {
  const FaultRule made = parse_fault_rule(object(
      R"({"provider":"e2b","route":"POST /v2/sandboxes","skip":1,"times":3,"fault":
          {"kind":"status","status":429,"headers":{"Retry-After":"1"},"body":{"code":429}}})"));
  EXPECT_EQ(made.skip, 1U);
  EXPECT_EQ(made.times, 3U);
  EXPECT_EQ(made.fault.status, 429);
  EXPECT_EQ(made.fault.body, R"({"code":429})");
  ASSERT_EQ(made.fault.headers.size(), 1U);
  EXPECT_EQ(made.fault.headers[0].second, "1");
  const FaultRule plain = parse_fault_rule(
      object(R"({"provider":"e2b","route":"*","fault":{"kind":"slow","milliseconds":600000}})"));
  EXPECT_EQ(plain.times, 1U);
  EXPECT_EQ(plain.fault.delay, kLongestDelay);
  for (const char* kind : {"drop_before", "drop_after", "hang", "garbage", "half", "echo"}) {
    const std::string text =
        R"({"provider":"e2b","route":"*","fault":{"kind":")" + std::string(kind) + R"("}})";
    EXPECT_EQ(to_string(parse_fault_rule(object(text.c_str())).fault.kind), kind);
  }
  EXPECT_EQ(parse_fault_rule(object(R"({"provider":"e2b","route":"*","fault":{"kind":"cut","bytes":7}})"))
                .fault.bytes,
            7U);
  const Fault call = parse_fault_rule(object(R"({"provider":"modal","route":"*","fault":
      {"kind":"grpc_status","grpc_status":8,"message":"slowly","retry_after_milliseconds":200}})"))
                         .fault;
  EXPECT_EQ(call.status, 8);
  EXPECT_EQ(call.body, "slowly");
  EXPECT_EQ(call.retry_after, std::chrono::milliseconds(200));
}

TEST(FaultRules, MustMakeSense) {
  for (
      const char* text :
      {R"({})", R"({"provider":"e2b"})", R"({"provider":"e2b","route":"*"})",
       R"({"provider":"e2b","route":"*","fault":{}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"x"}})",
       R"({"provider":"e2b","route":"*","skip":-1,"fault":{"kind":"hang"}})",
       R"({"provider":"e2b","route":"*","times":"2","fault":{"kind":"hang"}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"status","status":99}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"status","status":600}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"status","headers":{"a":1}}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"status","headers":{"a":"b\r\nc"}}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"slow"}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"cut"}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"grpc_status"}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"grpc_status","grpc_status":17}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"grpc_status","grpc_status":8,"retry_after_milliseconds":-1}})",
       R"({"provider":"e2b","route":"*","fault":{"kind":"slow","milliseconds":600001}})"}) {
    EXPECT_THROW((void)parse_fault_rule(object(text)), Error) << text;
  }
}

// ---- Journal

std::shared_ptr<JournalEntry> entry(const std::string& provider) {
  auto made = std::make_shared<JournalEntry>();
  made->provider = provider;
  made->method = "GET";
  made->headers = {{"a", "1"}, {"a", "2"}};
  return made;
}

TEST(Journal, NumbersEntriesAndGivesThoseOfACloudSinceOne) {
  Journal journal;
  for (const char* provider : {"x", "y", "x"}) journal.add(entry(provider));
  EXPECT_EQ(journal.entries("", 0).size(), 3U);
  const json::array list = journal.entries("x", 1);
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].at("number").as_uint64(), 3U);
  EXPECT_EQ(list[0].at("headers").at("a").as_string(), "1, 2");
  EXPECT_TRUE(list[0].at("status").is_null());
  EXPECT_TRUE(list[0].at("took_ms").is_null());
  EXPECT_TRUE(list[0].at("fault").is_null());
  journal.clear();
  EXPECT_TRUE(journal.entries("", 0).empty());
  journal.add(entry("x"));
  EXPECT_EQ(journal.entries("", 0)[0].at("number").as_uint64(), 4U);
}

TEST(Journal, DropsTheOldest) {
  Journal journal;
  for (std::size_t i = 0; i < kMaxJournalEntries + 1; ++i) journal.add(entry("x"));
  const json::array list = journal.entries("x", 0);
  EXPECT_EQ(list.size(), kMaxJournalEntries);
  EXPECT_EQ(list[0].at("number").as_uint64(), 2U);
}

TEST(Journal, DropsTheOldestWhenBodiesAddUp) {
  Journal journal;
  std::vector<std::shared_ptr<JournalEntry>> made;
  constexpr std::size_t kFit = kMaxJournalBytes / kMaxJournalBody;
  for (std::size_t i = 0; i < kFit; ++i) {
    made.push_back(entry("x"));
    journal.add(made.back());
    journal.set_body(*made.back(), std::string(kMaxJournalBody, 'b'));
  }
  EXPECT_EQ(journal.entries("x", 0).size(), kFit);
  made.push_back(entry("x"));
  journal.add(made.back());
  journal.set_body(*made.back(), "b");
  EXPECT_EQ(journal.entries("x", 0).size(), kFit);
  journal.set_body(*made.front(), std::string(kMaxJournalBody, 'c'));  // which is dropped already
  journal.set_body(*made.back(), "");
  EXPECT_EQ(journal.entries("x", 0).size(), kFit);
}

TEST(Journal, CountsCallsOfEveryRoute) {
  Journal journal;
  journal.count("x", "GET /a");
  journal.count("x", "GET /a");
  journal.count("y", "GET /b");
  EXPECT_EQ(json::serialize(journal.coverage("x", {"GET /a", "GET /c"})),
            R"([{"route":"GET /a","calls":2},{"route":"GET /c","calls":0}])");
}

// ---- Time

TEST(Rfc3339, HasAsManyDigitsAsThereAre) {
  const Time whole{std::chrono::sys_days(std::chrono::year(2026) / 11 / 28) + 2h + 37min};
  EXPECT_EQ(to_rfc3339(whole), "2026-11-28T02:37:00Z");
  EXPECT_EQ(to_rfc3339(whole + 120ms), "2026-11-28T02:37:00.12Z");
  EXPECT_EQ(to_rfc3339(whole + 1ns), "2026-11-28T02:37:00.000000001Z");
  EXPECT_EQ(to_rfc3339(Time{} - 1ms), "1969-12-31T23:59:59.999Z");
}

TEST(Rfc3339, IsReadWithAnyOffset) {
  const Time time{std::chrono::sys_days(std::chrono::year(2026) / 11 / 28) + 2h + 37min};
  EXPECT_EQ(parse_rfc3339("2026-11-28T02:37:00Z"), time);
  EXPECT_EQ(parse_rfc3339("2026-11-28T04:37:00+02:00"), time);
  EXPECT_EQ(parse_rfc3339("2026-11-27T21:07:00-05:30"), time);
  EXPECT_EQ(parse_rfc3339("2026-11-28T02:37:00.123456789Z"), time + 123456789ns);
  EXPECT_EQ(parse_rfc3339(to_rfc3339(time + 5us)), time + 5us);
  for (const char* bad : {"", "2026-11-28", "2026-13-28T02:37:00Z", "2026-02-30T02:37:00Z",
                          "2026-11-28T24:00:00Z", "2026-11-28T02:37:00", "2026-11-28T02:37:00.Z",
                          "2026-11-28T02:37:00.1234567890Z", "2026-11-28T02:37:00Zx",
                          "2026-11-28T02:37:00+1:00", "1699-12-31T00:00:00Z", "2251-01-01T00:00:00Z"}) {
    EXPECT_FALSE(parse_rfc3339(bad)) << bad;
  }
}

class ClockTest : public ::testing::Test {
 protected:
  // Notes down what was run, and when the clock said that was.
  [[nodiscard]] Clock::Action note(Clock& clock, std::string name) {
    return [this, &clock, name = std::move(name)]() -> asio::awaitable<void> {
      const auto since = std::chrono::duration_cast<std::chrono::seconds>(clock.now() - start_);
      noted_.push_back(name + "@" + std::to_string(since.count()));
      co_return;
    };
  }
  asio::awaitable<void> script(Clock* clock) {
    start_ = clock->now();
    const Clock::Alarm later = clock->at(start_ + 20s, note(*clock, "later"));
    const Clock::Alarm sooner = clock->at(start_ + 10s, note(*clock, "sooner"));
    { const Clock::Alarm never = clock->at(start_ + 15s, note(*clock, "never")); }
    Clock::Alarm moved = clock->at(start_ + 5s, note(*clock, "first"));
    moved = clock->at(start_ + 25s, note(*clock, "moved"));
    co_await clock->advance(9s);
    noted_.emplace_back("-");
    co_await clock->advance(1s);
    co_await clock->advance(100s);
    EXPECT_EQ(clock->now(), start_ + 110s);
    co_await clock->stop();
  }
  asio::awaitable<void> wait_for_alarm(Clock* clock) {
    start_ = clock->now();
    const auto bell = std::make_shared<AsyncEvent>(engine_.executor(0));
    const auto rung = std::make_shared<bool>(false);
    const Clock::Alarm alarm = clock->at(clock->now() + 20ms, [bell, rung]() -> asio::awaitable<void> {
      *rung = true;
      bell->notify_all();
      co_return;
    });
    while (!*rung) (void)co_await bell->wait();
    EXPECT_GE(clock->now(), start_ + 20ms);
    co_await clock->stop();
  }
  asio::awaitable<void> move(Clock* clock) { co_await clock->advance(1s); }

  Engine engine_;
  Time start_ = {};
  std::vector<std::string> noted_;
};

TEST_F(ClockTest, AManualOneRunsWhatIsDueInItsOrderEachAtItsTime) {
  Clock clock(engine_, engine_.executor(0), Clock::Kind::manual);
  engine_.wait(script(&clock));
  EXPECT_THAT(noted_, ElementsAre("-", "sooner@10", "later@20", "moved@25"));
}

TEST_F(ClockTest, ARealOneRingsByItselfAndIsNotMoved) {
  Clock clock(engine_, engine_.executor(0), Clock::Kind::real);
  EXPECT_THROW(engine_.wait(move(&clock)), Error);
  engine_.wait(wait_for_alarm(&clock));
}

// ---- Accounts and secrets

TEST(Accounts, HaveKeysOfTheirOwnThatAreKnown) {
  Engine engine;
  KnownSecrets secrets;
  const Accounts accounts(
      {"special"}, [&](std::string_view) { return "key_" + random_hex(engine, 40); }, secrets);
  std::set<std::string> keys;
  for (const std::string_view name : kStandardAccounts) keys.insert(accounts.named(name).key);
  EXPECT_EQ(keys.size(), kStandardAccounts.size());
  const Account& valid = accounts.named("valid");
  EXPECT_EQ(accounts.find(valid.key), &valid);
  EXPECT_EQ(accounts.find("key_"), nullptr);
  EXPECT_THROW((void)accounts.named("nobody"), Error);
  EXPECT_EQ(accounts.to_json().at("special").as_string(), accounts.named("special").key);
  EXPECT_EQ(secrets.mask("x " + valid.key + "."), "x [account valid].");
}

TEST(KnownSecrets, AreMaskedWhereverTheyAreWords) {
  KnownSecrets secrets;
  secrets.add("e2b_0123456789abcdef", "account valid");
  secrets.add("eyJhbGciOi.eyJzdWIiOiIx.c2lnbmF0dXJl", "token");
  secrets.add("short", "never");
  EXPECT_EQ(secrets.mask(R"({"k":"e2b_0123456789abcdef"})"), R"({"k":"[account valid]"})");
  EXPECT_EQ(secrets.mask("a/b:read::e2b_0123456789abcdef:12"), "a/b:read::[account valid]:12");
  EXPECT_EQ(secrets.mask("eyJhbGciOi.eyJzdWIiOiIx.c2lnbmF0dXJl"), "eyJhbGciOi.[token].[token]");
  EXPECT_EQ(secrets.mask("short e2b_0123456789abcdef0"), "short e2b_0123456789abcdef0");
  EXPECT_EQ(secrets.mask(""), "");
}

TEST(KnownSecrets, TakesWhatTravelsAsACredentialForOne) {
  KnownSecrets secrets;
  secrets.add("e2b_0123456789abcdef", "account valid");
  EXPECT_EQ(secrets.mask_header("x-api-key", "e2b_0123456789abcdef"), "[account valid]");
  EXPECT_EQ(secrets.mask_header("x-api-key", "somebody's real key"), "[not an account]");
  EXPECT_EQ(secrets.mask_header("authorization", "Bearer e2b_0123456789abcdef"), "Bearer [account valid]");
  EXPECT_EQ(secrets.mask_header("authorization", "Bearer real"), "Bearer [not an account]");
  // "user:" names a user; "user:pass" and "a:b:" hold a password.
  EXPECT_EQ(secrets.mask_header("authorization", "Basic dXNlcjo="), "Basic dXNlcjo=");
  EXPECT_EQ(secrets.mask_header("authorization", "Basic dXNlcjpwYXNz"), "Basic [not an account]");
  EXPECT_EQ(secrets.mask_header("authorization", "Basic YTpiOg=="), "Basic [not an account]");
  EXPECT_EQ(secrets.mask_header("user-agent", "anything"), "anything");
  EXPECT_EQ(secrets.mask_header("cookie", ""), "");
}

TEST(RandomText, IsOfTheAlphabet) {
  Engine engine;
  const std::string text = random_text(engine, 1000, "abc");
  EXPECT_EQ(text.size(), 1000U);
  EXPECT_EQ(text.find_first_not_of("abc"), std::string::npos);
  EXPECT_EQ(std::set<char>(text.begin(), text.end()).size(), 3U);
  const std::string uuid = random_uuid(engine);
  EXPECT_EQ(uuid.size(), 36U);
  EXPECT_EQ(uuid[14], '4');
  EXPECT_EQ(uuid[8], '-');
}

// ---- Routes

TEST(Router, MatchesSegmentsAndDecodesWhatIsInBraces) {
  Router router;
  const RouteHandler none = [](net::HttpExchange&, Arguments) -> asio::awaitable<void> { co_return; };
  router.add("GET /a/{id}", none);
  router.add("GET /a/literal", none);  // nearer, though later
  router.add("POST /a/{id}/b/{other}", none);
  const auto route = [&](std::string_view method, std::string_view target) {
    const auto match = router.match(method, target);
    return match ? *match->route : std::string();
  };
  EXPECT_EQ(route("GET", "/a/literal"), "GET /a/literal");
  EXPECT_EQ(route("GET", "/a/x?y=/z"), "GET /a/{id}");
  EXPECT_EQ(route("GET", "http://host/a/x"), "GET /a/{id}");
  EXPECT_EQ(route("PUT", "/a/x"), "");
  EXPECT_EQ(route("GET", "/a"), "");
  EXPECT_EQ(route("GET", "/a/"), "");
  EXPECT_EQ(route("GET", "/a/x/"), "");
  EXPECT_EQ(route("GET", "/a/%zz"), "");
  const auto match = router.match("POST", "/a/n%2Fs%3A1/b/%20");
  ASSERT_TRUE(match);
  EXPECT_THAT(match->arguments, ElementsAre("n/s:1", " "));
  EXPECT_THAT(router.routes(), ElementsAre("GET /a/{id}", "GET /a/literal", "POST /a/{id}/b/{other}"));
}

// ---- Who may use the admin API, and what a program gets

TEST(LoopbackHeader, NamesThisMachineOnly) {
  for (const char* good : {"127.0.0.1", "127.0.0.1:80", "localhost", "localhost:1", "[::1]", "[::1]:99"}) {
    EXPECT_TRUE(is_loopback_header(good)) << good;
  }
  for (const char* bad : {"", "127.0.0.1.evil.example", "localhost.evil", "evil.example", "127.0.0.1:80x",
                          "::1", "localhost@evil:1", "127.0.0.2"}) {
    EXPECT_FALSE(is_loopback_header(bad)) << bad;
  }
}

TEST(ProgramVariables, AreMaskedSetAndQuoted) {
  ProgramEnvironment environment;
  environment.removed_prefixes = {"ACME_", "OTHER_"};
  environment.set = {{"ACME_KEY", "first"}, {"ACME_KEY", "it's"}, {"PLAIN", "http://127.0.0.1:1"}};
  std::array<const char*, 6> ours{"PATH=/bin",    "ACME_KEY=real", "ACME_OLD=real",
                                  "OTHER_X=real", "ACMEX=stays",   nullptr};
  char** list = const_cast<char**>(ours.data());
  EXPECT_THAT(apply(environment, list),
              ElementsAre("ACMEX=stays", "ACME_KEY=it's", "PATH=/bin", "PLAIN=http://127.0.0.1:1"));
  EXPECT_EQ(shell_lines(environment, list),
            "unset ACME_OLD\nunset OTHER_X\nexport ACME_KEY='it'\\''s'\nexport PLAIN=http://127.0.0.1:1\n");
}

}  // namespace
}  // namespace sandkey::emulator
