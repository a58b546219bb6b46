// What Daytona's emulator decides without any sandbox: keys, limits, states, lists, requests, snapshots,
// volumes, routing.
#include "sandkey/base/error.h"
#include "sandkey/emulator/known_secrets.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/data_plane.h"
#include "sandkey/providers/daytona/emulator/identity.h"
#include "sandkey/providers/daytona/emulator/knobs.h"
#include "sandkey/providers/daytona/emulator/listing.h"
#include "sandkey/providers/daytona/emulator/rate_limits.h"
#include "sandkey/providers/daytona/emulator/requests.h"
#include "sandkey/providers/daytona/emulator/signature.h"
#include "sandkey/providers/daytona/emulator/snapshots.h"
#include "sandkey/providers/daytona/emulator/state.h"
#include "sandkey/providers/daytona/emulator/times.h"
#include "sandkey/providers/daytona/emulator/volumes.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

const emu::Time kNow{std::chrono::sys_days(std::chrono::year(2026) / 11 / 28) + 2h};

json::object object(const char* text) {
  return json::parse(text).as_object();
}

std::pair<int, std::string> refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const ApiError& error) {
    return {error.status(), error.what()};
  }
  return {0, ""};
}

// ---- Answers and times

TEST(Errors, TellPathAndTime) {
  EXPECT_EQ(to_body(no_such_sandbox("box"), "/api/sandbox/box", kNow),
            R"({"path":"/api/sandbox/box","timestamp":"2026-11-28T02:00:00.000Z","statusCode":404,)"
            R"("error":"Not Found","message":"Sandbox with ID or name box not found"})");
  EXPECT_EQ(to_body(ApiError(400, "Invalid JSON in request body", std::string(kPlainBody)), "/api", kNow),
            R"({"statusCode":400,"error":"Bad Request","message":"Invalid JSON in request body"})");
}

TEST(Times, HaveThreeDigits) {
  EXPECT_EQ(to_iso(kNow), "2026-11-28T02:00:00.000Z");
  EXPECT_EQ(to_iso(kNow + 7ms + 999us), "2026-11-28T02:00:00.007Z");
}

// ---- Keys

TEST(Keys, HaveTheCloudsForm) {
  Engine engine;
  EXPECT_THAT(make_key(engine, "valid"), ::testing::MatchesRegex("dtn_[0-9a-f]{64}"));
  EXPECT_THAT(make_key(engine, kExpired), ::testing::MatchesRegex("dtn_[0-9a-f]{64}"));
  EXPECT_THAT(make_key(engine, kJwt),
              ::testing::MatchesRegex("[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+"));
  EXPECT_FALSE(make_key(engine, "malformed").starts_with("dtn_"));
  EXPECT_EQ(masked("dtn_0123456789abc"), "dtn********************abc");
}

// ---- Limits

TEST(RateLimits, LetNoMoreThroughThanTheWindowHolds) {
  RateLimits limits;
  EXPECT_FALSE(limits.count(Bucket::create, "a", 2, kNow).exceeded);
  const RateLimits::Count second = limits.count(Bucket::create, "a", 2, kNow + 10s);
  EXPECT_FALSE(second.exceeded);
  EXPECT_EQ(second.remaining, 0);
  const RateLimits::Count third = limits.count(Bucket::create, "a", 2, kNow + 20s);
  EXPECT_TRUE(third.exceeded);
  EXPECT_EQ(third.reset, 40s);
  EXPECT_FALSE(limits.count(Bucket::create, "b", 2, kNow + 20s).exceeded);
  EXPECT_FALSE(limits.count(Bucket::lifecycle, "a", 2, kNow + 20s).exceeded);
  EXPECT_FALSE(limits.count(Bucket::create, "a", 2, kNow + 60s).exceeded);
}

TEST(RateLimits, CanBeLookedAtWithoutBeingUsed) {
  RateLimits limits;
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(limits.count(Bucket::failed_auth, "a", 1, kNow, 0).exceeded);
  EXPECT_FALSE(limits.count(Bucket::failed_auth, "a", 1, kNow).exceeded);
  EXPECT_TRUE(limits.count(Bucket::failed_auth, "a", 1, kNow, 0).exceeded);
}

TEST(RateLimits, AreToldInHeadersOfTheirBucket) {
  const RateLimits::Count free{.limit = 9, .remaining = 4, .reset = 30s, .exceeded = false};
  EXPECT_THAT(headers_of(Bucket::authenticated, free),
              ElementsAre(Pair("X-RateLimit-Limit-authenticated", "9"),
                          Pair("X-RateLimit-Remaining-authenticated", "4"),
                          Pair("X-RateLimit-Reset-authenticated", "30")));
  const RateLimits::Count over{.limit = 9, .remaining = 0, .reset = 30s, .exceeded = true};
  EXPECT_THAT(headers_of(Bucket::create, over).back(), Pair("Retry-After-sandbox-create", "30"));
  EXPECT_THAT(headers_of(Bucket::create, over), ::testing::SizeIs(4));
  EXPECT_THAT(headers_of(Bucket::failed_auth, over), ::testing::Contains(Pair("Retry-After", "30")));
}

// ---- States

TEST(States, ShowTheWayToWhatIsWanted) {
  EXPECT_EQ(shown_state(State::unknown, State::started), "creating");
  EXPECT_EQ(shown_state(State::started, State::started), "started");
  EXPECT_EQ(shown_state(State::started, State::stopped), "stopping");
  EXPECT_EQ(shown_state(State::started, State::destroyed), "destroying");
  EXPECT_EQ(shown_state(State::stopped, State::started), "starting");
  EXPECT_EQ(shown_state(State::stopped, State::archived), "archiving");
  EXPECT_EQ(shown_state(State::stopped, State::destroyed), "destroying");
  EXPECT_EQ(shown_state(State::restoring, State::started), "restoring");
  EXPECT_EQ(shown_state(State::error, State::started), "error");
}

constexpr Condition kStarted{.state = State::started, .desired = State::started};
constexpr Condition kStopped{.state = State::stopped, .desired = State::stopped};
constexpr Condition kArchived{.state = State::archived, .desired = State::archived};
constexpr Condition kStopping{.state = State::started, .desired = State::stopped, .pending = true};
constexpr Condition kFailed{.state = State::error, .desired = State::started};
constexpr Condition kRecoverable{.state = State::error, .desired = State::started, .recoverable = true};
constexpr Condition kBuildFailed{.state = State::build_failed, .desired = State::started};

const std::pair<int, std::string> kConflict{409, "Sandbox state change in progress"};
const std::pair<int, std::string> kErrored{400, "Sandbox is in an errored state"};

TEST(States, AllowAStartOfWhatIsStopped) {
  EXPECT_TRUE(check_start(kStopped));
  EXPECT_TRUE(check_start(kArchived));
  EXPECT_FALSE(check_start(kStarted));
  EXPECT_EQ(refusal([] { (void)check_start(kStopping); }), kConflict);
  EXPECT_EQ(refusal([] { (void)check_start(kFailed); }), kErrored);
  const Condition resizing{.state = State::resizing, .desired = State::resizing};
  EXPECT_THAT(refusal([&] { (void)check_start(resizing); }), Pair(400, "Sandbox is not in valid state"));
}

TEST(States, AllowAStopOfWhatIsStarted) {
  check_stop(kStarted);
  EXPECT_THAT(refusal([] { check_stop(kStopped); }), Pair(400, "Sandbox is not in a stoppable state"));
  EXPECT_EQ(refusal([] { check_stop(kStopping); }), kConflict);
  EXPECT_EQ(refusal([] { check_stop(kBuildFailed); }), kErrored);
}

TEST(States, AllowAnArchiveOfWhatIsStopped) {
  check_archive(kStopped);
  EXPECT_THAT(refusal([] { check_archive(kStarted); }), Pair(400, "Sandbox is not stopped"));
  const Condition ephemeral{.state = State::stopped, .desired = State::stopped, .ephemeral = true};
  EXPECT_EQ(refusal([&] { check_archive(ephemeral); }).first, 400);
}

TEST(States, AllowARecoveryOfWhatCanBeRecovered) {
  check_recover(kRecoverable);
  for (const Condition& other : {kFailed, kStarted, kBuildFailed}) {
    EXPECT_THAT(refusal([&] { check_recover(other); }), Pair(400, "Sandbox is not in a recoverable state"));
  }
}

TEST(States, AllowRemovingWhateverIsSettled) {
  for (const Condition& each : {kStarted, kStopped, kArchived, kFailed, kBuildFailed}) check_remove(each);
  check_remove({.state = State::pending_build, .desired = State::started, .pending = true});
  EXPECT_EQ(refusal([] { check_remove(kStopping); }), kConflict);
}

TEST(States, AllowSizesToGrow) {
  const Sizes sizes{.cpu = 2, .memory = 4, .disk = 8};
  const auto resized = [&](const Condition& condition, const SizeChange& change) {
    const Sizes made = check_resize(condition, sizes, change);
    return std::vector{made.cpu, made.memory, made.disk};
  };
  const auto refused = [&](const Condition& condition, const SizeChange& change) {
    return refusal([&] { (void)check_resize(condition, sizes, change); }).first;
  };
  EXPECT_THAT(resized(kStarted, {.cpu = 4}), ElementsAre(4, 4, 8));
  EXPECT_THAT(resized(kStopped, {.cpu = 1, .memory = 1, .disk = 10}), ElementsAre(1, 1, 10));
  EXPECT_EQ(refused(kStarted, {.cpu = 1}), 400);
  EXPECT_EQ(refused(kStarted, {.disk = 10}), 400);
  EXPECT_EQ(refused(kStopped, {.disk = 4}), 400);
  EXPECT_EQ(refused(kStopped, {.cpu = 2}), 400);
  EXPECT_EQ(refused(kArchived, {.cpu = 3}), 400);
  EXPECT_EQ(refused(kStopping, {.cpu = 3}), 409);
}

// ---- Lists

ListItemPtr item(const std::string& id, const std::function<void(ListItem&)>& change = {}) {
  ListItem made{.id = id, .organization = "valid", .name = "Name-" + id, .state = "started"};
  made.created = kNow;
  made.last_activity = kNow;
  made.last_event = kNow;
  if (change) change(made);
  return std::make_shared<const ListItem>(std::move(made));
}

std::vector<std::string> ids(const std::vector<ListItemPtr>& items) {
  std::vector<std::string> found;
  for (const ListItemPtr& each : items) found.push_back(each->id);
  return found;
}

bool is_listed(const ListItemPtr& item, const char* query) {
  return matches(*item, parse_list_query(query));
}

TEST(ListIndex, LagsBehind) {
  ListIndex lists(1s);
  lists.put(item("a"), kNow);
  EXPECT_THAT(lists.seen("valid", kNow), IsEmpty());
  EXPECT_THAT(ids(lists.seen("valid", kNow + 1s)), ElementsAre("a"));
  EXPECT_THAT(lists.seen("second", kNow + 1s), IsEmpty());
  lists.put(item("a", [](ListItem& made) { made.state = "stopped"; }), kNow + 5s);
  EXPECT_EQ(lists.seen("valid", kNow + 5s).front()->state, "started");
  EXPECT_EQ(lists.seen("valid", kNow + 6s).front()->state, "stopped");
  lists.remove("a", kNow + 10s);
  EXPECT_THAT(ids(lists.seen("valid", kNow + 10s)), ElementsAre("a"));
  EXPECT_THAT(lists.seen("valid", kNow + 11s), IsEmpty());
}

TEST(ListIndex, ForgetsWhatIsToldNoMore) {
  ListIndex lists(1s);
  for (int i = 0; i < 5; ++i) {
    lists.put(item("a", [&](ListItem& made) { made.state = std::to_string(i); }), kNow + i * 100ms);
  }
  EXPECT_EQ(lists.seen("valid", kNow + 1s).front()->state, "0");
  EXPECT_EQ(lists.seen("valid", kNow + 1250ms).front()->state, "2");
  EXPECT_EQ(lists.seen("valid", kNow + 2s).front()->state, "4");
}

TEST(ListIndex, CanBeUpToDate) {
  ListIndex lists(1s);
  lists.set_delay(0s);
  lists.put(item("a"), kNow);
  EXPECT_THAT(ids(lists.seen("valid", kNow)), ElementsAre("a"));
}

TEST(Lists, AreFilteredByWhatASandboxIs) {
  const ListItemPtr made = item("abc-1", [](ListItem& each) {
    each.name = "Box";
    each.labels = {{"team", "x"}, {"a", "b"}};
    each.snapshot = "daytona-small";
    each.target = "us";
    each.sizes = {.cpu = 2, .memory = 4, .disk = 8};
  });
  for (const char* query :
       {"", "id=ABC", "name=b", "states=started", "states=stopped&states=started", "states[]=started",
        "states%5B0%5D=started", "labels=%7B%22a%22%3A%22b%22%7D", "snapshots=daytona-small", "regionIds=us",
        "sandboxClasses=container", "minCpu=2&maxCpu=2", "minMemoryGiB=4", "maxDiskGiB=8", "isPublic=false",
        "createdAtAfter=2026-11-28T02:00:00Z", "lastEventBefore=2026-11-28T02:00:00.000Z"}) {
    EXPECT_TRUE(is_listed(made, query)) << query;
  }
  for (const char* query : {"id=bc", "name=ox", "states=stopped", "labels=%7B%22a%22%3A%22c%22%7D",
                            "snapshots=daytona-large", "regionIds=eu", "sandboxClasses=linux-vm", "minCpu=3",
                            "maxMemoryGiB=3", "minDiskGiB=9", "isPublic=true", "isRecoverable=true",
                            "createdAtBefore=2026-11-28T01:59:59Z", "lastEventAfter=2026-11-28T02:00:01Z"}) {
    EXPECT_FALSE(is_listed(made, query)) << query;
  }
}

TEST(Lists, LeaveOutWhatFailedAndGoes) {
  const ListItemPtr made = item("a", [](ListItem& each) { each.errored_deleted = true; });
  EXPECT_FALSE(is_listed(made, ""));
  EXPECT_TRUE(is_listed(made, "includeErroredDeleted=true"));
}

TEST(Lists, RefuseWhatIsNotOfTheirSchema) {
  const auto refused = [](const char* query) { return refusal([&] { (void)parse_list_query(query); }); };
  EXPECT_THAT(refused("labels=%7B"), Pair(400, "Invalid labels JSON format"));
  EXPECT_THAT(refused("labels=%5B%5D"), Pair(400, "Invalid labels JSON format"));
  for (const char* query : {"states=destroyed", "states=asleep", "minCpu=x", "sort=state", "order=up",
                            "createdAtAfter=yesterday"}) {
    EXPECT_EQ(refused(query).first, 400) << query;
  }
}

TEST(Lists, ComeInPagesWithoutLossOrRepeat) {
  std::vector<ListItemPtr> items;
  for (int i = 0; i < 7; ++i) {
    // Some are equal in what they are sorted by.
    items.push_back(item("id-" + std::to_string(i), [&](ListItem& each) { each.sizes.cpu = i / 3; }));
  }
  for (const char* text : {"sort=cpu&order=asc", "sort=cpu", "sort=name&order=asc", "sort=createdAt", ""}) {
    const ListQuery query = parse_list_query(text);
    const std::vector<ListItemPtr> sorted = select(items, query);
    std::vector<ListItemPtr> paged;
    std::optional<Cursor> after;
    for (int page = 0; page < 4; ++page) {
      const Page found = cut_page(sorted, query, after, 2);
      paged.insert(paged.end(), found.items.begin(), found.items.end());
      EXPECT_EQ(found.next.has_value(), page < 3);
      if (found.next) after = read_cursor(*found.next);
    }
    EXPECT_EQ(ids(paged), ids(sorted)) << text;
    EXPECT_EQ(paged.size(), items.size()) << text;
  }
}

TEST(Lists, AreSortedBothWays) {
  const std::vector<ListItemPtr> items{item("a", [](ListItem& each) { each.last_activity = kNow + 1s; }),
                                       item("b", [](ListItem& each) { each.last_activity = kNow + 3s; }),
                                       item("c", [](ListItem& each) { each.last_activity = kNow + 2s; })};
  EXPECT_THAT(ids(select(items, parse_list_query(""))), ElementsAre("b", "c", "a"));
  EXPECT_THAT(ids(select(items, parse_list_query("order=asc"))), ElementsAre("a", "c", "b"));
  EXPECT_THAT(ids(select(items, parse_list_query("sort=name"))), ElementsAre("c", "b", "a"));
}

TEST(Cursors, AreReadBack) {
  const Cursor cursor{.number = -5, .text = "ä\"", .id = "x"};
  EXPECT_EQ(read_cursor(write_cursor(cursor)), cursor);
  for (const char* bad : {"!", "", "e30=", "W10=", "bm9uZQ=="}) {
    EXPECT_THAT(refusal([&] { (void)read_cursor(bad); }), Pair(400, "Invalid cursor")) << bad;
  }
}

// ---- Requests

TEST(Bodies, MayBeEmptyAndMustBeJson) {
  EXPECT_TRUE(parse_body("").empty());
  EXPECT_TRUE(parse_body(" \n").empty());
  EXPECT_EQ(parse_body(R"({"a":1})").size(), 1U);
  EXPECT_THAT(refusal([] { (void)parse_body("{"); }), Pair(400, "Invalid JSON in request body"));
  EXPECT_EQ(refusal([] { (void)parse_body("[]"); }).first, 400);
}

TEST(Create, HasDefaults) {
  const CreateRequest request = parse_create({});
  EXPECT_EQ(request.user, "daytona");
  EXPECT_EQ(request.auto_stop, 15);
  EXPECT_EQ(request.auto_archive, 10080);
  EXPECT_EQ(request.auto_delete, -1);
  EXPECT_EQ(request.ttl, 0);
  EXPECT_FALSE(request.is_public);
  EXPECT_FALSE(request.snapshot);
}

TEST(Create, CapsAndCutsIntervals) {
  const CreateRequest request =
      parse_create(object(R"({"autoStopInterval":0,"autoArchiveInterval":0,"autoDeleteInterval":-7})"));
  EXPECT_EQ(request.auto_stop, 0);
  EXPECT_EQ(request.auto_archive, kMaxAutoArchive);
  EXPECT_EQ(request.auto_delete, kNever);
  EXPECT_EQ(parse_create(object(R"({"autoArchiveInterval":99999})")).auto_archive, kMaxAutoArchive);
}

TEST(Create, NamesAllThatIsWrong) {
  EXPECT_THAT(refusal([] { (void)parse_create(object(R"({"name":1,"labels":[],"public":"yes"})")); }),
              Pair(400, "name must be a string, labels must be an object, public must be a boolean value"));
}

TEST(Create, RefusesWhatDoesNotFitTogether) {
  const auto refused = [](const char* text) { return refusal([&] { (void)parse_create(object(text)); }); };
  EXPECT_THAT(refused(R"({"cpu":2})"), Pair(400, HasSubstr("when using a snapshot")));
  EXPECT_THAT(refused(R"({"snapshot":"a","buildInfo":{"dockerfileContent":"FROM x\n"}})"),
              Pair(400, HasSubstr("both a snapshot and a build")));
  for (const char* text :
       {R"({"buildInfo":{}})", R"({"autoStopInterval":-1})", R"({"ttlMinutes":-1})",
        R"({"autoDeleteInterval":9223372036854775807})", R"({"name":"<b>"})", R"({"name":"https://x"})",
        R"({"labels":{"a":1}})", R"({"buildInfo":{"dockerfileContent":"FROM x"},"cpu":0})",
        R"({"volumes":[{"volumeId":"v","mountPath":"data"}]})",
        R"({"volumes":[{"volumeId":"v","mountPath":"/etc/x"}]})",
        R"({"volumes":[{"volumeId":"v","mountPath":"/"}]})",
        R"({"volumes":[{"volumeId":"v","mountPath":"/data/../x"}]})",
        R"({"volumes":[{"volumeId":"v","mountPath":"/data","subpath":"/x"}]})",
        R"({"volumes":[{"mountPath":"/data"}]})"}) {
    EXPECT_EQ(refused(text).first, 400) << text;
  }
  EXPECT_EQ(refused(R"({"volumes":[{"volumeId":"v","mountPath":"/data","subpath":"x"}]})").first, 0);
  EXPECT_EQ(refused(R"({"unknown":1,"cpu":null})").first, 0);
}

TEST(Create, TakesTheSizesOfABuild) {
  const Sizes sizes =
      parse_create(object(R"({"buildInfo":{"dockerfileContent":"FROM x\n"},"cpu":2,"memory":3})")).sizes;
  EXPECT_EQ(sizes.cpu, 2);
  EXPECT_EQ(sizes.memory, 3);
  EXPECT_EQ(sizes.disk, 3);
}

TEST(Paths, AreReadAsNumbers) {
  EXPECT_EQ(parse_auto_stop("0"), 0);
  EXPECT_EQ(parse_auto_archive("0"), kMaxAutoArchive);
  EXPECT_EQ(parse_auto_delete("-5"), kNever);
  EXPECT_EQ(parse_port("65535"), 65535);
  EXPECT_EQ(refusal([] { (void)parse_auto_stop("-1"); }).first, 400);
  EXPECT_EQ(refusal([] { (void)parse_auto_delete("soon"); }).first, 400);
  EXPECT_EQ(refusal([] { (void)parse_ttl("9223372036854775807"); }).first, 400);
  for (const char* bad : {"0", "65536", "x", ""}) {
    EXPECT_EQ(refusal([&] { (void)parse_port(bad); }).first, 400) << bad;
  }
}

// ---- Settings

TEST(Knobs, AreChangedByName) {
  const Knobs made = changed({}, object(R"({"list_delay_seconds":0.5,"maintenance":true})"));
  EXPECT_EQ(made.list_delay, 500ms);
  EXPECT_TRUE(made.maintenance);
  EXPECT_EQ(made.change_time, Knobs().change_time);
  EXPECT_EQ(json::serialize(to_json(changed(Knobs(), to_json(made)))), json::serialize(to_json(made)));
  for (const char* bad : {R"({"list_delay_seconds":-1})", R"({"create_seconds":"1"})", R"({"speed":1})",
                          R"({"failed_auths_per_minute":-1})", R"({"maintenance":1})"}) {
    EXPECT_THROW((void)changed({}, object(bad)), Error) << bad;
  }
}

// ---- Snapshots and volumes

class Catalog : public ::testing::Test {
 protected:
  Engine engine_;
  Snapshots snapshots_{engine_, kNow};
  Volumes volumes_{engine_};
};

TEST_F(Catalog, HasSnapshotsOfEverybodyAndOfOne) {
  ASSERT_NE(snapshots_.find(kDefaultSnapshot, "valid"), nullptr);
  const Snapshot& made =
      snapshots_.create(object(R"({"name":"own","imageName":"debian:12","cpu":2})"), "valid", kNow);
  EXPECT_EQ(&snapshots_.get("own", "valid"), &made);
  EXPECT_EQ(&snapshots_.get(made.id, "valid"), &made);
  EXPECT_EQ(snapshots_.find("own", "second"), nullptr);
  EXPECT_EQ(made.sizes.cpu, 2);
  EXPECT_FALSE(to_json(made, "o").at("general").as_bool());
  EXPECT_EQ(to_json(made, "o").at("mem").as_int64(), 1);
  snapshots_.remove(made.id, "valid");
  EXPECT_EQ(refusal([&] { (void)snapshots_.get("own", "valid"); }).first, 404);
}

TEST_F(Catalog, RefusesSnapshotsThatCannotBe) {
  const auto refused = [&](const char* text) {
    return refusal([&] { (void)snapshots_.create(object(text), "valid", kNow); }).first;
  };
  EXPECT_EQ(refused(R"({"name":"daytona-small","imageName":"debian:12"})"), 409);
  for (const char* text :
       {R"({"imageName":"debian:12"})", R"({"name":"x"})", R"({"name":"x","imageName":"debian"})",
        R"({"name":"x","imageName":"debian:latest"})", R"({"name":"x","imageName":"debian:12","cpu":0})",
        R"({"name":"x","buildInfo":{"dockerfileContent":"FROM x"},"entrypoint":["a"]})"}) {
    EXPECT_EQ(refused(text), 400) << text;
  }
  EXPECT_EQ(refused(R"({"name":"y","imageName":"host:5000/debian@sha256:0"})"), 0);
  const std::string general = snapshots_.get(kDefaultSnapshot, "valid").id;
  EXPECT_EQ(refusal([&] { snapshots_.remove(general, "valid"); }).first, 403);
}

TEST_F(Catalog, FailsBuildsThatAreToldTo) {
  EXPECT_EQ(
      snapshots_
          .create(object(R"({"name":"a","buildInfo":{"dockerfileContent":"FROM emulator-build-fails"}})"),
                  "valid", kNow)
          .state,
      "build_failed");
  EXPECT_EQ(
      snapshots_.create(object(R"({"name":"b","imageName":"emulator-build-fails:1"})"), "valid", kNow).state,
      "error");
}

TEST_F(Catalog, FindsVolumesByIdAndName) {
  const Volume& made = volumes_.create("data", "valid", kNow);
  EXPECT_EQ(volumes_.get(made.id, "valid").name, "data");
  EXPECT_EQ(volumes_.get_by_name("data", "valid").id, made.id);
  EXPECT_EQ(refusal([&] { (void)volumes_.get(made.id, "second"); }).first, 404);
  EXPECT_EQ(refusal([&] { (void)volumes_.create("data", "valid", kNow); }).first, 400);
  const json::array mounts{object(R"({"volumeId":"data","mountPath":"/data"})")};
  const json::array resolved = volumes_.resolve(mounts, "valid", kNow);
  EXPECT_EQ(resolved.at(0).at("volumeId").as_string(), made.id);
  EXPECT_EQ(refusal([&] { (void)volumes_.resolve(mounts, "second", kNow); }).first, 404);
}

// ---- The way in

TEST(Destinations, AreFoundByPathAndByHost) {
  const auto toolbox = find_destination("127.0.0.1:80", "/toolbox/abc/files/info?path=%2Fa");
  ASSERT_TRUE(toolbox);
  EXPECT_EQ(toolbox->sandbox, "abc");
  EXPECT_EQ(toolbox->port, 0);
  EXPECT_EQ(toolbox->path, "/files/info");
  EXPECT_EQ(find_destination("x", "/toolbox/abc")->path, "/");
  const auto port = find_destination("3000-ab-cd.daytona.localhost:80", "/x%20y?a=b");
  ASSERT_TRUE(port);
  EXPECT_EQ(port->sandbox, "ab-cd");
  EXPECT_EQ(port->port, 3000);
  EXPECT_EQ(port->path, "/x%20y");
  EXPECT_FALSE(port->is_signed);
  EXPECT_TRUE(find_destination("3000-0123456789abcdef.daytona.localhost", "/")->is_signed);
  EXPECT_FALSE(find_destination("127.0.0.1:80", "/api/sandbox"));
  EXPECT_FALSE(find_destination("0-abc.daytona.localhost", "/api/sandbox"));
  EXPECT_FALSE(find_destination("70000-abc.daytona.localhost", "/api/sandbox"));
}

TEST(Tokens, AreTakenOffAUrl) {
  EXPECT_EQ(without_token("/a"), "/a");
  EXPECT_EQ(without_token("/a?b=%20&c"), "/a?b=%20&c");
  EXPECT_EQ(without_token("/a?DAYTONA_SANDBOX_AUTH_KEY=x"), "/a");
  EXPECT_EQ(without_token("/a?b=1&DAYTONA_SANDBOX_AUTH_KEY=x&c=2"), "/a?b=1&c=2");
}

// As `printf 'v1:files:GET:/a b:0' | openssl dgst -sha256 -hmac key -binary | base64` has it.
TEST(Signatures, AreThoseOfTheVendor) {
  EXPECT_EQ(file_signature("key", "GET", "/a b", "0"), "v1_Fc9mxojmwoG44jAr3VMPWPe7FcX-_H0ypD50nGJ-1F8");
}

}  // namespace
}  // namespace sandkey::daytona::emulator
