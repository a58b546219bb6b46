// What Runloop's emulator decides without any sandbox: keys, requests, pages, outputs, hosts of tunnels.
#include "sandkey/base/error.h"
#include "sandkey/providers/runloop/emulator/api_error.h"
#include "sandkey/providers/runloop/emulator/api_key.h"
#include "sandkey/providers/runloop/emulator/executions.h"
#include "sandkey/providers/runloop/emulator/file_routes.h"
#include "sandkey/providers/runloop/emulator/hold.h"
#include "sandkey/providers/runloop/emulator/images.h"
#include "sandkey/providers/runloop/emulator/listing.h"
#include "sandkey/providers/runloop/emulator/once.h"
#include "sandkey/providers/runloop/emulator/output.h"
#include "sandkey/providers/runloop/emulator/requests.h"
#include "sandkey/providers/runloop/emulator/tunnels.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

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

// ---- Keys

class Keys : public ::testing::Test {
 protected:
  [[nodiscard]] const emu::Account& named(std::string_view name) const { return accounts_.named(name); }
  [[nodiscard]] int answer(const std::string& authorization) const {
    return refusal([&] { (void)authenticate(accounts_, authorization); }).first;
  }
  [[nodiscard]] int access(std::string_view account, Resource resource, Access access) const {
    return refusal([&] { require_access(named(account), resource, access); }).first;
  }

  Engine engine_;
  emu::KnownSecrets secrets_;
  emu::Accounts accounts_{other_accounts(), [this](std::string_view name) { return make_key(engine_, name); },
                          secrets_};
};

TEST_F(Keys, HaveTheCloudsForm) {
  EXPECT_THAT(named("valid").key, ::testing::MatchesRegex("ak_[A-Za-z0-9]{32}"));
  EXPECT_THAT(named("revoked").key, ::testing::MatchesRegex("ak_[A-Za-z0-9]{32}"));
  for (const char* restricted : {"restricted", "read_only", "account_only"}) {
    EXPECT_THAT(named(restricted).key, ::testing::MatchesRegex("rk_[A-Za-z0-9]{32}")) << restricted;
  }
  EXPECT_THAT(named("malformed").key, ::testing::MatchesRegex("[A-Za-z0-9]{32}"));
}

TEST_F(Keys, AreRefusedInTheSameWordsHoweverBadTheyAre) {
  for (const char* account : {"unknown", "revoked", "malformed"}) {
    EXPECT_EQ(answer("Bearer " + named(account).key), 401) << account;
  }
  EXPECT_EQ(answer(""), 401);
  EXPECT_EQ(answer("Bearer "), 401);
  EXPECT_EQ(answer("Bearer ak_invalid_token_for_verify"), 401);
  EXPECT_EQ(answer(named("valid").key), 401);  // no scheme
  for (const char* account : {"valid", "second", "over_quota", "blocked", "trial_over", "at_limit",
                              "restricted", "read_only", "account_only"}) {
    EXPECT_EQ(answer("Bearer " + named(account).key), 0) << account;
  }
}

TEST_F(Keys, GoAsFarAsTheirScopes) {
  EXPECT_EQ(access("valid", Resource::account, Access::write), 0);
  EXPECT_EQ(access("restricted", Resource::devboxes, Access::write), 0);
  EXPECT_EQ(access("restricted", Resource::account, Access::read), 403);
  EXPECT_EQ(access("read_only", Resource::devboxes, Access::read), 0);
  EXPECT_EQ(access("read_only", Resource::devboxes, Access::write), 403);
  EXPECT_EQ(access("account_only", Resource::account, Access::read), 0);
  EXPECT_EQ(access("account_only", Resource::devboxes, Access::read), 403);
}

TEST_F(Keys, TellTheStatusOfTheirAccount) {
  const auto status = [&](std::string_view account) {
    return std::string(find_string(to_account_view(named(account)), "account_status").value_or(""));
  };
  EXPECT_EQ(status("valid"), "ACCOUNT_STATUS_ENABLED");
  EXPECT_EQ(status("blocked"), "ACCOUNT_STATUS_DISABLED_BY_ADMIN");
  EXPECT_EQ(status("over_quota"), "ACCOUNT_STATUS_DISABLED_QUOTA_REACHED");
  EXPECT_EQ(status("trial_over"), "ACCOUNT_STATUS_TRIAL_CANCELLED");
  for (const char* disabled : {"blocked", "over_quota", "trial_over"}) {
    EXPECT_EQ(refusal([&] { require_enabled(named(disabled)); }).first, 403) << disabled;
  }
  EXPECT_EQ(refusal([&] { require_enabled(named("read_only")); }).first, 0);
  EXPECT_EQ(devbox_limit(named("at_limit")), 0U);
}

// ---- Refusals

TEST(Refusals, SayWhetherToAskAgain) {
  EXPECT_EQ(to_body(still_waiting("later")),
            R"({"error":"wait_timeout","message":"later","retryable":true})");
  EXPECT_EQ(to_body(no_such("Devbox", "dbx_1")),
            R"({"error":"not_found","message":"Devbox 'dbx_1' was not found"})");
  EXPECT_EQ(no_such("Devbox", "dbx_1").status(), 400);
  EXPECT_EQ(retryable(ApiError(503, "x", "tunnel_unavailable")), false);
  EXPECT_EQ(retryable(ApiError(503, "x", "tunnel_service_not_ready")), true);
  EXPECT_EQ(retryable(ApiError(500, "x", "internal")), std::nullopt);
}

// ---- Requests

TEST(Requests, MayHaveNoBody) {
  EXPECT_TRUE(parse_body("").empty());
  EXPECT_TRUE(parse_body(" \r\n").empty());
  EXPECT_TRUE(parse_body("null").empty());
  EXPECT_THAT(refusal([] { (void)parse_body("{"); }), Pair(400, HasSubstr("not valid JSON")));
  EXPECT_EQ(refusal([] { (void)parse_body("[]"); }).first, 400);
}

TEST(Requests, TakeNullForNothingAndPassUnknownFieldsOver) {
  const CreateRequest request = parse_create(object(
      R"({"name":null,"metadata":null,"launch_parameters":null,"tunnel":null,"mounts":null,"prebuilt":"x"})"));
  EXPECT_EQ(request.name, "");
  EXPECT_FALSE(request.tunnel);
  EXPECT_TRUE(request.launch.empty());
}

TEST(Requests, MakeADevboxOfOneThing) {
  EXPECT_EQ(parse_create(object(R"({"blueprint_name":"b"})")).blueprint_name, "b");
  for (const char* two :
       {R"({"blueprint_id":"a","blueprint_name":"b"})", R"({"blueprint_id":"a","snapshot_id":"b"})",
        R"({"blueprint_name":"a","snapshot_id":"b"})"}) {
    EXPECT_EQ(refusal([&] { (void)parse_create(object(two)); }).first, 400) << two;
  }
}

TEST(Requests, TakeFilesInEitherForm) {
  const CreateRequest request = parse_create(
      object(R"({"file_mounts":{"/a":"1"},"mounts":[{"type":"file_mount","target":"/b","content":"2"}]})"));
  EXPECT_THAT(request.files, ElementsAre(Pair("/a", "1"), Pair("/b", "2")));
  const char* const other = R"({"mounts":[{"type":"object_mount","object_id":"obj_1","object_path":"/x"}]})";
  EXPECT_EQ(refusal([&] { (void)parse_create(object(other)); }).first, 501);
}

TEST(Requests, AreRefusedRatherThanHalfDone) {
  for (const char* key : {"code_mounts", "gateways", "mcp"}) {
    const json::object none{{key, json::array()}};
    EXPECT_EQ(refusal([&] { (void)parse_create(none); }).first, 0) << key;
    const json::object one{{key, json::array{json::object()}}};
    EXPECT_EQ(refusal([&] { (void)parse_create(one); }).first, 501) << key;
  }
}

TEST(Launching, HasSizesAndTheirLimits) {
  const LaunchParameters large = parse_launch(object(R"({"resource_size_request":"LARGE"})"), {});
  EXPECT_EQ(large.cpus, 2);
  EXPECT_EQ(large.memory_gib, 8);
  EXPECT_EQ(large.disk_gib, 16);
  const LaunchParameters custom = parse_launch(
      object(
          R"({"resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":0.5,"custom_gb_memory":4,"custom_disk_size":6})"),
      {});
  EXPECT_EQ(custom.cpus, 0.5);
  EXPECT_EQ(custom.memory_gib, 4);
  EXPECT_EQ(custom.disk_gib, 6);
  for (const char* bad : {
           R"({"resource_size_request":"HUGE"})",
           R"({"resource_size_request":"SMALL","custom_cpu_cores":2})",
           R"({"custom_gb_memory":2})",
           R"({"resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":3})",
           R"({"resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":18})",
           R"({"resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":2,"custom_gb_memory":3})",
           R"({"resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":2,"custom_gb_memory":2})",
           R"({"resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":1,"custom_gb_memory":10})",
           R"({"resource_size_request":"CUSTOM_SIZE","custom_disk_size":66})",
       }) {
    EXPECT_EQ(refusal([&] { (void)parse_launch(object(bad), {}); }).first, 400) << bad;
  }
}

TEST(Launching, HasAnEnd) {
  const LaunchParameters usual = parse_launch({}, {});
  EXPECT_EQ(usual.keep_alive, 1h);
  EXPECT_FALSE(usual.after_idle);
  const LaunchParameters idle =
      parse_launch(object(R"({"lifecycle":{"after_idle":{"idle_time_seconds":60,"on_idle":"suspend"},
                                           "resume_triggers":{"http":true}}})"),
                   {});
  ASSERT_TRUE(idle.after_idle);
  EXPECT_EQ(idle.after_idle->time, 60s);
  EXPECT_EQ(idle.after_idle->action, OnIdle::suspend);
  EXPECT_TRUE(idle.wakes_on_http);
  for (const char* bad : {
           R"({"keep_alive_time_seconds":172801})",
           R"({"keep_alive_time_seconds":"60"})",
           R"({"after_idle":{"idle_time_seconds":60}})",
           R"({"after_idle":{"idle_time_seconds":60,"on_idle":"sleep"}})",
           R"({"after_idle":{"idle_time_seconds":60,"on_idle":"suspend"},
               "lifecycle":{"after_idle":{"idle_time_seconds":61,"on_idle":"suspend"}}})",
           R"({"lifecycle":{"lifecycle_hooks":{"suspend_deadline_ms":60001}}})",
       }) {
    EXPECT_EQ(refusal([&] { (void)parse_launch(object(bad), {}); }).first, 400) << bad;
  }
}

TEST(Launching, InheritsFromItsBlueprint) {
  const json::object inherited = object(
      R"({"resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":4,"custom_gb_memory":8,"launch_commands":["a"]})");
  const LaunchParameters made =
      parse_launch(object(R"({"resource_size_request":"SMALL","keep_alive_time_seconds":5})"), inherited);
  EXPECT_EQ(made.cpus, 1);
  EXPECT_EQ(made.keep_alive, 5s);
  EXPECT_THAT(made.launch_commands, ElementsAre("a"));
  // What belonged to the size it had is not told any more.
  EXPECT_EQ(made.shown, object(R"({"launch_commands":["a"],"resource_size_request":"SMALL",
                                   "keep_alive_time_seconds":5})"));
}

TEST(Launching, HasUsersThatASandboxCanHave) {
  const auto user = [](const char* parameters) { return parse_launch(object(parameters), {}).user; };
  EXPECT_EQ(user(R"({})"), "user");
  EXPECT_EQ(user(R"({"user_parameters":{"username":"dev","uid":1234}})"), "dev");
  EXPECT_EQ(refusal([&] { (void)user(R"({"user_parameters":{"username":"root","uid":0}})"); }).first, 400);
  EXPECT_EQ(refusal([&] { (void)user(R"({"user_parameters":{"username":"../x","uid":1}})"); }).first, 400);
  EXPECT_EQ(refusal([&] { (void)user(R"({"user_parameters":{"username":"dev"}})"); }).first, 400);
}

TEST(Waiting, IsForSoLongAtMost) {
  const std::set<std::string_view> known{"running", "shutdown"};
  const auto wait = [&](const char* text) { return parse_wait(object(text), known, 30s); };
  EXPECT_EQ(wait(R"({"statuses":["running"]})").timeout, 30s);
  EXPECT_EQ(wait(R"({"statuses":["running"],"timeout_seconds":0.25})").timeout, 250ms);
  EXPECT_EQ(wait(R"({"statuses":["running"],"timeout_seconds":1e300})").timeout, 30s);
  EXPECT_EQ(refusal([&] { (void)wait(R"({"statuses":[]})"); }).first, 400);
  EXPECT_EQ(refusal([&] { (void)wait(R"({"statuses":["ready"]})"); }).first, 400);
  EXPECT_EQ(refusal([&] { (void)wait(R"({"statuses":["running"],"timeout_seconds":-1})"); }).first, 400);
}

TEST(Waiting, EndsWhenTheEmulatorsClockIsMoved) {
  Engine engine;
  const auto executor = engine.executor(0);
  emu::Clock clock(engine, executor, emu::Clock::Kind::manual);
  const auto event = std::make_shared<AsyncEvent>(executor);
  const auto until_over = [&]() -> asio::awaitable<bool> {
    Hold hold(engine, clock, event, 1h);
    const bool over_before = hold.over();
    co_await clock.advance(1h);
    while (!hold.over()) co_await hold.wait();
    co_return over_before;
  };
  EXPECT_FALSE(engine.wait(until_over()));
}

TEST(Counts, AreTextsOfNumbers) {
  EXPECT_EQ(parse_count(std::nullopt, "last_n", 100), 100U);
  EXPECT_EQ(parse_count("", "last_n", 100), 100U);
  EXPECT_EQ(parse_count("3", "last_n", 100), 3U);
  for (const char* bad : {"-1", "3x", " 3", "99999999999999999999"}) {
    EXPECT_EQ(refusal([&] { (void)parse_count(bad, "last_n", 100); }).first, 400) << bad;
  }
}

TEST(Inputs, AreATextOrASignal) {
  EXPECT_EQ(parse_input(object(R"({"text":"a\n"})")).text, "a\n");
  EXPECT_EQ(parse_input(object(R"({"signal":"EOF"})")).signal, Signal::eof);
  EXPECT_EQ(parse_input(object(R"({"signal":"INTERRUPT"})")).signal, Signal::interrupt);
  EXPECT_EQ(refusal([] { (void)parse_input({}); }).first, 400);
  EXPECT_EQ(refusal([] { (void)parse_input(object(R"({"signal":"KILL"})")); }).first, 400);
}

// ---- Lists

TEST(Filters, HaveAValueOrSeveral) {
  const MetadataFilter filter =
      parse_metadata_filter("limit=1&metadata%5Bteam%5D=a%20b&metadata[env][in]=x,y");
  EXPECT_THAT(filter, ElementsAre(Pair("env", ElementsAre("x", "y")), Pair("team", ElementsAre("a b"))));
  EXPECT_TRUE(matches(filter, {{"team", "a b"}, {"env", "y"}, {"more", ""}}));
  EXPECT_FALSE(matches(filter, {{"team", "a b"}, {"env", "z"}}));
  EXPECT_FALSE(matches(filter, {{"env", "x"}}));
  EXPECT_TRUE(parse_metadata_filter("metadata=x&metadata[&foo[bar]=1").empty());
  EXPECT_EQ(refusal([] { (void)parse_metadata_filter("metadata[%zz]=1"); }).first, 400);
}

TEST(Pages, GoOnBehindTheLastItem) {
  std::vector<Item> items;
  for (const char* id : {"a", "b", "c"}) {
    items.push_back({.id = id, .show = [id] { return json::object{{"id", id}}; }});
  }
  PageQuery query{.limit = 2, .after = {}, .total = true};
  EXPECT_EQ(json::serialize(make_page(query, "devboxes", items)),
            R"({"devboxes":[{"id":"a"},{"id":"b"}],"has_more":true,"total_count":3})");
  query = {.limit = 2, .after = "b", .total = false};
  EXPECT_EQ(json::serialize(make_page(query, "devboxes", items)),
            R"({"devboxes":[{"id":"c"}],"has_more":false})");
  query.after = "c";
  EXPECT_EQ(json::serialize(make_page(query, "devboxes", items)), R"({"devboxes":[],"has_more":false})");
  query.after = "d";
  EXPECT_EQ(refusal([&] { (void)make_page(query, "devboxes", items); }).first, 400);
}

TEST(Repeats, AreKnownByTheirRequestId) {
  Once once;
  EXPECT_EQ(once.made_for("valid", "r1"), "");
  once.remember("valid", "r1", "dbx_1");
  EXPECT_EQ(once.made_for("valid", "r1"), "dbx_1");
  EXPECT_EQ(once.made_for("second", "r1"), "");
  once.remember("valid", "", "dbx_2");
  EXPECT_EQ(once.made_for("valid", ""), "");
  for (std::size_t i = 0; i < Once::kMost; ++i) once.remember("valid", "more" + std::to_string(i), "x");
  EXPECT_EQ(once.made_for("valid", "r1"), "");
}

// ---- Outputs

TEST(Tails, AreTheLastLines) {
  const auto tail = [](std::string_view text, std::size_t lines) {
    const Tail found = last_lines(text, lines);
    return std::string(found.text) + (found.truncated ? "|more" : "");
  };
  EXPECT_EQ(tail("1\n2\n3\n4\n5\n", 3), "3\n4\n5\n|more");
  EXPECT_EQ(tail("1\n2\n3", 2), "2\n3|more");
  EXPECT_EQ(tail("1\n2\n", 2), "1\n2\n");
  EXPECT_EQ(tail("1\n2\n", 100), "1\n2\n");
  EXPECT_EQ(tail("\n\n\n", 2), "\n\n|more");
  EXPECT_EQ(tail("\n", 1), "\n");
  EXPECT_EQ(tail("", 3), "");
  EXPECT_EQ(tail("x", 0), "|more");
}

TEST(Chunks, GoOnWhereTheOneBeforeEnded) {
  const std::string stream = std::string(40'000, 'a') + "\xC3\xA9" + "end";
  std::string joined;
  std::uint64_t from = 0;
  while (const auto chunk = next_chunk(stream, from, true)) {
    EXPECT_EQ(chunk->end, from + chunk->bytes.size());
    joined += chunk->bytes;
    from = chunk->end;
  }
  EXPECT_EQ(joined, stream);
  EXPECT_FALSE(next_chunk(stream, from, true));
  EXPECT_FALSE(next_chunk(stream, from + 100, true));
}

TEST(Chunks, DoNotTearCharacters) {
  const std::string_view torn = "a\xC3";
  EXPECT_EQ(next_chunk(torn, 0, false)->bytes, "a");
  EXPECT_FALSE(next_chunk(torn, 1, false));
  EXPECT_EQ(next_chunk(torn, 0, true)->bytes, torn);  // no more will come
  const std::string at_limit = std::string(32 * 1024 - 1, 'a') + "\xC3\xA9";
  EXPECT_EQ(next_chunk(at_limit, 0, true)->bytes.size(), 32U * 1024 - 1);
}

TEST(Chunks, AreEventsWithTheOffsetOfTheirEnd) {
  EXPECT_EQ(to_event({.bytes = "a\n\"\xFF", .end = 7}),
            "data: {\"output\":\"a\\n\\\"\xEF\xBF\xBD\",\"offset\":7}\n\n");
  EXPECT_EQ(to_error_event(408, "again"), "event: error\ndata: {\"code\":408,\"message\":\"again\"}\n\n");
}

TEST(Outputs, AreKeptAsFarAsThereIsRoom) {
  Output output;
  output.append(std::string(kMaxOutput - 1, 'x'));
  output.append("ab");
  EXPECT_EQ(output.bytes.size(), kMaxOutput);
  EXPECT_TRUE(output.bytes.ends_with('a'));
  EXPECT_TRUE(output.cut);
}

TEST(Uuids, BeginWithTheTime) {
  Engine engine;
  const auto time = std::chrono::sys_time<std::chrono::milliseconds>(0x0190'1234'5678ms);
  EXPECT_THAT(make_uuid_v7(engine, time),
              ::testing::MatchesRegex("01901234-5678-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
}

// ---- Paths and tunnels

TEST(Paths, AreWithinTheHomeUnlessTheyBeginWithASlash) {
  EXPECT_EQ(resolve_path("a/b", "/home/user"), "/home/user/a/b");
  EXPECT_EQ(resolve_path("~/a", "/home/user"), "/home/user/a");
  EXPECT_EQ(resolve_path("~", "/home/user"), "/home/user");
  EXPECT_EQ(resolve_path("/a", "/home/user"), "/a");
  EXPECT_EQ(refusal([] { (void)resolve_path("", "/home/user"); }).first, 400);
  EXPECT_EQ(refusal([] { (void)resolve_path(std::string_view("a\0b", 3), "/home/user"); }).first, 400);
}

TEST(TunnelHosts, NameAPortAndAKey) {
  EXPECT_EQ(parse_tunnel_host("8080-abc123.tunnel.localhost:4711"), (TunnelHost{8080, "abc123"}));
  EXPECT_EQ(parse_tunnel_host("1-k.tunnel.runloop.ai"), (TunnelHost{1, "k"}));
  for (const char* other :
       {"127.0.0.1:4711", "api.runloop.ai", "tunnel.localhost", "8080.tunnel.localhost",
        "8080-.tunnel.localhost", "0-abc.tunnel.localhost", "65536-abc.tunnel.localhost",
        "x-abc.tunnel.localhost", "8080-a_b.tunnel.localhost", "8080-abc.localhost", ""}) {
    EXPECT_FALSE(parse_tunnel_host(other)) << other;
  }
}

TEST(TunnelHosts, AreBesideTheApi) {
  EXPECT_EQ(tunnel_url(8080, "k", "api.runloop.ai"), "https://8080-k.tunnel.runloop.ai");
  EXPECT_EQ(tunnel_url(8080, "k", "127.0.0.1:4711"), "http://8080-k.tunnel.localhost:4711");
  EXPECT_EQ(tunnel_url(8080, "k", "localhost:4711"), "http://8080-k.tunnel.localhost:4711");
}

// ---- Blueprints

class Blueprints : public ::testing::Test {
 protected:
  BlueprintPtr add(const std::string& owner, const std::string& name, BlueprintStatus status) {
    BlueprintRequest request;
    request.name = name;
    const BlueprintPtr made = images_.add(owner, std::move(request), {}, emu::Time());
    made->status = status;
    return made;
  }

  Engine engine_;
  Images images_{engine_, emu::Time()};
};

TEST_F(Blueprints, OfANameAreTheNewestThatIsBuilt) {
  const BlueprintPtr old = add("valid", "mine", BlueprintStatus::build_complete);
  const BlueprintPtr newer = add("valid", "mine", BlueprintStatus::build_complete);
  (void)add("valid", "mine", BlueprintStatus::failed);
  (void)add("second", "mine", BlueprintStatus::build_complete);
  EXPECT_EQ(images_.blueprint_named("mine", "valid"), newer);
  images_.remove(newer);
  EXPECT_EQ(images_.blueprint_named("mine", "valid"), old);
  EXPECT_EQ(refusal([&] { (void)images_.blueprint(old->id, "second"); }).first, 400);
  EXPECT_EQ(images_.blueprint_named("sandkey", "second")->owner, "");
}

TEST_F(Blueprints, StayAsLongAsSnapshotsDependOnThem) {
  const BlueprintPtr made = add("valid", "mine", BlueprintStatus::build_complete);
  const SnapshotPtr snapshot = images_.add_snapshot("valid", {}, emu::Time());
  snapshot->source_blueprint = made;
  EXPECT_EQ(refusal([&] { images_.remove(made); }).first, 400);
  images_.remove(snapshot);
  EXPECT_EQ(refusal([&] { images_.remove(made); }).first, 0);
  EXPECT_EQ(to_view(*made).at("state").as_string(), "deleted");
}

}  // namespace
}  // namespace sandkey::runloop::emulator
