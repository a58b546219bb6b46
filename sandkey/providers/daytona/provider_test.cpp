// What goes over the wire, against a scripted API. How it behaves is the contract suite's, under the
// emulator.
#include "sandkey/providers/daytona/provider.h"

#include "sandkey/accounts/scripted_cloud.h"
#include "sandkey/base/json.h"
#include "sandkey/providers/daytona/control_plane.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sandkey::daytona {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr char kKeyRecord[] =
    R"({"name":"ci","value":"dtn***abc","permissions":["write:sandboxes","delete:sandboxes"],"expiresAt":null})";

// A sandbox of the session "s", made by the attempt that a scripted cloud's engine makes.
std::string sandbox(const std::string& state, const std::string& more = "") {
  return R"({"id":"0a-1","name":"sandkey-s","state":")" + state +
         R"(","snapshot":"daytona-small","createdAt":"2026-01-01T00:00:00Z","lastActivityAt":"2026-01-01T00:01:00Z",)" +
         R"("autoStopInterval":5,"toolboxProxyUrl":"https://proxy.example/toolbox",)" +
         R"("labels":{"sandkey":"true","sandkey-sid":"s","sandkey-lease":"300","sandkey-kept":"true",)" +
         R"("sandkey-attempt":"0000000000000000"})" + more + "}";
}

ScriptedAnswer refused(int status, const std::string& message) {
  return {.status = status, .body = fmt::format(R"({{"statusCode":{},"message":"{}"}})", status, message)};
}

class DaytonaProvider : public testing::Test {
 protected:
  DaytonaProvider() {
    cloud.variables["DAYTONA_API_KEY"] = "dtn_0123456789abcdef";
    cloud.variables["DAYTONA_API_URL"] = cloud.url() + "/api";
    cloud.answer({{.body = kKeyRecord}});
    account = cloud.sign_in();
    provider = open(cloud.engine(), {}, account);
    cloud.forget_requests();
  }
  template <typename T>
  T wait(asio::awaitable<T> task) {
    return cloud.engine().wait(std::move(task));
  }
  template <typename T>
  std::string failure(asio::awaitable<T> task) {
    try {
      (void)cloud.engine().wait(std::move(task));
      return "";
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + cloud.shortened(error.what());
    }
  }
  std::string failure(asio::awaitable<void> task) {
    try {
      cloud.engine().wait(std::move(task));
      return "";
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + cloud.shortened(error.what());
    }
  }
  Deadline soon() { return cloud.engine().in(10s); }

  ScriptedCloud cloud{*kEntry.cloud};
  std::shared_ptr<AuthenticatedAccount> account;
  std::shared_ptr<Provider> provider;
};

TEST_F(DaytonaProvider, CreatesByNameAndWaitsUntilItRuns) {
  cloud.answer(
      {{.body = sandbox("creating")}, {.body = sandbox("unheard_of")}, {.body = sandbox("started")}});
  const SandboxIntent intent{
      .sid = "s", .working_dir = "/workspace", .environment = {{"A", "b"}}, .network = false, .lease = 61s};
  EXPECT_EQ(wait(provider->create(intent, soon())).id.value, "0a-1");
  EXPECT_EQ(cloud.bodies().front(),
            R"({"name":"sandkey-s","env":{"A":"b"},"labels":{"sandkey":"true",)"
            R"("sandkey-attempt":"0000000000000000","sandkey-directory":"/workspace","sandkey-kept":"false",)"
            R"("sandkey-lease":"61","sandkey-sid":"s"},"public":false,"networkBlockAll":true,)"
            R"("autoStopInterval":2,"autoArchiveInterval":60,"autoDeleteInterval":0})");
  EXPECT_THAT(cloud.lines(),
              ElementsAre("POST /api/sandbox", "GET /api/sandbox/0a-1", "GET /api/sandbox/0a-1"));
}

TEST_F(DaytonaProvider, AnImageIsBuiltAndASnapshotIsNamed) {
  const auto body_of = [&](SandboxIntent intent) {
    intent.sid = "s";
    cloud.forget_requests();
    cloud.answer({{.body = sandbox("started")}});
    (void)wait(provider->create(std::move(intent), soon()));
    return cloud.bodies().front();
  };
  EXPECT_THAT(body_of({.image = "daytona-large"}), HasSubstr(R"("snapshot":"daytona-large")"));
  EXPECT_THAT(body_of({.image = "snapshot:me/own:1"}), HasSubstr(R"("snapshot":"me/own:1")"));
  EXPECT_THAT(body_of({.image = "image:debian"}),
              HasSubstr(R"("buildInfo":{"dockerfileContent":"FROM debian\n"})"));
  EXPECT_THAT(body_of({.image = "debian:12", .memory_bytes = (1ULL << 30) + 1, .disk_bytes = 1}),
              AllOf(HasSubstr(R"("buildInfo":{"dockerfileContent":"FROM debian:12\n"})"),
                    HasSubstr(R"("memory":2)"), HasSubstr(R"("disk":1)"), Not(HasSubstr("snapshot"))));
}

TEST_F(DaytonaProvider, TheRegionIsTheOneThatIsConfigured) {
  cloud.variables["DAYTONA_TARGET"] = "eu";
  cloud.answer({{.body = kKeyRecord}});
  provider = open(cloud.engine(), {}, cloud.sign_in());
  cloud.forget_requests();
  cloud.answer({{.body = sandbox("started")}});
  (void)wait(provider->create({.sid = "s"}, soon()));
  EXPECT_THAT(cloud.bodies().front(), HasSubstr(R"("target":"eu")"));
}

TEST_F(DaytonaProvider, ALostAnswerIsLookedUpByName) {
  cloud.answer({{.status = 502, .body = ""}, {.body = sandbox("started")}});
  EXPECT_EQ(wait(provider->create({.sid = "s"}, soon())).id.value, "0a-1");
  EXPECT_THAT(cloud.lines(),
              ElementsAre("POST /api/sandbox", "GET /api/sandbox/sandkey-s", "GET /api/sandbox/0a-1"));
}

TEST_F(DaytonaProvider, ACreateThatNeverArrivedIsSentAgain) {
  cloud.answer({{.status = 502, .body = ""}, refused(404, "not found"), {.body = sandbox("started")}});
  EXPECT_EQ(wait(provider->create({.sid = "s"}, soon())).id.value, "0a-1");
  EXPECT_THAT(cloud.lines(), ElementsAre("POST /api/sandbox", "GET /api/sandbox/sandkey-s",
                                         "POST /api/sandbox", "GET /api/sandbox/0a-1"));
}

TEST_F(DaytonaProvider, WhoComesSecondTakesTheFirstOnesSandbox) {
  cloud.answer({refused(409, "Sandbox with name sandkey-s already exists"), {.body = sandbox("started")}});
  EXPECT_EQ(wait(provider->create({.sid = "s"}, soon())).id.value, "0a-1");
}

TEST_F(DaytonaProvider, ANameThatSomebodyElseHasIsNotTaken) {
  cloud.answer({refused(409, "Sandbox with name sandkey-s already exists"),
                {.body = R"({"id":"9","name":"sandkey-s","state":"started","labels":{}})"}});
  EXPECT_THAT(failure(provider->create({.sid = "s"}, soon())),
              AllOf(StartsWith("conflict: creating a sandbox at daytona: "), HasSubstr("already exists")));
  EXPECT_THAT(cloud.lines(), SizeIs(2));
}

TEST_F(DaytonaProvider, WhatIsBrokenMakesRoomForANewOne) {
  cloud.answer({refused(409, "Sandbox with name sandkey-s already exists"),
                {.body = sandbox("error")},
                {.body = sandbox("destroying")},
                {.body = sandbox("started")}});
  EXPECT_EQ(wait(provider->create({.sid = "s"}, soon())).id.value, "0a-1");
  EXPECT_THAT(cloud.lines(),
              ElementsAre("POST /api/sandbox", "GET /api/sandbox/sandkey-s", "DELETE /api/sandbox/0a-1",
                          "POST /api/sandbox", "GET /api/sandbox/0a-1"));
}

TEST_F(DaytonaProvider, OneThatCannotStartIsRemovedAndItsReasonTold) {
  cloud.answer({{.body = sandbox("pending_build")},
                {.body = sandbox("build_failed", R"(,"errorReason":"no such image: debian:99")")},
                {.body = sandbox("destroying")}});
  EXPECT_THAT(failure(provider->create({.sid = "s", .image = "debian:99"}, soon())),
              AllOf(StartsWith("sandbox_dead: "), HasSubstr("build_failed: no such image: debian:99")));
  EXPECT_EQ(cloud.lines().back(), "DELETE /api/sandbox/0a-1");
}

TEST_F(DaytonaProvider, FindsByNameAndElseByLabel) {
  cloud.answer({{.body = sandbox("stopped")}});
  EXPECT_EQ(wait(provider->find("s", soon()))->value, "0a-1");
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /api/sandbox/sandkey-s"));
  cloud.forget_requests();
  cloud.answer({refused(404, "Sandbox with ID or name sandkey-s not found"),
                {.body = R"({"items":[)" + sandbox("destroyed") + R"(],"nextCursor":"a="})"},
                {.body = R"({"items":[)" + sandbox("started") + R"(],"nextCursor":null})"}});
  EXPECT_EQ(wait(provider->find("s", soon()))->value, "0a-1");
  EXPECT_THAT(
      cloud.lines(),
      ElementsAre("GET /api/sandbox/sandkey-s",
                  "GET /api/sandbox?labels=%7B%22sandkey-sid%22%3A%22s%22%7D&limit=200&sort=createdAt&"
                  "order=asc",
                  HasSubstr("&cursor=a%3D")));
}

TEST_F(DaytonaProvider, ASessionOfAnyNameHasOneInAPath) {
  cloud.answer({refused(404, "not found"), {.body = R"({"items":[],"nextCursor":null})"}});
  (void)wait(provider->find("a b/../ü", soon()));
  const std::string first = cloud.lines().front();
  EXPECT_THAT(first, testing::MatchesRegex("GET /api/sandbox/sandkey--[0-9a-f]+"));
}

TEST_F(DaytonaProvider, StatesAreWhatTheyMeanToASession) {
  const auto info_of = [&](const std::string& body) {
    cloud.answer({{.body = body}});
    return wait(provider->describe({"0a-1"}, soon()));
  };
  const SandboxInfo running = info_of(sandbox("started"));
  EXPECT_EQ(running.state, SandboxState::running);
  EXPECT_EQ(running.sid, "s");
  EXPECT_EQ(running.lease, 300s);
  ASSERT_TRUE(running.lease_end && running.created);
  EXPECT_EQ(*running.lease_end - *running.created, 6min) << "five minutes after the last traffic";
  EXPECT_TRUE(running.kept);
  EXPECT_EQ(running.image, "daytona-small");
  for (const char* state : {"stopped", "archived", "paused"}) {
    EXPECT_EQ(info_of(sandbox(state)).state, SandboxState::paused) << state;
    EXPECT_FALSE(info_of(sandbox(state)).lease_end) << state;
  }
  for (const char* state :
       {"creating", "restoring", "starting", "stopping", "pulling_snapshot", "resizing"}) {
    EXPECT_EQ(info_of(sandbox(state)).state, SandboxState::starting) << state;
  }
  for (const char* state : {"error", "build_failed", "destroyed", "destroying"}) {
    EXPECT_EQ(info_of(sandbox(state)).state, SandboxState::ended) << state;
  }
  const SandboxInfo ill = info_of(sandbox("error", R"(,"recoverable":true,"errorReason":"disk full")"));
  EXPECT_EQ(ill.state, SandboxState::paused);
  EXPECT_THAT(ill.remarks, ElementsAre("error: disk full"));
}

TEST_F(DaytonaProvider, ResumingStartsWhateverSleepsAndWaits) {
  cloud.answer({{.body = sandbox("stopping")},
                {.body = sandbox("stopped")},
                refused(409, "Sandbox state change in progress"),
                {.body = sandbox("stopped")},
                {.body = sandbox("starting")},
                {.body = sandbox("started")},
                {.body = sandbox("started")}});
  wait(provider->resume({"0a-1"}, soon()));
  EXPECT_THAT(cloud.lines(),
              ElementsAre("GET /api/sandbox/0a-1", "GET /api/sandbox/0a-1", "POST /api/sandbox/0a-1/start",
                          "GET /api/sandbox/0a-1", "POST /api/sandbox/0a-1/start", "GET /api/sandbox/0a-1",
                          "POST /api/sandbox/0a-1/autodelete/0"));
}

TEST_F(DaytonaProvider, WhatCanBeRecoveredIsOnce) {
  const std::string ill = sandbox("error", R"(,"recoverable":true,"errorReason":"disk full")");
  cloud.answer({{.body = ill}, {.body = sandbox("starting")}, {.body = ill}});
  EXPECT_THAT(failure(provider->resume({"0a-1"}, soon())),
              AllOf(StartsWith("sandbox_dead: "), HasSubstr("its state is error: disk full")));
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /api/sandbox/0a-1", "POST /api/sandbox/0a-1/recover",
                                         "GET /api/sandbox/0a-1"));
}

TEST_F(DaytonaProvider, PausingKeepsWhatStoppingWouldDelete) {
  cloud.answer({{.body = sandbox("started")},
                {.body = sandbox("started")},
                {.body = sandbox("stopping")},
                {.body = sandbox("stopped")}});
  wait(provider->pause({"0a-1"}, soon()));
  EXPECT_THAT(cloud.lines(), ElementsAre("POST /api/sandbox/0a-1/autodelete/10080", "GET /api/sandbox/0a-1",
                                         "POST /api/sandbox/0a-1/stop", "GET /api/sandbox/0a-1"));
  cloud.forget_requests();
  cloud.answer({{.body = sandbox("archived")}});
  wait(provider->pause({"0a-1"}, soon()));
  EXPECT_THAT(cloud.lines(), SizeIs(2)) << "what sleeps is not stopped";
}

TEST_F(DaytonaProvider, RenewingCountsFromNow) {
  cloud.answer({{.body = sandbox("started")}, {.body = sandbox("started")}, {.status = 201, .body = ""}});
  const auto end = wait(provider->renew({"0a-1"}, 330s, soon()));
  EXPECT_LT(std::chrono::abs(end - cloud.engine().system_now() - 6min), 5s);
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /api/sandbox/0a-1", "POST /api/sandbox/0a-1/autostop/6",
                                         "POST /api/sandbox/0a-1/last-activity"));
}

TEST_F(DaytonaProvider, RenewingShortensNothing) {
  cloud.answer({{.body = sandbox("started")}, {.status = 201, .body = ""}});
  const auto end = wait(provider->renew({"0a-1"}, 90s, soon()));
  EXPECT_LT(std::chrono::abs(end - cloud.engine().system_now() - 5min), 5s);
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /api/sandbox/0a-1", "POST /api/sandbox/0a-1/last-activity"));
}

TEST_F(DaytonaProvider, DestroyingWaitsForWhatIsUnderWay) {
  cloud.answer({refused(409, "Sandbox state change in progress"), {.body = sandbox("destroying")}});
  wait(provider->destroy({"0a-1"}, soon()));
  EXPECT_THAT(cloud.lines(), ElementsAre("DELETE /api/sandbox/0a-1", "DELETE /api/sandbox/0a-1"));
  cloud.answer({refused(404, "Sandbox with ID or name 0a-1 not found")});
  wait(provider->destroy({"0a-1"}, soon()));
}

TEST_F(DaytonaProvider, PortsNeedTheirToken) {
  cloud.answer({{.body = R"({"sandboxId":"0a-1","url":"https://8000-0a-1.proxy.example","token":"opens"})"}});
  const ExposedPort port = wait(provider->expose({"0a-1"}, 8000, soon()));
  EXPECT_EQ(port.url, "https://8000-0a-1.proxy.example");
  EXPECT_EQ(port.headers.at("X-Daytona-Preview-Token").expose(), "opens");
  const AgentAccess agent = wait(provider->agent_endpoint({"0a-1"}, soon()));
  EXPECT_EQ(agent.endpoint.to_string(), "https://8000-0a-1.proxy.example");
  EXPECT_TRUE(agent.headers.contains("X-Daytona-Preview-Token"));
  EXPECT_FALSE(agent.session_key.empty());
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /api/sandbox/0a-1/ports/8000/preview-url",
                                         "GET /api/sandbox/0a-1/ports/49990/preview-url"));
  cloud.answer({{.body = R"({"url":"https://8000-0a-1.proxy.example"})"}});
  EXPECT_THAT(failure(provider->expose({"0a-1"}, 8000, soon())), StartsWith("protocol: "))
      << "what everybody could reach is not exposed";
}

// One server is the API and, below /toolbox, the toolbox's proxy, and below /agent the port's.
TEST_F(DaytonaProvider, TheAgentGoesInThroughTheToolboxWithTheSandboxsOwnToken) {
  const std::string preview = R"({"url":")" + cloud.url() + R"(/agent","token":"opens"})";
  cloud.answer({{.body = sandbox("started", R"(,"toolboxProxyUrl":")" + cloud.url() + R"(/toolbox/")")},
                {.body = preview},
                {.status = 307, .body = ""},
                {.body = R"({"exitCode":0,"result":"absent gzip\n"})"},
                {.body = R"({"dir":"/home/daytona"})"},
                {.body = R"({"files":[]})"},
                {.body = R"({"exitCode":0,"result":"started\n"})"}});
  wait(provider->start_agent({"0a-1"}, soon()));
  EXPECT_THAT(cloud.lines(),
              ElementsAre("GET /api/sandbox/0a-1", "GET /api/sandbox/0a-1/ports/49990/preview-url",
                          "GET /agent/sandkey/v1/hello", "POST /toolbox/0a-1/process/execute",
                          "GET /toolbox/0a-1/user-home-dir", "POST /toolbox/0a-1/files/bulk-upload",
                          "POST /toolbox/0a-1/process/execute"));
  const std::vector<std::string> heads = cloud.heads();
  for (std::size_t i = 2; i < heads.size(); ++i) {
    EXPECT_THAT(heads[i], AllOf(HasSubstr("X-Daytona-Preview-Token: opens"), Not(HasSubstr("dtn_")))) << i;
  }
  EXPECT_THAT(cloud.bodies()[3],
              AllOf(HasSubstr("exec sh -c "), HasSubstr("</dev/null"), HasSubstr("SANDKEY_KEY")));
  EXPECT_THAT(cloud.bodies()[5], HasSubstr("/home/daytona/.sandkey/agent-"));
}

TEST_F(DaytonaProvider, AnAgentThatRunsIsLeftAlone) {
  cloud.answer({{.body = sandbox("started")},
                {.body = R"({"url":")" + cloud.url() + R"(/agent","token":"opens"})"},
                {.body = "{}"}});
  wait(provider->start_agent({"0a-1"}, soon()));
  EXPECT_THAT(cloud.lines(), SizeIs(3));
}

TEST_F(DaytonaProvider, WhatARefusalMeansIsSaid) {
  const auto refusal_of = [&](int status, const std::string& message) {
    cloud.answer({refused(status, message)});
    return failure(provider->create({.sid = "s"}, soon()));
  };
  EXPECT_THAT(refusal_of(400, "Total CPU limit exceeded. Maximum allowed: 10."),
              StartsWith("quota_exceeded: "));
  EXPECT_THAT(refusal_of(400, "CPU request 9 exceeds maximum allowed per sandbox (4)"),
              StartsWith("quota_exceeded: "));
  EXPECT_THAT(refusal_of(400, "No available runners"), StartsWith("capacity_unavailable: "));
  EXPECT_THAT(refusal_of(400, "Snapshot x not found"),
              AllOf(StartsWith("invalid_argument: "), HasSubstr("Snapshot x")));
  EXPECT_THAT(refusal_of(404, "Region not found"),
              AllOf(StartsWith("invalid_argument: "), HasSubstr("daytona_target")));
  EXPECT_THAT(refusal_of(403, "Organization is suspended: unpaid"),
              AllOf(StartsWith("permission_denied: "), HasSubstr("the organization is suspended")));
  EXPECT_THAT(refusal_of(403, "Access denied"),
              AllOf(StartsWith("permission_denied: "), HasSubstr("the key lacks the permission")));
}

TEST_F(DaytonaProvider, AnIdThatIsNoneIsNotFoundWithoutAsking) {
  for (const char* id : {"", "../x", "a/b", "a b", "i?x=1", ".."}) {
    EXPECT_THAT(failure(provider->describe({id}, soon())), StartsWith("not_found: ")) << id;
  }
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(DaytonaProvider, WhatItCannotGiveIsRefusedBeforeAnythingIsMade) {
  EXPECT_THAT(failure(provider->create({.workspace = "/tmp"}, soon())),
              AllOf(StartsWith("unsupported: creating a sandbox at daytona: "), HasSubstr("sandkey cp")));
  EXPECT_THAT(failure(provider->create({.memory_bytes = 1}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->create({.image = "daytona-small", .disk_bytes = 1}, soon())),
              StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->create({.processes = 1}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(DaytonaProvider, NonsenseIsAProtocolError) {
  cloud.answer({{.body = "[]"}});
  EXPECT_THAT(failure(provider->list(soon())), StartsWith("protocol: "));
  cloud.answer({{.body = R"({"items":[{"id":7}]})"}});
  EXPECT_THAT(failure(provider->list(soon())), StartsWith("protocol: "));
  cloud.answer({{.body = R"({"items":[],"nextCursor":"again"})"}});
  EXPECT_THAT(failure(provider->list(soon())), HasSubstr("it has no end"));
}

}  // namespace
}  // namespace sandkey::daytona
