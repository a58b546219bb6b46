// What goes over the wire, against a scripted API. How it behaves is the contract suite's, under the
// emulator.
#include "sandkey/providers/runloop/provider.h"

#include "sandkey/accounts/scripted_cloud.h"
#include "sandkey/base/json.h"
#include "sandkey/providers/runloop/devbox_shell.h"
#include "sandkey/providers/runloop/devboxes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace sandkey::runloop {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::AnyOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr char kMe[] = R"({"id":"acc_1","account_status":"ACCOUNT_STATUS_ENABLED"})";
constexpr char kAll[] = "GET /v1/devboxes?limit=500&include_total_count=false";

std::string devbox(const std::string& id, const std::string& status = "running",
                   const std::string& more = "") {
  return R"({"id":")" + id + R"(","status":")" + status +
         R"(","create_time_ms":1767225600000,"end_time_ms":null,"capabilities":[],)"
         R"("launch_parameters":{"after_idle":{"idle_time_seconds":60,"on_idle":"shutdown"}},)"
         R"("metadata":{"sandkey":"true","sandkey-sid":"s","sandkey-attempt":"0000000000000000",)"
         R"("sandkey-kept":"true","sandkey-seed":"seed"},)"
         R"("tunnel":{"tunnel_key":"key1","auth_mode":"authenticated","auth_token":"token1"},)"
         R"("state_transitions":[{"status":"running","transition_time_ms":1767225601000}])" +
         more + "}";
}

std::string list(const std::vector<std::string>& devboxes, bool more = false) {
  std::string items;
  for (const std::string& item : devboxes) items += (items.empty() ? "" : ",") + item;
  return R"({"devboxes":[)" + items + R"(],"has_more":)" + (more ? "true" : "false") + "}";
}

std::string header(const std::string& head, const std::string& name) {
  const std::size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + name.size() + 4;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

class RunloopProvider : public testing::Test {
 protected:
  RunloopProvider() {
    cloud.variables["RUNLOOP_API_KEY"] = "ak_0123456789abcdef";
    cloud.variables["RUNLOOP_BASE_URL"] = cloud.url();
    sign_in(kMe);
  }
  void sign_in(const std::string& me) {
    cloud.answer({{.body = me}});
    cloud.skew = cloud.skew.load() + kAcceptanceLasts + 1s;
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
  Devboxes devboxes() { return Devboxes(std::dynamic_pointer_cast<RestAccount>(account)); }
  Deadline soon() { return cloud.engine().in(10s); }

  ScriptedCloud cloud{*kEntry.cloud};
  std::shared_ptr<AuthenticatedAccount> account;
  std::shared_ptr<Provider> provider;
};

TEST_F(RunloopProvider, CreatesAndLooksForAnOlderTwin) {
  cloud.answer({{.body = devbox("dbx_a", "provisioning")}, {.body = list({devbox("dbx_a")})}});
  EXPECT_EQ(wait(provider->create({.sid = "s 1", .environment = {{"A", "b"}}}, soon())).id.value, "dbx_a");
  EXPECT_EQ(cloud.bodies().front(),
            R"({"name":"sandkey-s-1","environment_variables":{"A":"b"},"metadata":{"sandkey":"true",)"
            R"("sandkey-attempt":"0000000000000000","sandkey-directory":"","sandkey-kept":"false",)"
            R"("sandkey-lease":"300","sandkey-seed":"00000000000000000000000000000000","sandkey-sid":"s 1"},)"
            R"("launch_parameters":{"after_idle":{"idle_time_seconds":300,"on_idle":"shutdown"}},)"
            R"("tunnel":{"auth_mode":"authenticated","http_keep_alive":false}})");
  EXPECT_THAT(cloud.lines(), ElementsAre("POST /v1/devboxes", kAll));
  EXPECT_EQ(header(cloud.heads()[0], "x-request-id"), "sandkey-00000000000000000000000000000000");
  EXPECT_EQ(header(cloud.heads()[1], "x-request-id"), "");
}

TEST_F(RunloopProvider, AllThatADevboxMayBeLaunchedWithIsSaid) {
  cloud.answer({{.body = devbox("dbx_a")}});
  (void)wait(devboxes().create({.name = "n",
                                .launch = {.size = "CUSTOM_SIZE",
                                           .cpu_cores = 0.5,
                                           .memory_gib = 1,
                                           .disk_gib = 2,
                                           .ports = {8000},
                                           .keep_alive = 60s,
                                           .after_idle = IdleRule{.time = 30s, .action = "suspend"},
                                           .launch_commands = {"true"}}},
                               "request", soon()));
  const json::value sent = parse_json(cloud.bodies().front(), "the request");
  const json::value launch = sent.at("launch_parameters");
  EXPECT_EQ(launch.at("resource_size_request").as_string(), "CUSTOM_SIZE");
  EXPECT_EQ(launch.at("custom_cpu_cores").as_double(), 0.5);
  EXPECT_EQ(launch.at("custom_gb_memory").as_int64(), 1);
  EXPECT_EQ(launch.at("custom_disk_size").as_int64(), 2);
  EXPECT_EQ(launch.at("available_ports"), json::value(json::array{8000}));
  EXPECT_EQ(launch.at("keep_alive_time_seconds").as_int64(), 60);
  EXPECT_EQ(launch.at("after_idle").at("on_idle").as_string(), "suspend");
  EXPECT_EQ(launch.at("launch_commands"), json::value(json::array{"true"}));
}

TEST_F(RunloopProvider, ImagesAreBlueprintsOrSnapshots) {
  const auto sent_for = [&](const std::string& image) {
    cloud.forget_requests();
    cloud.answer({{.body = devbox("dbx_a")}, {.body = list({})}});
    (void)wait(provider->create({.sid = "s", .image = image}, soon()));
    return cloud.bodies().front();
  };
  EXPECT_THAT(sent_for("bpt_1"), HasSubstr(R"("blueprint_id":"bpt_1")"));
  EXPECT_THAT(sent_for("snp_1"), HasSubstr(R"("snapshot_id":"snp_1")"));
  EXPECT_THAT(sent_for("mine"), HasSubstr(R"("blueprint_name":"mine")"));
  EXPECT_THAT(sent_for(""), Not(AnyOf(HasSubstr("blueprint"), HasSubstr("snapshot"))));
  cloud.answer({{.status = 400, .body = R"({"error":"bad_request","message":"no such thing"})"}});
  EXPECT_THAT(
      failure(provider->create({.sid = "s", .image = "nope"}, soon())),
      StartsWith(
          "invalid_argument: creating a sandbox at runloop from the blueprint nope: it does not accept"));
}

TEST_F(RunloopProvider, ASizeIsOneOfRunloops) {
  const auto sent_for = [&](SandboxIntent intent) {
    cloud.forget_requests();
    cloud.answer({{.body = devbox("dbx_a")}, {.body = list({})}});
    (void)wait(provider->create(std::move(intent), soon()));
    return cloud.bodies().front();
  };
  constexpr std::uint64_t kGib = std::uint64_t{1} << 30;
  EXPECT_THAT(
      sent_for({.sid = "s", .memory_bytes = kGib}),
      HasSubstr(
          R"("resource_size_request":"CUSTOM_SIZE","custom_cpu_cores":5E-1,"custom_gb_memory":1,"after_idle")"));
  EXPECT_THAT(sent_for({.sid = "s", .memory_bytes = 30 * kGib, .disk_bytes = 16 * kGib}),
              HasSubstr(R"("custom_cpu_cores":6,"custom_gb_memory":30,"custom_disk_size":16)"));
  EXPECT_THAT(sent_for({.sid = "s", .disk_bytes = 2 * kGib}),
              HasSubstr(R"("custom_cpu_cores":1,"custom_gb_memory":4,"custom_disk_size":2)"));
  cloud.forget_requests();
  for (const std::uint64_t bytes : {std::uint64_t{0}, kGib + 1, 3 * kGib, 66 * kGib}) {
    EXPECT_THAT(failure(provider->create({.memory_bytes = bytes}, soon())),
                AllOf(StartsWith("invalid_argument: "), HasSubstr("1G or an even number")))
        << bytes;
  }
  EXPECT_THAT(failure(provider->create({.disk_bytes = kGib}, soon())), StartsWith("invalid_argument: "));
  EXPECT_THAT(cloud.lines(), IsEmpty());
}

TEST_F(RunloopProvider, AnAccountsSettingsDecideWhatTheSessionDoesNot) {
  OpenHandsConfig config;
  const auto sent_for = [&](SandboxIntent intent) {
    cloud.answer({{.body = kMe}});
    const auto own = open(cloud.engine(), config, cloud.sign_in(config));
    cloud.forget_requests();
    cloud.answer({{.body = devbox("dbx_a")}, {.body = list({})}});
    (void)wait(own->create(std::move(intent), soon()));
    return cloud.bodies().front();
  };
  config.set("runloop_size", Secret("LARGE"), false);
  config.set("runloop_launch_command", Secret("/opt/prepare"), false);
  config.set("runloop_idle_action", Secret("suspend"), false);
  EXPECT_THAT(
      sent_for({.sid = "s", .keep = true}),
      HasSubstr(
          R"("launch_parameters":{"resource_size_request":"LARGE","after_idle":{"idle_time_seconds":300,)"
          R"("on_idle":"suspend"},"launch_commands":["/opt/prepare"]})"));
  EXPECT_THAT(sent_for({.sid = "s"}), HasSubstr(R"("on_idle":"shutdown")"));  // nobody would wake it
  EXPECT_THAT(sent_for({.sid = "s", .memory_bytes = std::uint64_t{8} << 30}),
              HasSubstr(R"("resource_size_request":"CUSTOM_SIZE")"));
  config.set("runloop_size", Secret("HUGE"), false);
  EXPECT_THROW(sent_for({.sid = "s"}), Error);
  EXPECT_THAT(cloud.lines(), IsEmpty());
}

TEST_F(RunloopProvider, OfTwoTwinsTheOlderStays) {
  cloud.answer({{.body = devbox("dbx_a")},
                {.body = list({devbox("dbx_a"), devbox("dbx_b", "suspended", R"(,"create_time_ms":1)")})},
                {.body = devbox("dbx_a", "shutdown")}});
  const CreatedSandbox created = wait(provider->create({.sid = "s"}, soon()));
  EXPECT_EQ(created.id.value, "dbx_b");
  EXPECT_FALSE(created.own);
  EXPECT_EQ(cloud.lines().back(), "POST /v1/devboxes/dbx_a/shutdown");
}

TEST_F(RunloopProvider, ALostAnswerIsLookedForBeforeAnythingIsMadeAgain) {
  cloud.answer({{.status = 502, .body = "bad gateway"},
                {.body = list({})},
                {.body = list({devbox("dbx_a", "provisioning")})}});
  EXPECT_EQ(wait(provider->create({.sid = "s"}, soon())).id.value, "dbx_a");
  EXPECT_THAT(cloud.lines(), ElementsAre("POST /v1/devboxes", kAll, kAll, kAll));
}

TEST_F(RunloopProvider, WhatIsMadeAgainIsTheSameRequest) {
  cloud.random_step = 1;
  const std::string attempt = R"(,"metadata":{"sandkey-attempt":"0000000000000000"})";
  std::vector<ScriptedAnswer> answers{{.status = 504, .body = ""}};
  for (int look = 0; look < 5; ++look) answers.push_back({.body = list({})});
  answers.push_back({.body = devbox("dbx_a")});
  answers.push_back(
      {.body = list({devbox("dbx_a", "running", attempt), devbox("dbx_b", "running", attempt)})});
  answers.push_back({.body = devbox("dbx_b", "shutdown")});
  answers.push_back({.body = list({devbox("dbx_a")})});
  cloud.answer(answers);
  EXPECT_EQ(wait(provider->create({.sid = "s"}, soon())).id.value, "dbx_a");
  const std::vector<std::string> heads = cloud.heads();
  EXPECT_EQ(header(heads[0], "x-request-id"), header(heads[6], "x-request-id"));
  EXPECT_NE(header(heads[0], "x-request-id"), header(heads[8], "x-request-id"));
  EXPECT_EQ(cloud.bodies()[0], cloud.bodies()[6]);
  EXPECT_EQ(cloud.lines()[8], "POST /v1/devboxes/dbx_b/shutdown");
}

TEST_F(RunloopProvider, ACreateThatCannotBeSettledLeavesNothing) {
  cloud.answer({{.body = devbox("dbx_a")},
                {.status = 403, .body = R"({"message":"no list"})"},
                {.body = devbox("dbx_a", "shutdown")}});
  EXPECT_THAT(failure(provider->create({.sid = "s"}, soon())), StartsWith("permission_denied: listing"));
  EXPECT_EQ(cloud.lines().back(), "POST /v1/devboxes/dbx_a/shutdown");
}

TEST_F(RunloopProvider, ARepeatedRequestKeepsItsId) {
  cloud.random_step = 1;
  cloud.answer({{.status = 503, .body = ""}, {.status = 429, .body = ""}, {.body = "{}"}});
  wait(devboxes().keep_alive("dbx_a", soon()));
  const std::vector<std::string> heads = cloud.heads();
  ASSERT_THAT(heads, SizeIs(3));
  for (const std::string& head : heads) {
    EXPECT_EQ(header(head, "x-request-id"), header(heads[0], "x-request-id"));
    EXPECT_EQ(header(head, "Content-Type"), "application/json");
    EXPECT_EQ(header(head, "Content-Length"), "0");
  }
  wait(devboxes().keep_alive("dbx_a", soon()));
  EXPECT_NE(header(cloud.heads().back(), "x-request-id"), header(heads[0], "x-request-id"));
}

TEST_F(RunloopProvider, ListsAllPagesAndLeavesOutWhatIsNotOurs) {
  const std::string foreign = R"({"id":"dbx_x","status":"running","metadata":{},"create_time_ms":1})";
  std::vector<ScriptedAnswer> answers{{.body = list({foreign}, true)}};
  answers.push_back({.body = list({})});  // queued
  answers.push_back({.body = list({})});
  answers.push_back({.body = list({})});
  answers.push_back({.body = list({foreign, devbox("dbx_a")}, true)});  // running
  answers.push_back({.body = list({devbox("dbx_b", "running", R"(,"create_time_ms":1)")})});
  answers.push_back({.body = list({})});
  answers.push_back({.body = list({devbox("dbx_c", "suspended")})});
  answers.push_back({.body = list({})});
  answers.push_back({.body = list({devbox("dbx_c")})});  // woken meanwhile
  cloud.answer(answers);
  const std::vector<SandboxInfo> all = wait(provider->list(soon()));
  std::vector<std::string> ids;
  for (const SandboxInfo& info : all) ids.push_back(info.id.value);
  EXPECT_THAT(ids, ElementsAre("dbx_b", "dbx_a", "dbx_c"));
  const auto in = [](const std::string& status) { return kAll + ("&status=" + status); };
  EXPECT_THAT(cloud.lines(), ElementsAre(kAll, in("queued"), in("provisioning"), in("initializing"),
                                         in("running"), in("running") + "&starting_after=dbx_a",
                                         in("suspending"), in("suspended"), in("resuming"), in("running")));
}

TEST_F(RunloopProvider, DecodesWhatIsToldOfOne) {
  cloud.answer({{.body = devbox("dbx_a", "running", R"(,"blueprint_id":"bpt_1")")}});
  const SandboxInfo info = wait(provider->describe({"dbx_a"}, soon()));
  EXPECT_EQ(info.sid, "s");
  EXPECT_EQ(info.state, SandboxState::running);
  EXPECT_TRUE(info.kept);
  EXPECT_EQ(info.image, "bpt_1");
  EXPECT_EQ(info.lease, 60s);
  EXPECT_TRUE(info.lease_end.has_value());
  const auto state = [&](const std::string& status) {
    cloud.answer({{.body = devbox("dbx_a", status)}});
    const SandboxInfo told = wait(provider->describe({"dbx_a"}, soon()));
    EXPECT_EQ(told.lease_end.has_value(), status == "running") << status;
    return told.state;
  };
  for (const char* status : {"scheduled", "queued", "provisioning", "initializing", "resuming", "unheard"})
    EXPECT_EQ(state(status), SandboxState::starting) << status;
  EXPECT_EQ(state("suspending"), SandboxState::paused);
  EXPECT_EQ(state("suspended"), SandboxState::paused);
}

TEST_F(RunloopProvider, SaysWhyOneHasEnded) {
  cloud.answer({{.body = devbox("dbx_a", "shutdown", R"(,"shutdown_reason":"idle")")}});
  EXPECT_EQ(failure(provider->describe({"dbx_a"}, soon())),
            "not_found: looking at the sandbox dbx_a of runloop: it has ended: nobody renewed its lease");
  cloud.answer({{.body = devbox("dbx_a", "failure", R"(,"failure_reason":"out_of_memory")")}});
  EXPECT_EQ(failure(provider->describe({"dbx_a"}, soon())),
            "sandbox_dead: looking at the sandbox dbx_a of runloop: the sandbox dbx_a failed: it ran out of "
            "memory");
  cloud.answer(
      {{.body =
            R"({"id":"dbx_a","status":"failure","state_transitions":[{"status":"failure","failure_reason":"new"}]})"}});
  EXPECT_THAT(failure(provider->describe({"dbx_a"}, soon())), HasSubstr("failed: Runloop says: new"));
}

TEST_F(RunloopProvider, A400MeansThatThereIsNone) {
  cloud.answer({{.status = 400, .body = R"({"message":"Devbox not found"})"}});
  EXPECT_THAT(failure(provider->describe({"dbx_a"}, soon())), StartsWith("not_found: looking at"));
  EXPECT_THAT(failure(provider->renew({"dbx_a"}, 60s, soon())), StartsWith("not_found: "));
  EXPECT_THAT(failure(devboxes().suspend("dbx_a", soon())), StartsWith("not_found: "));
  wait(provider->destroy({"dbx_a"}, soon()));
}

TEST_F(RunloopProvider, A400OfOneThatIsThereIsWhatItSays) {
  cloud.answer({{.status = 400, .body = R"({"message":"cannot suspend"})"}, {.body = devbox("dbx_a")}});
  EXPECT_THAT(failure(devboxes().suspend("dbx_a", soon())),
              AllOf(StartsWith("invalid_argument: pausing"), HasSubstr("cannot suspend")));
  cloud.answer({{.status = 400, .body = "{}"},
                {.body = devbox("dbx_a", "shutdown", R"(,"shutdown_reason":"entrypoint_exit")")}});
  EXPECT_EQ(failure(devboxes().keep_alive("dbx_a", soon())),
            "sandbox_dead: renewing the sandbox dbx_a of runloop: the sandbox dbx_a has ended: its "
            "entrypoint ended");
}

TEST_F(RunloopProvider, WaitsByQuestionsThatRunloopHolds) {
  cloud.answer({{.status = 408, .body = R"({"message":"timed out"})"},
                {.body = devbox("dbx_a", "queued")},
                {.body = devbox("dbx_a")}});
  const Devbox running = wait(devboxes().wait_until("dbx_a", Status::running, soon()));
  EXPECT_EQ(running.tunnel->key, "key1");
  EXPECT_THAT(cloud.lines(), AllOf(SizeIs(3), Each("POST /v1/devboxes/dbx_a/wait_for_status")));
  EXPECT_EQ(cloud.bodies().front(), R"({"statuses":["running","failure","shutdown"],"timeout_seconds":9})");
}

TEST_F(RunloopProvider, AWaitEndsWithTheDevboxOrItsTime) {
  cloud.answer({{.body = devbox("dbx_a", "failure", R"(,"failure_reason":"execution_failed")")}});
  EXPECT_EQ(failure(devboxes().wait_until("dbx_a", Status::running, soon())),
            "sandbox_dead: waiting for the sandbox dbx_a of runloop: the sandbox dbx_a failed: its "
            "entrypoint or one "
            "of its launch commands failed");
  cloud.answer({{.body = devbox("dbx_a", "provisioning")}});
  EXPECT_EQ(failure(devboxes().wait_until("dbx_a", Status::running, cloud.engine().in(200ms))),
            "deadline_exceeded: waiting for the sandbox dbx_a of runloop: its time is up; it is still "
            "provisioning");
}

TEST_F(RunloopProvider, AWaitOutlastsWhatBreaksButNotForEver) {
  cloud.answer({{.status = 503, .body = ""}, {.status = 502, .body = ""}, {.body = devbox("dbx_a")}});
  EXPECT_EQ(wait(devboxes().wait_until("dbx_a", Status::running, soon())).id, "dbx_a");
  cloud.forget_requests();
  cloud.answer({{.status = 503, .body = ""}});
  EXPECT_THAT(failure(devboxes().wait_until("dbx_a", Status::running, soon())), StartsWith("unavailable: "));
  EXPECT_THAT(cloud.lines(), SizeIs(6));
}

TEST_F(RunloopProvider, PausingWhatIsPausedIsNoFailure) {
  cloud.answer({{.status = 409, .body = R"({"message":"already suspended"})"},
                {.body = devbox("dbx_a", "suspending")},
                {.body = devbox("dbx_a", "suspending")},
                {.body = devbox("dbx_a", "suspended")}});
  wait(provider->pause({"dbx_a"}, soon()));
  EXPECT_EQ(cloud.lines().back(), "POST /v1/devboxes/dbx_a/wait_for_status");
  cloud.answer({{.status = 409, .body = R"({"message":"being made"})"}, {.body = devbox("dbx_a")}});
  EXPECT_THAT(failure(provider->pause({"dbx_a"}, soon())),
              AllOf(StartsWith("conflict: pausing the sandbox dbx_a of runloop"), HasSubstr("being made")));
}

TEST_F(RunloopProvider, AttachingWakesWhatIsSuspended) {
  cloud.answer({{.body = devbox("dbx_a", "suspending")},
                {.body = devbox("dbx_a", "suspended")},
                {.body = devbox("dbx_a", "suspended")},
                {.body = devbox("dbx_a")}});
  (void)wait(provider->agent_endpoint({"dbx_a"}, soon()));
  EXPECT_THAT(cloud.lines(),
              ElementsAre("GET /v1/devboxes/dbx_a", "POST /v1/devboxes/dbx_a/wait_for_status",
                          "POST /v1/devboxes/dbx_a/resume", "POST /v1/devboxes/dbx_a/wait_for_status"));
  cloud.forget_requests();
  cloud.answer({{.body = devbox("dbx_a")}});
  wait(provider->resume({"dbx_a"}, soon()));
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /v1/devboxes/dbx_a"));
}

TEST_F(RunloopProvider, DestroyingWhatIsGoneIsNoFailure) {
  cloud.answer({{.status = 404, .body = R"({"message":"no such devbox"})"}});
  wait(provider->destroy({"dbx_a"}, soon()));
  EXPECT_THAT(cloud.lines(), ElementsAre("POST /v1/devboxes/dbx_a/shutdown"));
}

TEST_F(RunloopProvider, AnIdThatIsNoneIsNotFoundWithoutAsking) {
  for (const char* id : {"", "../x", "a/b", "i?x=1", "\xC3\xA4"}) {
    EXPECT_THAT(failure(provider->describe({id}, soon())), StartsWith("not_found: ")) << id;
  }
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(RunloopProvider, PortsNeedTheTunnelsToken) {
  cloud.answer({{.body = devbox("dbx_a")}});
  const ExposedPort port = wait(provider->expose({"dbx_a"}, 8000, soon()));
  const std::string own_port = cloud.url().substr(cloud.url().rfind(':'));
  EXPECT_EQ(port.url, "http://8000-key1.tunnel.localhost" + own_port);
  EXPECT_EQ(port.headers.at("X-Runloop-Tunnel-Authorization").expose(), "Bearer token1");
  const AgentAccess agent = wait(provider->agent_endpoint({"dbx_a"}, soon()));
  EXPECT_EQ(agent.endpoint.to_string(), "http://49990-key1.tunnel.localhost" + own_port);
  EXPECT_TRUE(agent.headers.contains("X-Runloop-Tunnel-Authorization"));
  EXPECT_THAT(cloud.lines(), SizeIs(1));
}

TEST_F(RunloopProvider, WhoMayUseAPortDoesNotHaveTheAgentsKey) {
  const auto key_with = [&](const std::string& body) {
    cloud.answer({{.body = body}});
    const auto fresh = open(cloud.engine(), {}, account);
    return std::string(wait(fresh->agent_endpoint({"dbx_a"}, soon())).session_key.expose());
  };
  const std::string key = key_with(devbox("dbx_a"));
  EXPECT_EQ(key_with(devbox("dbx_a")), key);  // from any process
  std::string other = devbox("dbx_a");
  other.replace(other.find("\"seed\""), 6, "\"else\"");
  EXPECT_NE(key_with(other), key);  // though the token is the same
}

TEST_F(RunloopProvider, ATunnelIsOpenedWhereThereIsNone) {
  const std::string without = R"({"id":"dbx_a","status":"running","metadata":{}})";
  cloud.answer({{.body = without},
                {.body = R"({"tunnel_key":"key2","auth_mode":"authenticated","auth_token":"token2"})"}});
  EXPECT_THAT(wait(provider->expose({"dbx_a"}, 80, soon())).url, StartsWith("http://80-key2.tunnel."));
  EXPECT_EQ(cloud.lines().back(), "POST /v1/devboxes/dbx_a/enable_tunnel");
  EXPECT_EQ(cloud.bodies().back(), R"({"auth_mode":"authenticated","http_keep_alive":false})");
  cloud.answer(
      {{.body = R"({"id":"dbx_b","status":"running","tunnel":{"tunnel_key":"k","auth_mode":"open"}})"}});
  EXPECT_THAT(failure(provider->expose({"dbx_b"}, 80, soon())),
              AllOf(StartsWith("conflict: "), HasSubstr("lets everybody in")));
}

TEST_F(RunloopProvider, RenewingBeginsTheLeaseAnew) {
  cloud.answer({{.body = devbox("dbx_a")}, {.body = "{}"}, {.body = devbox("dbx_a")}});
  const auto before = cloud.engine().system_now();
  const auto told = wait(provider->renew({"dbx_a"}, 1200s, soon()));
  EXPECT_GE(told, before + 60s);
  EXPECT_LT(told, before + 120s);
  EXPECT_EQ(cloud.lines().back(), "POST /v1/devboxes/dbx_a/keep_alive");
  EXPECT_GE(*wait(provider->describe({"dbx_a"}, soon())).lease_end, told);
}

TEST_F(RunloopProvider, RenewingDoesNotWakeWhatIsPaused) {
  cloud.answer({{.body = devbox("dbx_a", "suspended")},
                {.status = 400, .body = R"({"message":"not running"})"},
                {.body = devbox("dbx_a", "suspended")}});
  EXPECT_THAT(failure(provider->renew({"dbx_a"}, 60s, soon())), StartsWith("invalid_argument: renewing"));
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /v1/devboxes/dbx_a", "POST /v1/devboxes/dbx_a/keep_alive",
                                         "GET /v1/devboxes/dbx_a"));
}

TEST_F(RunloopProvider, ACommandsVariablesAreNotInRunloopsLog) {
  Devboxes boxes = devboxes();
  DevboxShell shell(boxes, "dbx_a");
  cloud.answer(
      {{.body = "{}"},
       {.body = R"({"devbox_id":"dbx_a","execution_id":"e1","status":"running"})"},
       {.status = 408, .body = "{}", .headers = "x-should-retry: true\r\n"},
       {.body =
            R"({"execution_id":"e1","status":"completed","exit_status":3,"stdout":"out","stderr":"err"})"}});
  const ShellResult result = wait(shell.run("echo $KEY\n", {{"KEY", "it's secret"}}, soon()));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.output, "out");
  EXPECT_EQ(result.error_output, "err");
  EXPECT_THAT(cloud.lines(),
              ElementsAre("POST /v1/devboxes/dbx_a/upload_file", "POST /v1/devboxes/dbx_a/execute",
                          "POST /v1/devboxes/dbx_a/executions/e1/wait_for_status",
                          "POST /v1/devboxes/dbx_a/executions/e1/wait_for_status"));
  EXPECT_THAT(cloud.bodies()[0], AllOf(HasSubstr("\r\n\r\n.sandkey-0000000000000000\r\n"),
                                       HasSubstr("KEY='it'\\''s secret'\necho $KEY\n\r\n")));
  const json::value sent = parse_json(cloud.bodies()[1], "the request");
  EXPECT_EQ(sent.at("command").as_string(),
            "sh ~/.sandkey-0000000000000000; code=$?; rm -f ~/.sandkey-0000000000000000; exit $code");
  EXPECT_THAT(std::string(sent.at("command_id").as_string()),
              testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-7000-8000-000000000000"));
}

TEST_F(RunloopProvider, WhatItCannotGiveIsRefusedBeforeAnythingIsMade) {
  EXPECT_THAT(failure(provider->create({.workspace = "/tmp"}, soon())),
              AllOf(StartsWith("unsupported: creating a sandbox at runloop: "), HasSubstr("sandkey cp")));
  EXPECT_THAT(failure(provider->create({.network = false}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->create({.processes = 1}, soon())), StartsWith("unsupported: "));
  sign_in(R"({"id":"acc_1","account_status":"ACCOUNT_STATUS_DISABLED_BY_ADMIN"})");
  EXPECT_THAT(failure(provider->create({.sid = "s"}, soon())),
              StartsWith("permission_denied: creating a sandbox at runloop: the account was disabled"));
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(RunloopProvider, AKeyThatMayNotCreateIsTold) {
  cloud.answer({{.status = 403, .body = R"({"message":"scope"})"}});
  EXPECT_THAT(failure(provider->create({.sid = "s"}, soon())),
              AllOf(StartsWith("permission_denied: creating a sandbox at runloop: the key may not do this"),
                    HasSubstr("give a restricted key (rk_...) the scope it lacks")));
}

TEST_F(RunloopProvider, NonsenseIsAProtocolError) {
  cloud.answer({{.body = "[]"}});
  EXPECT_THAT(failure(provider->list(soon())), StartsWith("protocol: "));
  cloud.answer({{.body = R"({"devboxes":[{"id":7}]})"}});
  EXPECT_THAT(failure(provider->list(soon())), StartsWith("protocol: "));
  cloud.answer({{.body = list({devbox("dbx_a")}, true)}});
  EXPECT_THAT(failure(provider->list(soon())), HasSubstr("it has no end"));
  cloud.answer({{.body = R"({"id":"dbx_a","status":"running","tunnel":{"tunnel_key":"evil.example/"}})"}});
  EXPECT_THAT(failure(provider->expose({"dbx_a"}, 80, soon())), StartsWith("protocol: "));
}

}  // namespace
}  // namespace sandkey::runloop
