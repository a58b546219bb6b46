// Daytona's API and the traffic into its sandboxes, with real sandboxes behind them.
#include "tests/agent/raw_http.h"
#include "tests/emulator/fixtures.h"

#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>

#include <sys/socket.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace sandkey::emulator_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class DaytonaTest : public EmulatorTest {
 protected:
  [[nodiscard]] Answer call(const std::string& method, const std::string& url, const std::string& body,
                            const std::string& account, Headers headers = {}) {
    HttpRequest request;
    request.method = method;
    request.url = url;
    request.body = body;
    request.repeatable = false;
    if (!account.empty()) request.headers.set("Authorization", "Bearer " + key(account, "daytona"));
    for (const auto& [name, value] : headers) request.headers.set(name, value);
    return send(std::move(request));
  }
  [[nodiscard]] Answer api(const std::string& method, const std::string& path, const std::string& body = {},
                           const std::string& account = "valid", Headers headers = {}) {
    return call(method, variable("DAYTONA_API_URL") + path, body, account, std::move(headers));
  }
  // "200", or "404 what it says".
  [[nodiscard]] std::string say(const std::string& method, const std::string& path,
                                const std::string& body = {}, const std::string& account = "valid") {
    const Answer answer = api(method, path, body, account);
    const std::string message = answer.text("message");
    return std::to_string(answer.status) + (message.empty() ? "" : " " + message);
  }
  [[nodiscard]] Answer make(const std::string& body = "{}", const std::string& account = "valid") {
    const Answer made = api("POST", "/sandbox", body, account);
    EXPECT_EQ(made.status, 200) << made.body;
    return made;
  }
  [[nodiscard]] std::string make_id(const std::string& body = "{}") { return make(body).text("id"); }
  // Its state, or the status of the answer.
  [[nodiscard]] std::string state(const std::string& id) {
    const Answer found = api("GET", "/sandbox/" + id);
    return found.status == 200 ? found.text("state") : std::to_string(found.status);
  }
  // What goes on after an answer comes to its end.
  void come_to(const std::string& id, const std::string& wanted) {
    while (state(id) != wanted) std::this_thread::yield();
  }
  [[nodiscard]] Answer toolbox(const std::string& id, const std::string& method, const std::string& path,
                               const std::string& body = {}, const std::string& account = "valid",
                               Headers headers = {}) {
    std::string base = variable("DAYTONA_API_URL");
    base.replace(base.rfind("/api"), 4, "/toolbox/");
    return call(method, base + id + path, body, account, std::move(headers));
  }
  // What a command prints.
  [[nodiscard]] std::string run(const std::string& id, const std::string& command) {
    const std::string body = R"({"command":)" + json::serialize(json::value(command)) + "}";
    return toolbox(id, "POST", "/process/execute", body).text("result");
  }
  [[nodiscard]] std::vector<std::string> listed(const std::string& query = {}) {
    std::vector<std::string> names;
    const Answer list = api("GET", "/sandbox" + query);
    for (const json::value& each : list.document.at("items").as_array()) {
      names.emplace_back(std::string_view(each.at("name").as_string()));
    }
    return names;
  }
  [[nodiscard]] std::uint16_t own_port() const {
    const std::string url = variable("DAYTONA_API_URL");
    return static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }
  void set(const std::string& settings) {
    const Answer answer = admin("POST", "/_emulator/settings?provider=daytona", settings);
    ASSERT_EQ(answer.status, 200) << answer.body;
  }
};

// ---- Accounts

TEST_F(DaytonaTest, AnswersEveryKindOfKeyAsTheCloudDoes) {
  const std::string unauthorized = "401 Invalid credentials";
  for (const char* account : {"", "unknown", "revoked", "malformed", "expired", "jwt"}) {
    EXPECT_EQ(say("GET", "/api-keys/current", "", account), unauthorized) << account;
  }
  for (const char* account :
       {"valid", "second", "over_quota", "scopeless", "read_only", "no_delete", "suspended", "throttled"}) {
    EXPECT_EQ(api("GET", "/api-keys/current", "", account).text("name"), account);
  }
  const Answer record = api("GET", "/api-keys/current");
  EXPECT_THAT(record.text("value"), StartsWith("dtn***"));
  EXPECT_THAT(record.body, HasSubstr("write:sandboxes"));
  EXPECT_EQ(record.header("x-ratelimit-limit-authenticated"), "50000");
  const Answer error = api("GET", "/sandbox", "", "unknown");
  EXPECT_EQ(error.text("error"), "Unauthorized");
  EXPECT_EQ(error.text("path"), "/api/sandbox");
  EXPECT_EQ(error.document.at("statusCode").as_int64(), 401);
}

TEST_F(DaytonaTest, KnowsPeopleByTheirTokenAndOrganization) {
  EXPECT_EQ(say("GET", "/organizations"), "401 Invalid credentials");  // a good key, and not for this
  const Answer organizations = api("GET", "/organizations", "", "jwt");
  ASSERT_EQ(organizations.status, 200);
  const std::string id(std::string_view(organizations.document.as_array().at(0).at("id").as_string()));
  EXPECT_EQ(api("GET", "/users/me", "", "jwt").status, 200);
  EXPECT_EQ(say("GET", "/sandbox", "", "jwt"), "403 Invalid authentication context");
  const Headers named{{"X-Daytona-Organization-ID", id}};
  EXPECT_EQ(api("GET", "/sandbox", "", "jwt", named).status, 200);
  EXPECT_EQ(api("POST", "/sandbox", R"({"name":"by-person"})", "jwt", named).status, 200);
  EXPECT_EQ(state("by-person"), "started");
  const Headers other{{"X-Daytona-Organization-ID", "00000000-0000-4000-8000-000000000000"}};
  EXPECT_EQ(api("GET", "/sandbox", "", "jwt", other).status, 403);
}

TEST_F(DaytonaTest, HoldsKeysToTheirPermissions) {
  const std::string id = make_id();
  const std::string denied = "403 Access denied";
  EXPECT_EQ(say("GET", "/sandbox/" + id, "", "scopeless"), "200");
  EXPECT_EQ(say("POST", "/sandbox", "{}", "scopeless"), denied);
  EXPECT_EQ(say("POST", "/sandbox", "{}", "read_only"), denied);
  EXPECT_EQ(say("DELETE", "/sandbox/" + id, "", "read_only"), denied);
  EXPECT_EQ(say("POST", "/sandbox/" + id + "/stop", "", "read_only"), denied);
  EXPECT_EQ(say("GET", "/volumes", "", "scopeless"), denied);
  EXPECT_EQ(say("DELETE", "/sandbox/" + id, "", "no_delete"), denied);
  EXPECT_EQ(say("POST", "/sandbox", "{}", "no_delete"), "200");
}

TEST_F(DaytonaTest, HidesWhatIsAnothers) {
  const std::string id = make_id(R"({"name":"box"})");
  EXPECT_EQ(say("GET", "/sandbox/" + id, "", "second"), "404 Sandbox with ID or name " + id + " not found");
  EXPECT_EQ(say("GET", "/sandbox/box", "", "second"), "404 Sandbox with ID or name box not found");
  EXPECT_EQ(toolbox(id, "GET", "/version", "", "second").status, 401);
  EXPECT_EQ(say("POST", "/sandbox", R"({"name":"box"})", "second"), "200");
}

TEST_F(DaytonaTest, RefusesOrganizationsThatMayNotCreate) {
  EXPECT_THAT(say("POST", "/sandbox", "{}", "suspended"), StartsWith("403 Organization is suspended"));
  EXPECT_EQ(say("GET", "/sandbox", "", "suspended"), "200");
  EXPECT_EQ(say("POST", "/sandbox", "{}", "over_quota"), "400 Total CPU limit exceeded. Maximum allowed: 0.");
  EXPECT_EQ(say("POST", "/sandbox", R"({"cpu":5,"buildInfo":{"dockerfileContent":"FROM x\n"}})"),
            "400 CPU request 5 exceeds maximum allowed per sandbox (4)");
}

TEST_F(DaytonaTest, CanBeInMaintenance) {
  for (const char* path : {"/api-keys/current", "/sandbox", "/health", "/config", "/nothing"}) {
    EXPECT_THAT(say("GET", path, "", "maintenance"), AllOf(StartsWith("503 "), HasSubstr("maintenance")));
  }
  set(R"({"maintenance":true})");
  EXPECT_EQ(api("GET", "/sandbox").status, 503);
  set(R"({"maintenance":false})");
  EXPECT_EQ(api("GET", "/sandbox").status, 200);
}

TEST_F(DaytonaTest, ThrottlesByBucket) {
  EXPECT_EQ(say("POST", "/sandbox", "{}", "throttled"), "200");
  EXPECT_EQ(say("POST", "/sandbox", "{}", "throttled"), "200");
  const Answer third = api("POST", "/sandbox", "{}", "throttled");
  EXPECT_EQ(third.status, 429);
  EXPECT_EQ(third.header("retry-after-sandbox-create"), "60");
  EXPECT_EQ(third.header("retry-after"), "");
  EXPECT_EQ(third.header("x-ratelimit-remaining-sandbox-create"), "0");
  EXPECT_EQ(say("GET", "/sandbox", "", "throttled"), "200");
  advance(60s);
  EXPECT_EQ(say("POST", "/sandbox", "{}", "throttled"), "200");
}

TEST_F(DaytonaTest, LetsNobodyInAfterTooManyFailures) {
  set(R"({"failed_auths_per_minute":2})");
  EXPECT_EQ(say("GET", "/sandbox", "", "unknown"), "401 Invalid credentials");
  EXPECT_EQ(say("GET", "/organizations"), "401 Invalid credentials");  // which counts too
  const Answer refused = api("GET", "/sandbox");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("retry-after"), "60");
  EXPECT_EQ(refused.header("retry-after-failed-auth"), "60");
  advance(60s);
  EXPECT_EQ(say("GET", "/sandbox"), "200");
}

// ---- Creating

TEST_F(DaytonaTest, CreatesWhatIsAskedFor) {
  const Answer made = make(
      R"({"name":"box","labels":{"a":"b"},"env":{"GREETING":"hello"},"snapshot":"daytona-medium","target":"eu"})");
  EXPECT_EQ(made.text("state"), "started");
  EXPECT_EQ(made.text("snapshot"), "daytona-medium");
  EXPECT_EQ(made.text("target"), "eu");
  EXPECT_EQ(made.document.at("cpu").as_int64(), 2);
  EXPECT_EQ(made.document.at("autoStopInterval").as_int64(), 15);
  const std::string id = made.text("id");
  EXPECT_EQ(run(id, "echo $GREETING $DAYTONA_SANDBOX_ID; id -un; pwd"),
            "hello " + id + "\ndaytona\n/home/daytona\n");
  EXPECT_EQ(api("GET", "/sandbox/box").text("id"), id);
}

TEST_F(DaytonaTest, RefusesWhatCannotBeCreated) {
  (void)make(R"({"name":"box"})");
  EXPECT_EQ(say("POST", "/sandbox", R"({"name":"box"})"), "409 Sandbox with name box already exists");
  EXPECT_EQ(say("POST", "/sandbox", R"({"snapshot":"none"})"), "400 Snapshot none not found");
  EXPECT_EQ(say("POST", "/sandbox", R"({"target":"mars"})"), "404 Region not found");
  EXPECT_THAT(say("POST", "/sandbox", R"({"cpu":1})"), StartsWith("400 "));
  EXPECT_EQ(say("POST", "/sandbox", R"({"snapshot":"emulator-full"})"), "400 No available runners");
  EXPECT_THAT(say("POST", "/sandbox", R"({"snapshot":"emulator-inactive"})"),
              HasSubstr("not in active state"));
  EXPECT_THAT(say("POST", "/sandbox", R"({"snapshot":"emulator-refused"})"),
              StartsWith("400 Sandbox failed to start: "));
  EXPECT_EQ(say("POST", "/sandbox", "{"), "400 Invalid JSON in request body");
}

TEST_F(DaytonaTest, TakesABodilessRequestWhateverItsType) {
  const Answer made =
      api("POST", "/sandbox", "", "valid", {{"Content-Type", "application/x-www-form-urlencoded"}});
  EXPECT_EQ(made.status, 200) << made.body;
}

TEST_F(DaytonaTest, BuildsAfterItHasAnswered) {
  const Answer made =
      make(R"({"buildInfo":{"dockerfileContent":"FROM debian:12\n"},"cpu":2,"memory":3,"disk":4})");
  EXPECT_EQ(made.text("state"), "pending_build");
  EXPECT_EQ(made.document.at("memory").as_int64(), 3);
  const std::string id = made.text("id");
  come_to(id, "started");
  const std::string logs = api("GET", "/sandbox/" + id + "/build-logs-url").text("url");
  EXPECT_THAT(call("GET", logs + "?follow=true", "", "valid").body, StartsWith("FROM debian:12\n"));
  const std::string failing = make_id(R"({"buildInfo":{"dockerfileContent":"FROM emulator-build-fails\n"}})");
  come_to(failing, "build_failed");
  EXPECT_NE(api("GET", "/sandbox/" + failing).text("errorReason"), "");
  EXPECT_EQ(api("GET", "/sandbox/" + make_id() + "/build-logs-url").status, 404);
}

TEST_F(DaytonaTest, MayAnswerWithWhatIsNotSoAnyMore) {
  const Answer made = make(R"({"snapshot":"emulator-stale"})");
  EXPECT_EQ(made.text("state"), "creating");
  EXPECT_EQ(state(made.text("id")), "started");
}

TEST_F(DaytonaTest, TakesTimeWhereItIsToldTo) {
  set(R"({"create_seconds":3})");
  const Answer made = make();
  EXPECT_EQ(made.text("state"), "creating");
  EXPECT_EQ(toolbox(made.text("id"), "GET", "/version").status, 400);
  advance(2s);
  EXPECT_EQ(state(made.text("id")), "creating");
  advance(1s);
  EXPECT_EQ(state(made.text("id")), "started");
}

TEST_F(DaytonaTest, RecoversWhatCanBeRecovered) {
  const std::string lost = make_id(R"({"snapshot":"emulator-fails"})");
  come_to(lost, "error");
  EXPECT_EQ(say("POST", "/sandbox/" + lost + "/recover"), "400 Sandbox is not in a recoverable state");
  EXPECT_EQ(say("POST", "/sandbox/" + lost + "/stop"), "400 Sandbox is in an errored state");
  const std::string id = make_id(R"({"snapshot":"emulator-recoverable"})");
  come_to(id, "error");
  EXPECT_TRUE(api("GET", "/sandbox/" + id).document.at("recoverable").as_bool());
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/recover").text("state"), "started");
  EXPECT_EQ(run(id, "echo here"), "here\n");
}

// ---- Life

TEST_F(DaytonaTest, KeepsFilesAndNoProcessesAcrossAStop) {
  const std::string id = make_id(R"({"name":"box"})");
  EXPECT_EQ(run(id, "echo kept > file; echo too > /tmp/file; sleep 1000 > /dev/null 2>&1 &"), "");
  const Answer stopping = api("POST", "/sandbox/box/stop?force=false");
  EXPECT_EQ(stopping.text("state"), "stopping");
  come_to(id, "stopped");
  EXPECT_EQ(say("POST", "/sandbox/box/stop"), "400 Sandbox is not in a stoppable state");
  EXPECT_THAT(toolbox(id, "GET", "/version").text("message"), HasSubstr("Is the Sandbox started?"));
  const Answer started = api("POST", "/sandbox/box/start");
  EXPECT_EQ(started.text("state"), "started");
  EXPECT_EQ(run(id, "cat file /tmp/file; pgrep sleep"), "kept\ntoo\n");
  EXPECT_EQ(say("POST", "/sandbox/box/start"), "200");
}

TEST_F(DaytonaTest, BringsBackWhatIsArchived) {
  const std::string id = make_id();
  EXPECT_EQ(run(id, "echo kept > file"), "");
  EXPECT_EQ(say("POST", "/sandbox/" + id + "/archive"), "400 Sandbox is not stopped");
  EXPECT_EQ(say("POST", "/sandbox/" + id + "/stop"), "200");
  come_to(id, "stopped");
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/archive").text("state"), "archiving");
  come_to(id, "archived");
  EXPECT_EQ(api("GET", "/sandbox/" + id).text("backupState"), "Completed");
  EXPECT_THAT(toolbox(id, "GET", "/version").text("message"), HasSubstr("failed to get runner info"));
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/start").text("state"), "started");
  EXPECT_EQ(run(id, "cat file"), "kept\n");
}

TEST_F(DaytonaTest, FreesTheNameOfWhatIsDeletedAtOnce) {
  const std::string id = make_id(R"({"name":"box"})");
  const Answer removed = api("DELETE", "/sandbox/box");
  EXPECT_EQ(removed.status, 200);
  EXPECT_EQ(removed.text("state"), "destroying");
  EXPECT_THAT(removed.text("name"), StartsWith("DESTROYED_box_"));
  EXPECT_EQ(api("GET", "/sandbox/box").status, 404);
  (void)make(R"({"name":"box"})");
  come_to(id, "404");
  EXPECT_EQ(toolbox(id, "GET", "/version").status, 401);
}

TEST_F(DaytonaTest, AllowsNothingWhileSomethingChanges) {
  const Answer made = make(R"({"snapshot":"emulator-slow"})");
  const std::string id = made.text("id");
  const std::string conflict = "409 Sandbox state change in progress";
  EXPECT_EQ(made.text("state"), "creating");
  EXPECT_EQ(say("DELETE", "/sandbox/" + id), conflict);
  advance(2s);
  EXPECT_EQ(state(id), "started");
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/stop").text("state"), "stopping");
  EXPECT_EQ(say("POST", "/sandbox/" + id + "/start"), conflict);
  EXPECT_EQ(say("POST", "/sandbox/" + id + "/stop"), conflict);
  EXPECT_EQ(run(id, "echo still"), "still\n");
  advance(2s);
  EXPECT_EQ(state(id), "stopped");
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/start").text("state"), "starting");
  advance(2s);
  EXPECT_EQ(state(id), "started");
  EXPECT_EQ(api("DELETE", "/sandbox/" + id).text("state"), "destroying");
  EXPECT_EQ(state(id), "destroying");
  advance(2s);
  EXPECT_EQ(state(id), "404");
}

TEST_F(DaytonaTest, LosesASandboxWithItsMachine) {
  const std::string id = make_id();
  EXPECT_EQ(admin("POST", "/_emulator/sandboxes/" + id + "/kill").status, 204);
  EXPECT_EQ(state(id), "404");
  const std::string slow = make_id(R"({"snapshot":"emulator-slow"})");
  EXPECT_EQ(admin("POST", "/_emulator/sandboxes/" + slow + "/kill").status, 204);
  EXPECT_EQ(state(slow), "404");
}

// ---- What happens by itself

TEST_F(DaytonaTest, StopsWhatIsIdle) {
  const std::string id = make_id();
  advance(14min);
  EXPECT_EQ(run(id, "echo busy"), "busy\n");
  advance(14min);
  EXPECT_EQ(state(id), "started");
  (void)toolbox(id, "GET", "/version", "", "valid", {{"X-Daytona-Skip-Last-Activity-Update", "true"}});
  advance(1min);
  EXPECT_EQ(state(id), "stopped");
}

TEST_F(DaytonaTest, KeepsAwakeWhatIsSaidToBeUsed) {
  const std::string id = make_id(R"({"autoStopInterval":2})");
  const std::string off = make_id(R"({"autoStopInterval":0})");
  advance(119s);
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/last-activity").status, 201);
  advance(119s);
  EXPECT_EQ(state(id), "started");
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/autostop/10").status, 201);
  advance(9min);
  EXPECT_EQ(state(id), "stopped");
  EXPECT_EQ(state(off), "started");
}

TEST_F(DaytonaTest, ArchivesAndDeletesWhatIsStoppedLong) {
  const std::string archived = make_id(R"({"autoStopInterval":1,"autoArchiveInterval":5})");
  const std::string deleted = make_id(R"({"autoStopInterval":1,"autoDeleteInterval":3})");
  const std::string ephemeral = make_id(R"({"autoStopInterval":1,"autoDeleteInterval":0})");
  const std::string limited = make_id(R"({"autoStopInterval":0,"ttlMinutes":2})");
  advance(1min);
  EXPECT_EQ(state(archived), "stopped");
  EXPECT_EQ(state(deleted), "stopped");
  EXPECT_EQ(state(ephemeral), "404");
  EXPECT_EQ(state(limited), "started");
  advance(1min);
  EXPECT_EQ(state(limited), "404");
  advance(2min);
  EXPECT_EQ(state(deleted), "404");
  advance(2min);
  EXPECT_EQ(state(archived), "archived");
}

TEST_F(DaytonaTest, RefusesToArchiveWhatIsEphemeral) {
  const std::string id = make_id();
  EXPECT_EQ(say("POST", "/sandbox/" + id + "/stop"), "200");
  come_to(id, "stopped");
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/autodelete/0").status, 201);
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/archive").status, 400);
}

// ---- Lists

TEST_F(DaytonaTest, ListsWithADelay) {
  const std::string id = make_id(R"({"name":"box","labels":{"a":"b"}})");
  EXPECT_THAT(listed(), IsEmpty());
  advance(1s);
  EXPECT_THAT(listed(), ElementsAre("box"));
  EXPECT_THAT(listed("?labels=%7B%22a%22%3A%22c%22%7D"), IsEmpty());
  EXPECT_EQ(say("DELETE", "/sandbox/box"), "200");
  come_to(id, "404");
  EXPECT_THAT(listed(), ElementsAre("box"));
  advance(1s);
  EXPECT_THAT(listed(), IsEmpty());
  set(R"({"list_delay_seconds":0})");
  (void)make(R"({"name":"now"})");
  EXPECT_THAT(listed(), ElementsAre("now"));
}

TEST_F(DaytonaTest, ListsInPages) {
  for (const char* name : {"c", "a", "b"}) (void)make(R"({"name":")" + std::string(name) + R"("})");
  advance(1s);
  const Answer first = api("GET", "/sandbox?limit=2&sort=name&order=asc");
  ASSERT_EQ(first.document.at("items").as_array().size(), 2U);
  const std::string cursor = first.text("nextCursor");
  ASSERT_NE(cursor, "");
  const Answer second = api("GET", "/sandbox?limit=2&sort=name&order=asc&cursor=" + cursor);
  EXPECT_TRUE(second.document.at("nextCursor").is_null());
  EXPECT_EQ(second.document.at("items").as_array().at(0).at("name").as_string(), "c");
  EXPECT_FALSE(second.document.at("items").as_array().at(0).as_object().contains("env"));
  EXPECT_EQ(api("GET", "/sandbox/paginated?limit=2").document.at("totalPages").as_int64(), 2);
  EXPECT_EQ(api("GET", "/sandbox?limit=201").status, 400);
  EXPECT_EQ(say("GET", "/sandbox?labels=%7B"), "400 Invalid labels JSON format");
}

// ---- Settings of a sandbox

TEST_F(DaytonaTest, ChangesWhatCanBeChanged) {
  const std::string id = make_id();
  const std::string path = "/sandbox/" + id;
  EXPECT_EQ(say("PUT", path + "/labels", R"({"labels":{"x":"y"}})"), "200");
  EXPECT_EQ(say("PUT", path + "/labels", "{}"), "400 labels must be an object");
  EXPECT_EQ(say("POST", path + "/public/true"), "201");
  EXPECT_EQ(say("POST", path + "/autoarchive/0"), "201");
  EXPECT_EQ(say("POST", path + "/autodelete/-1"), "201");
  EXPECT_EQ(say("POST", path + "/ttl/0"), "201");
  EXPECT_EQ(api("POST", path + "/autostop/-1").status, 400);
  EXPECT_EQ(api("POST", path + "/network-settings", "{}").status, 400);
  EXPECT_EQ(say("POST", path + "/network-settings", R"({"networkBlockAll":true})"), "200");
  const Answer shown = api("GET", path);
  EXPECT_EQ(json::serialize(shown.document.at("labels")), R"({"x":"y"})");
  EXPECT_TRUE(shown.document.at("public").as_bool());
  EXPECT_TRUE(shown.document.at("networkBlockAll").as_bool());
  EXPECT_EQ(shown.document.at("autoArchiveInterval").as_int64(), 43200);
}

TEST_F(DaytonaTest, Resizes) {
  const std::string id = make_id();
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/resize", R"({"cpu":2})").text("state"), "resizing");
  come_to(id, "started");
  EXPECT_EQ(api("GET", "/sandbox/" + id).document.at("cpu").as_int64(), 2);
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/resize", R"({"cpu":1})").status, 400);
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/resize", R"({"disk":5})").status, 400);
}

TEST_F(DaytonaTest, SaysWhatIsForVirtualMachinesOnly) {
  const std::string id = make_id();
  for (const char* action : {"/pause", "/fork"}) {
    EXPECT_EQ(api("POST", "/sandbox/" + id + action).status, 422) << action;
  }
  EXPECT_EQ(api("GET", "/sandbox/" + id + "/forks").body, "[]");
}

TEST_F(DaytonaTest, MakesSnapshotsOfSandboxes) {
  const std::string id = make_id();
  EXPECT_EQ(run(id, "echo copied > file"), "");
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/snapshot", R"({"name":"mine"})").text("state"), "snapshotting");
  come_to(id, "started");
  EXPECT_EQ(api("GET", "/snapshots/mine").text("sourceSandboxId"), id);
  EXPECT_EQ(api("GET", "/snapshots/mine", "", "second").status, 404);
  EXPECT_EQ(run(make_id(R"({"snapshot":"mine"})"), "cat file"), "copied\n");
  EXPECT_EQ(api("POST", "/sandbox/" + id + "/snapshot", R"({"name":"mine"})").status, 409);
  const std::string snapshot = api("GET", "/snapshots/mine").text("id");
  EXPECT_EQ(api("POST", "/snapshots/" + snapshot + "/deactivate").status, 204);
  EXPECT_EQ(api("POST", "/sandbox", R"({"snapshot":"mine"})").status, 400);
  EXPECT_EQ(api("POST", "/snapshots/" + snapshot + "/activate").text("state"), "active");
  EXPECT_EQ(api("DELETE", "/snapshots/" + snapshot).status, 200);
  EXPECT_EQ(say("POST", "/sandbox", R"({"snapshot":"mine"})"), "400 Snapshot mine not found");
}

TEST_F(DaytonaTest, KeepsVolumesThatAreUsed) {
  const Answer made = api("POST", "/volumes", R"({"name":"data"})");
  EXPECT_EQ(made.text("state"), "pending_create");
  const std::string id = made.text("id");
  EXPECT_EQ(api("GET", "/volumes/by-name/data").text("state"), "ready");
  const std::string sandbox = make_id(R"({"volumes":[{"volumeId":"data","mountPath":"/data"}]})");
  EXPECT_EQ(api("DELETE", "/volumes/" + id).status, 409);
  EXPECT_EQ(say("DELETE", "/sandbox/" + sandbox), "200");
  come_to(sandbox, "404");
  EXPECT_EQ(api("DELETE", "/volumes/" + id).status, 200);
  EXPECT_EQ(api("GET", "/volumes/" + id).status, 404);
}

TEST_F(DaytonaTest, GivesSshAccess) {
  const std::string id = make_id();
  const Answer given = api("POST", "/sandbox/" + id + "/ssh-access?expiresInMinutes=5");
  EXPECT_EQ(given.status, 200);
  EXPECT_THAT(given.text("sshCommand"), HasSubstr(given.text("token")));
  EXPECT_EQ(api("DELETE", "/sandbox/" + id + "/ssh-access").text("id"), id);
}

// ---- The way in

class DaytonaPorts : public DaytonaTest {
 protected:
  DaytonaPorts() {
    id_ = make_id();
    (void)run(id_,
              "mkdir /tmp/www; cd /tmp/www; echo inside > page; "
              "python3 -m http.server 8000 --bind 127.0.0.1 > /dev/null 2>&1 &");
    while (toolbox(id_, "GET", "/proxy/8000/page").status == 502) std::this_thread::yield();
  }
  [[nodiscard]] Answer preview(int port = 8000) {
    return api("GET", "/sandbox/" + id_ + "/ports/" + std::to_string(port) + "/preview-url");
  }
  [[nodiscard]] Answer open(const std::string& url, Headers headers = {}) {
    return call("GET", url, "", "", std::move(headers));
  }

  std::string id_;
};

TEST_F(DaytonaPorts, AreReachedWithTheSandboxsToken) {
  const Answer made = preview();
  const std::string url = made.text("url") + "/page";
  const std::string token = made.text("token");
  EXPECT_EQ(open(url, {{"X-Daytona-Preview-Token", token}}).body, "inside\n");
  EXPECT_EQ(open(url + "?DAYTONA_SANDBOX_AUTH_KEY=" + token).body, "inside\n");
  EXPECT_EQ(call("GET", url, "", "valid").body, "inside\n");
  EXPECT_EQ(open(url, {{"X-Daytona-Preview-Token", "wrong"}}).status, 307);
  EXPECT_EQ(call("GET", url, "", "second").status, 307);
  EXPECT_EQ(open(url).status, 307);
  EXPECT_THAT(open(url, {{"X-Daytona-Preview-Token", token}, {"User-Agent", "Mozilla/5.0"}}).body,
              StartsWith("<!DOCTYPE html>"));
  const Answer closed = open(preview(8001).text("url"), {{"X-Daytona-Preview-Token", token}});
  EXPECT_EQ(closed.status, 502);
  EXPECT_EQ(closed.body, "");
}

TEST_F(DaytonaPorts, HaveAnotherTokenAfterEachStart) {
  const std::string before = preview().text("token");
  EXPECT_EQ(say("POST", "/sandbox/" + id_ + "/stop"), "200");
  come_to(id_, "stopped");
  EXPECT_EQ(open(preview().text("url"), {{"X-Daytona-Preview-Token", before}}).status, 400);
  EXPECT_EQ(say("POST", "/sandbox/" + id_ + "/start"), "200");
  EXPECT_NE(preview().text("token"), before);
  EXPECT_EQ(open(preview().text("url"), {{"X-Daytona-Preview-Token", before}}).status, 307);
}

TEST_F(DaytonaPorts, MayBePublicButForTheToolbox) {
  EXPECT_EQ(say("POST", "/sandbox/" + id_ + "/public/true"), "201");
  EXPECT_EQ(open(preview().text("url") + "/page").body, "inside\n");
  EXPECT_EQ(open(preview(22222).text("url")).status, 307);
  EXPECT_EQ(open(preview(2280).text("url") + "/version").status, 401);
  EXPECT_EQ(call("GET", preview(2280).text("url") + "/version", "", "valid").status, 200);
}

TEST_F(DaytonaPorts, AreReachedByASignedNameUntilItEnds) {
  const std::string path = "/sandbox/" + id_ + "/ports/8000/signed-preview-url";
  const Answer made = api("GET", path + "?expiresInSeconds=30");
  EXPECT_EQ(open(made.text("url") + "/page").body, "inside\n");
  advance(30s);
  EXPECT_EQ(open(made.text("url") + "/page").status, 307);
  const Answer other = api("GET", path);
  EXPECT_EQ(open(other.text("url") + "/page").body, "inside\n");
  EXPECT_EQ(api("POST", path + "/" + other.text("token") + "/expire").status, 201);
  EXPECT_EQ(open(other.text("url") + "/page").status, 307);
  EXPECT_EQ(api("GET", path + "?expiresInSeconds=0").status, 400);
}

TEST_F(DaytonaPorts, AreReachedByAPathOfTheToolbox) {
  EXPECT_EQ(toolbox(id_, "GET", "/proxy/8000/page?x=y").body, "inside\n");
  EXPECT_EQ(toolbox(id_, "GET", "/proxy/8000/page", "", "").status, 401);
  const Headers token{{"X-Daytona-Preview-Token", preview().text("token")}};
  EXPECT_EQ(toolbox(id_, "GET", "/proxy/8000/page", "", "", token).body, "inside\n");
}

// Takes an upgrade, and then says nothing until its client leaves.
constexpr const char* kSilentServer = R"(python3 -c '
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 9000)); s.listen()
while True:
    c, _ = s.accept(); head = c.recv(10000)
    if b"pgrade: websocket" in head:
        c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        c.recv(1)
    else:
        c.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    c.close()
' > /dev/null 2>&1 &)";

TEST_F(DaytonaTest, KeepsAwakeWhatAWebSocketLeadsTo) {
  const std::string id = make_id();
  (void)run(id, kSilentServer);
  while (toolbox(id, "GET", "/proxy/9000/").status != 204) std::this_thread::yield();
  std::optional<test::RawClient> client = test::RawClient::to_tcp(own_port());
  ASSERT_TRUE(client->send("GET / HTTP/1.1\r\nHost: 9000-" + id +
                           ".daytona.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           "Authorization: Bearer " +
                           key("valid", "daytona") + "\r\n\r\n"));
  std::array<char, 12> status{};
  ASSERT_EQ(::recv(client->fd(), status.data(), status.size(), MSG_WAITALL), 12);
  EXPECT_EQ(std::string_view(status.data(), status.size()), "HTTP/1.1 101");
  advance(60min);
  EXPECT_EQ(state(id), "started");
  client.reset();
  while (toolbox(id, "GET", "/proxy/9000/").status != 204)
    std::this_thread::yield();  // it serves one at a time
  advance(15min);
  EXPECT_EQ(state(id), "stopped");
}

TEST_F(DaytonaTest, LeavesTheStreamOfEventsOut) {
  EXPECT_EQ(api("GET", "/socket.io/?EIO=4&transport=websocket").status, 404);
  EXPECT_EQ(say("GET", "/nothing"), "404 Cannot GET /api/nothing");
}

TEST_F(DaytonaTest, WritesNoCredentialsDown) {
  const std::string id = make_id();
  const std::string token = api("GET", "/sandbox/" + id + "/ports/1/preview-url").text("token");
  (void)toolbox(id, "GET", "/version", "", "", {{"X-Daytona-Preview-Token", token}});
  const Answer journal = admin("GET", "/_emulator/journal?provider=daytona&since=0");
  const json::array& entries = journal.document.at("entries").as_array();
  ASSERT_EQ(entries.size(), 3U) << journal.body;
  EXPECT_EQ(entries[0].at("route").as_string(), "POST /api/sandbox");
  EXPECT_EQ(entries[0].at("headers").at("authorization").as_string(), "Bearer [account valid]");
  EXPECT_EQ(entries[2].at("route").as_string(), "toolbox GET /version");
  EXPECT_EQ(entries[2].at("headers").at("x-daytona-preview-token").as_string(),
            "[preview token of " + id + "]");
  EXPECT_THAT(journal.body, Not(HasSubstr(token)));
  EXPECT_THAT(journal.body, Not(HasSubstr(key("valid", "daytona"))));
}

}  // namespace
}  // namespace sandkey::emulator_test
