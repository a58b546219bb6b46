// Runloop's API and its tunnels, with real sandboxes behind them.
#include "sandkey/emulator/host.h"
#include "tests/agent/raw_http.h"
#include "tests/emulator/fixtures.h"

#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class RunloopTest : public EmulatorTest {
 protected:
  [[nodiscard]] std::string runloop_key(const std::string& account) {
    for (const auto& front : host_->fronts()) {
      if (front->name() == "runloop") return front->cloud().accounts().named(account).key;
    }
    return {};
  }
  [[nodiscard]] std::uint16_t runloop_port() const {
    const std::string url = variable("RUNLOOP_BASE_URL");
    return static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }
  [[nodiscard]] Answer api(const std::string& method, const std::string& path, const std::string& body = {},
                           const std::string& account = "valid", Headers headers = {}) {
    HttpRequest request;
    request.method = method;
    request.url = variable("RUNLOOP_BASE_URL") + path;
    request.body = body;
    request.repeatable = false;
    if (!account.empty()) request.headers.set("Authorization", "Bearer " + runloop_key(account));
    for (const auto& [name, value] : headers) request.headers.set(name, value);
    return send(std::move(request));
  }
  [[nodiscard]] Answer post(const std::string& path, const std::string& body = {}) {
    return api("POST", path, body);
  }
  // The id of one that runs.
  [[nodiscard]] std::string devbox(const std::string& body = "{}") {
    const Answer made = post("/v1/devboxes/create_and_await_running", body);
    EXPECT_EQ(made.status, 200) << made.body;
    EXPECT_EQ(made.text("status"), "running") << made.body;
    return made.text("id");
  }
  [[nodiscard]] Answer wait_for(const std::string& id, const std::string& status) {
    return post("/v1/devboxes/" + id + "/wait_for_status", R"({"statuses":[")" + status + R"("]})");
  }
  [[nodiscard]] std::string status_of(const std::string& id) {
    return api("GET", "/v1/devboxes/" + id).text("status");
  }
  // A request to run it. `more` are members besides, each with a comma in front.
  [[nodiscard]] static std::string command(const std::string& text, const std::string& more = "") {
    return R"({"command":)" + json::serialize(json::value(text)) + more + "}";
  }
  [[nodiscard]] Answer run(const std::string& id, const std::string& text, const std::string& more = "") {
    return post("/v1/devboxes/" + id + "/execute_sync", command(text, more));
  }
  [[nodiscard]] std::string out(const std::string& id, const std::string& text,
                                const std::string& more = "") {
    return run(id, text, more).text("stdout");
  }
  // The id of an execution.
  [[nodiscard]] std::string begin(const std::string& id, const std::string& text,
                                  const std::string& more = "") {
    const Answer begun = post("/v1/devboxes/" + id + "/execute_async", command(text, more));
    EXPECT_EQ(begun.status, 200) << begun.body;
    return begun.text("execution_id");
  }
  [[nodiscard]] static std::vector<std::string> ids(const Answer& page, std::string_view key) {
    std::vector<std::string> found;
    for (const json::value& each : page.document.at(key).as_array()) {
      found.emplace_back(std::string_view(each.at("id").as_string()));
    }
    return found;
  }
};

// ---- Accounts

TEST_F(RunloopTest, AnswersEveryKindOfKey) {
  const auto probe = [&](const std::string& account) {
    return std::pair(api("GET", "/v1/accounts/me", "", account).status,
                     api("GET", "/v1/devboxes?limit=1", "", account).status);
  };
  for (const char* account :
       {"valid", "second", "blocked", "trial_over", "over_quota", "at_limit", "read_only"}) {
    EXPECT_EQ(probe(account), std::pair(200, 200)) << account;
  }
  for (const char* account : {"unknown", "revoked", "malformed", ""}) {
    EXPECT_EQ(probe(account), std::pair(401, 401)) << account;
  }
  EXPECT_EQ(probe("restricted"), std::pair(403, 200));
  EXPECT_EQ(probe("account_only"), std::pair(200, 403));
  const Answer refused = api("GET", "/v1/accounts/me", "", "unknown");
  EXPECT_EQ(refused.text("error"), "unauthorized");
  EXPECT_EQ(refused.header("x-runloop-error-code"), "unauthorized");
}

TEST_F(RunloopTest, LetsDisabledAndRestrictedAccountsMakeNothing) {
  const auto create = [&](const std::string& account) {
    const Answer answer = api("POST", "/v1/devboxes", "{}", account);
    return std::to_string(answer.status) + " " + answer.text("error");
  };
  EXPECT_EQ(create("blocked"), "403 account_disabled");
  EXPECT_EQ(create("over_quota"), "403 quota_reached");
  EXPECT_EQ(create("read_only"), "403 forbidden");
  EXPECT_EQ(create("at_limit"), "429 devbox_limit_reached");
  EXPECT_EQ(create("restricted"), "200 ");
  EXPECT_EQ(api("POST", "/v1/devboxes/dbx_x/shutdown", "", "blocked").status, 400);
}

TEST_F(RunloopTest, KeepsAccountsApart) {
  const std::string id = devbox();
  for (const auto& [method, path] :
       std::vector<std::pair<std::string, std::string>>{{"GET", "/v1/devboxes/" + id},
                                                        {"POST", "/v1/devboxes/" + id + "/shutdown"},
                                                        {"POST", "/v1/devboxes/" + id + "/execute_sync"},
                                                        {"GET", "/v1/devboxes/dbx_nonexistent12345"}}) {
    const Answer answer = api(method, path, R"({"command":"true"})", "second");
    EXPECT_EQ(answer.status, 400) << path;
    EXPECT_THAT(answer.text("message"), HasSubstr("was not found")) << path;
  }
  EXPECT_THAT(ids(api("GET", "/v1/devboxes", "", "second"), "devboxes"), ElementsAre());
  EXPECT_EQ(status_of(id), "running");
}

// ---- Life

TEST_F(RunloopTest, TellsTheStatesOnTheWay) {
  const Answer made = post("/v1/devboxes", R"({"name":"n","metadata":{"a":"b"}})");
  EXPECT_EQ(made.status, 200);
  EXPECT_EQ(made.text("status"), "provisioning");
  EXPECT_THAT(made.text("id"), StartsWith("dbx_"));
  const std::string id = made.text("id");
  const Answer running = wait_for(id, "running");
  std::vector<std::string> states;
  for (const json::value& each : running.document.at("state_transitions").as_array()) {
    states.emplace_back(std::string_view(each.at("status").as_string()));
  }
  EXPECT_THAT(states, ElementsAre("provisioning", "initializing", "running"));
  EXPECT_TRUE(running.document.at("end_time_ms").is_null());
  const Answer ended = post("/v1/devboxes/" + id + "/shutdown");
  EXPECT_EQ(ended.text("status"), "shutdown");
  EXPECT_EQ(ended.text("shutdown_reason"), "api_shutdown");
  EXPECT_EQ(post("/v1/devboxes/" + id + "/shutdown").status, 200);
  EXPECT_EQ(status_of(id), "shutdown");
  EXPECT_EQ(run(id, "true").status, 400);
  const Answer queued = post("/v1/devboxes", R"({"launch_parameters":{"provisioning_tier":"flex"}})");
  EXPECT_EQ(queued.text("status"), "queued");
  EXPECT_EQ(wait_for(queued.text("id"), "running").status, 200);
}

TEST_F(RunloopTest, MakesOneDevboxForARequestThatIsRepeated) {
  const Headers same{{"x-request-id", "stainless-node-retry-1"}};
  const Answer first = api("POST", "/v1/devboxes", "{}", "valid", same);
  const Answer again = api("POST", "/v1/devboxes/create_and_await_running", "{}", "valid", same);
  EXPECT_EQ(first.text("id"), again.text("id"));
  EXPECT_NE(api("POST", "/v1/devboxes", "{}", "second", same).text("id"), first.text("id"));
  EXPECT_EQ(api("GET", "/v1/devboxes").document.at("total_count").as_int64(), 1);
}

TEST_F(RunloopTest, WaitsInBandAndNeverAnswersWithAnotherStatus) {
  const std::string id = post("/v1/devboxes", R"({"blueprint_name":"stuck"})").text("id");
  const Answer late = post("/v1/devboxes/" + id + "/wait_for_status",
                           R"({"statuses":["running","failure"],"timeout_seconds":0.05})");
  EXPECT_EQ(late.status, 408);
  EXPECT_EQ(late.header("x-should-retry"), "true");
  EXPECT_EQ(wait_for(id, "provisioning").status, 200);
  EXPECT_EQ(post("/v1/devboxes/" + id + "/wait_for_status", R"({"statuses":["ready"]})").status, 400);
  EXPECT_EQ(post("/v1/devboxes/" + id + "/shutdown").text("status"), "shutdown");
}

TEST_F(RunloopTest, HasDevboxesThatAreSlowOrFail) {
  const std::string slow = post("/v1/devboxes", R"({"blueprint_name":"slow"})").text("id");
  advance(59s);
  EXPECT_EQ(status_of(slow), "provisioning");
  advance(2s);
  EXPECT_EQ(wait_for(slow, "running").status, 200);
  const std::string failing = post("/v1/devboxes", R"({"blueprint_name":"fails_out_of_disk"})").text("id");
  EXPECT_EQ(wait_for(failing, "failure").text("failure_reason"), "out_of_disk");
  const Answer launching = post("/v1/devboxes/create_and_await_running",
                                R"({"launch_parameters":{"launch_commands":["exit 3"]}})");
  EXPECT_EQ(launching.text("status"), "failure");
  EXPECT_EQ(launching.text("failure_reason"), "execution_failed");
}

TEST_F(RunloopTest, EndsWhenItsTimeIsOver) {
  const std::string id = devbox(R"({"launch_parameters":{"keep_alive_time_seconds":100}})");
  advance(60s);
  EXPECT_EQ(post("/v1/devboxes/" + id + "/keep_alive").body, "{}");
  EXPECT_EQ(status_of(id), "running");
  advance(41s);
  const Answer ended = api("GET", "/v1/devboxes/" + id);
  EXPECT_EQ(ended.text("status"), "shutdown");
  EXPECT_EQ(ended.text("shutdown_reason"), "ttl_expired");
}

TEST_F(RunloopTest, LosesPatienceWithIdleness) {
  const std::string ends =
      devbox(R"({"launch_parameters":{"after_idle":{"idle_time_seconds":100,"on_idle":"shutdown"}}})");
  const std::string sleeps =
      devbox(R"({"launch_parameters":{"after_idle":{"idle_time_seconds":100,"on_idle":"suspend"}}})");
  advance(80s);
  EXPECT_EQ(post("/v1/devboxes/" + ends + "/keep_alive").status, 200);
  advance(30s);
  EXPECT_EQ(status_of(ends), "running");
  EXPECT_EQ(wait_for(sleeps, "suspended").status, 200);
  advance(80s);
  EXPECT_EQ(api("GET", "/v1/devboxes/" + ends).text("shutdown_reason"), "idle");
}

TEST_F(RunloopTest, KeepsTheDiskWhileItIsSuspended) {
  const std::string id = devbox(R"({"launch_parameters":{"launch_commands":["echo x >> ~/launched"]}})");
  EXPECT_EQ(out(id, "echo kept > file; export A=1; sleep 100 & echo begun", R"(,"shell_name":"s")"),
            "begun\n");
  EXPECT_EQ(post("/v1/devboxes/" + id + "/suspend").text("status"), "suspending");
  EXPECT_EQ(wait_for(id, "suspended").status, 200);
  EXPECT_EQ(run(id, "true").status, 400);
  EXPECT_EQ(post("/v1/devboxes/" + id + "/resume").text("status"), "resuming");
  EXPECT_EQ(wait_for(id, "running").status, 200);
  EXPECT_EQ(out(id, "cat file launched; pgrep -c sleep"), "kept\nx\nx\n0\n");
  EXPECT_EQ(out(id, "echo ${A-none}", R"(,"shell_name":"s")"), "none\n");
}

TEST_F(RunloopTest, RunsTheHooksOfASuspend) {
  const std::string id = devbox(R"({"launch_parameters":{"lifecycle":{"lifecycle_hooks":{
      "suspend_commands":["false","echo hook > hooked","sleep 1000"],"suspend_deadline_ms":300}}}})");
  EXPECT_EQ(post("/v1/devboxes/" + id + "/suspend").status, 200);
  EXPECT_EQ(wait_for(id, "suspended").status, 200);
  EXPECT_EQ(post("/v1/devboxes/" + id + "/resume").status, 200);
  EXPECT_EQ(wait_for(id, "running").status, 200);
  EXPECT_EQ(out(id, "cat hooked"), "hook\n");
}

TEST_F(RunloopTest, LivesAsLongAsItsEntrypoint) {
  const std::string id = devbox(R"({"entrypoint":"while [ ! -e ~/stop ]; do sleep 0.05; done"})");
  EXPECT_EQ(run(id, "touch ~/stop").status, 200);
  EXPECT_EQ(wait_for(id, "shutdown").text("shutdown_reason"), "entrypoint_exit");
}

TEST_F(RunloopTest, UpdatesWhatIsGiven) {
  const std::string id = devbox(R"({"name":"n","metadata":{"a":"b"}})");
  Answer updated = post("/v1/devboxes/" + id, R"({"metadata":{"c":"d"}})");
  EXPECT_EQ(updated.text("name"), "n");
  EXPECT_EQ(json::serialize(updated.document.at("metadata")), R"({"c":"d"})");
  updated = post("/v1/devboxes/" + id, R"({"name":""})");
  EXPECT_EQ(updated.text("name"), "");
  EXPECT_EQ(json::serialize(updated.document.at("metadata")), R"({"c":"d"})");
}

TEST_F(RunloopTest, ListsPages) {
  std::vector<std::string> made;
  for (int i = 0; i < 3; ++i) made.push_back(devbox());
  EXPECT_EQ(post("/v1/devboxes/" + made[0] + "/shutdown").status, 200);
  const Answer first = api("GET", "/v1/devboxes?limit=2");
  EXPECT_THAT(ids(first, "devboxes"), ElementsAre(made[2], made[1]));
  EXPECT_TRUE(first.document.at("has_more").as_bool());
  const Answer rest = api("GET", "/v1/devboxes?limit=2&starting_after=" + made[1]);
  EXPECT_THAT(ids(rest, "devboxes"), ElementsAre(made[0]));
  EXPECT_FALSE(rest.document.at("has_more").as_bool());
  EXPECT_THAT(ids(api("GET", "/v1/devboxes?status=shutdown"), "devboxes"), ElementsAre(made[0]));
  EXPECT_EQ(api("GET", "/v1/devboxes?status=dead").status, 400);
}

TEST_F(RunloopTest, LosesADevboxWithItsMachine) {
  const std::string id = devbox();
  const std::string execution = begin(id, "sleep 100");
  EXPECT_EQ(admin("POST", "/_emulator/sandboxes/" + id + "/kill").status, 204);
  EXPECT_EQ(status_of(id), "failure");
  EXPECT_EQ(api("GET", "/v1/devboxes/" + id + "/executions/" + execution).text("status"), "completed");
  EXPECT_THAT(admin("GET", "/_emulator/sandboxes").body, Not(HasSubstr(id)));
}

// ---- Commands

TEST_F(RunloopTest, RunsCommandsInTheHomeWithTheirVariables) {
  const std::string id = devbox(R"({"environment_variables":{"A":"1 2"}})");
  const Answer done = run(id, "pwd; echo \"$A\" $USER; echo bad >&2; exit 42");
  EXPECT_EQ(done.text("stdout"), "/home/user\n1 2 user\n");
  EXPECT_EQ(done.text("stderr"), "bad\n");
  EXPECT_EQ(done.document.at("exit_status").as_int64(), 42);
}

TEST_F(RunloopTest, RunsACommandOnceForItsId) {
  const std::string id = devbox();
  const std::string body = command("echo x >> log; cat log", R"(,"command_id":"0190-1")");
  for (int i = 0; i < 2; ++i) {
    const Answer done = post("/v1/devboxes/" + id + "/execute", body);
    EXPECT_EQ(done.text("status"), "completed");
    EXPECT_EQ(done.text("stdout"), "x\n");
  }
  EXPECT_EQ(post("/v1/devboxes/" + id + "/execute", command("true")).status, 400);
}

TEST_F(RunloopTest, AnswersWhileACommandStillRuns) {
  const std::string id = devbox();
  const Answer running =
      post("/v1/devboxes/" + id + "/execute", command("while [ ! -e go ]; do sleep 0.05; done; echo went",
                                                      R"(,"command_id":"c1","optimistic_timeout":0)"));
  EXPECT_EQ(running.text("status"), "running");
  EXPECT_EQ(find(running.document.as_object(), "stdout"), nullptr);
  const std::string path = "/v1/devboxes/" + id + "/executions/c1";
  const Answer late = post(path + "/wait_for_status", R"({"statuses":["completed"],"timeout_seconds":0})");
  EXPECT_EQ(late.status, 408);
  EXPECT_EQ(late.header("x-should-retry"), "true");
  EXPECT_EQ(run(id, "touch go").status, 200);
  const Answer done = post(path + "/wait_for_status", R"({"statuses":["completed"]})");
  EXPECT_EQ(done.text("stdout"), "went\n");
  EXPECT_EQ(done.document.at("exit_status").as_int64(), 0);
}

TEST_F(RunloopTest, ShowsTheLastLinesOnly) {
  const std::string id = devbox();
  const std::string execution = begin(id, "seq 1 1000");
  const std::string path = "/v1/devboxes/" + id + "/executions/" + execution;
  EXPECT_EQ(post(path + "/wait_for_status", R"({"statuses":["completed"]})").status, 200);
  const Answer last = api("GET", path + "?last_n=3");
  EXPECT_EQ(last.text("stdout"), "998\n999\n1000\n");
  EXPECT_TRUE(last.document.at("stdout_truncated").as_bool());
  EXPECT_FALSE(last.document.at("stderr_truncated").as_bool());
  EXPECT_THAT(api("GET", path).text("stdout"), StartsWith("901\n"));
}

TEST_F(RunloopTest, StreamsFromAnyByteToTheEnd) {
  const std::string id = devbox();
  const std::string execution = begin(id, "printf 'one\\ntwo\\n'; echo bad >&2");
  const std::string path = "/v1/devboxes/" + id + "/executions/" + execution;
  EXPECT_EQ(post(path + "/wait_for_status", R"({"statuses":["completed"]})").status, 200);
  const Answer all = api("GET", path + "/stream_stdout_updates?offset=0");
  EXPECT_EQ(all.header("content-type"), "text/event-stream");
  EXPECT_EQ(all.body, "data: {\"output\":\"one\\ntwo\\n\",\"offset\":8}\n\n");
  EXPECT_EQ(api("GET", path + "/stream_stdout_updates?offset=4").body,
            "data: {\"output\":\"two\\n\",\"offset\":8}\n\n");
  EXPECT_EQ(api("GET", path + "/stream_stdout_updates?offset=8").body, "");
  EXPECT_EQ(api("GET", path + "/stream_stderr_updates").body,
            "data: {\"output\":\"bad\\n\",\"offset\":4}\n\n");
}

TEST_F(RunloopTest, SaysInAStreamThatNothingHappensInIt) {
  const std::string id = devbox(R"({"launch_parameters":{"keep_alive_time_seconds":172800}})");
  const std::string execution = begin(id, "echo begun; sleep 1000");
  test::RawClient client = test::RawClient::to_tcp(runloop_port());
  ASSERT_TRUE(client.send("GET /v1/devboxes/" + id + "/executions/" + execution +
                          "/stream_stdout_updates HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " +
                          runloop_key("valid") + "\r\n\r\n"));
  std::string seen;
  while (seen.find("begun") == std::string::npos) {
    const std::string more = client.some();
    ASSERT_NE(more, "") << seen;
    seen += more;
  }
  while (!client.readable(0ms)) advance(61s);
  while (seen.find("\r\n0\r\n") == std::string::npos) {
    const std::string more = client.some();
    ASSERT_NE(more, "") << seen;
    seen += more;
  }
  EXPECT_THAT(seen, HasSubstr("event: error\ndata: {\"code\":408,"));
  EXPECT_EQ(api("GET", "/v1/devboxes/" + id + "/executions/" + execution).text("status"), "running");
}

TEST_F(RunloopTest, RunsCommandsOfAnyLength) {
  const std::string id = devbox();
  const std::string number = std::to_string(300'000);
  const std::string text = "x=" + std::string(300'000, 'a') + "; echo ${#x}; exit 4";
  for (const char* shell : {"", R"(,"shell_name":"mine")"}) {
    const Answer done = run(id, text, shell);
    EXPECT_EQ(done.text("stdout"), number + "\n") << done.text("stderr");
    EXPECT_EQ(done.document.at("exit_status").as_int64(), 4);
  }
  EXPECT_EQ(out(id, "echo ${#x}", R"(,"shell_name":"mine")"), number + "\n");
}

TEST_F(RunloopTest, KeepsTheStateOfNamedShells) {
  const std::string id = devbox();
  const std::string shell = R"(,"shell_name":"mine")";
  EXPECT_EQ(out(id, "cd /tmp; export A='x  y'; b=2; f() { echo \"f $1\"; }; exit 0", shell), "");
  EXPECT_EQ(out(id, "pwd; echo \"$A$b\"; f z; false", shell), "/tmp\nx  y2\nf z\n");
  EXPECT_EQ(out(id, "pwd; echo ${A-none}", R"(,"shell_name":"other")"), "/home/user\nnone\n");
  EXPECT_EQ(run(id, "(exit 7)", shell).document.at("exit_status").as_int64(), 7);
}

TEST_F(RunloopTest, RunsOneCommandOfAShellAtATime) {
  const std::string id = devbox();
  const std::string shell = R"(,"shell_name":"mine")";
  const std::string first = begin(id, "while [ ! -e go ]; do sleep 0.05; done; cd /tmp", shell);
  const std::string second = begin(id, "pwd", shell);
  const std::string path = "/v1/devboxes/" + id + "/executions/";
  const std::string killed = begin(id, "touch /tmp/ran", shell);
  EXPECT_EQ(api("GET", path + first).text("status"), "running");
  EXPECT_EQ(api("GET", path + second).text("status"), "queued");
  EXPECT_EQ(post(path + killed + "/kill").text("status"), "completed");
  EXPECT_EQ(run(id, "touch go").status, 200);
  EXPECT_EQ(post(path + second + "/wait_for_status", R"({"statuses":["completed"]})").text("stdout"),
            "/tmp\n");
  EXPECT_EQ(api("GET", path + first).text("status"), "completed");
  EXPECT_EQ(out(id, "ls /tmp", shell), "");
}

TEST_F(RunloopTest, KillsACommandOrAllItStarted) {
  const std::string id = devbox();
  const std::string path = "/v1/devboxes/" + id + "/executions/";
  const std::string alone = begin(id, "sleep 1111 & wait");
  const Answer killed = post(path + alone + "/kill", "{}");
  EXPECT_EQ(killed.text("status"), "completed");
  EXPECT_EQ(killed.document.at("exit_status").as_int64(), 137);
  EXPECT_EQ(post(path + alone + "/kill").status, 200);
  const std::string group = begin(id, "sleep 2222 & wait");
  EXPECT_EQ(post(path + group + "/kill", R"({"kill_process_group":true})").text("status"), "completed");
  EXPECT_EQ(out(id, "pgrep -f 'sleep [2]222' || echo none"), "none\n");
}

TEST_F(RunloopTest, TakesInputWhereItIsAskedFor) {
  const std::string id = devbox();
  const std::string path = "/v1/devboxes/" + id + "/executions/";
  const std::string cat = begin(id, "cat", R"(,"attach_stdin":true)");
  EXPECT_TRUE(post(path + cat + "/send_std_in", R"({"text":"hello\n"})").document.at("success").as_bool());
  EXPECT_TRUE(post(path + cat + "/send_std_in", R"({"signal":"EOF"})").document.at("success").as_bool());
  const Answer done = post(path + cat + "/wait_for_status", R"({"statuses":["completed"]})");
  EXPECT_EQ(done.text("stdout"), "hello\n");
  EXPECT_FALSE(post(path + cat + "/send_std_in", R"({"text":"more"})").document.at("success").as_bool());
  const std::string without = begin(id, "cat");
  EXPECT_EQ(post(path + without + "/send_std_in", R"({"text":"x"})").status, 400);
}

TEST_F(RunloopTest, LogsWhatHappened) {
  const std::string id = devbox(R"({"launch_parameters":{"launch_commands":["echo set up"]}})");
  EXPECT_EQ(run(id, "exit 5", R"(,"shell_name":"s")").status, 200);
  const std::string logs = api("GET", "/v1/devboxes/" + id + "/logs").body;
  EXPECT_THAT(logs, HasSubstr(R"("source":"setup_commands")"));
  EXPECT_THAT(logs, HasSubstr("set up\\n"));
  const std::string of_shell = api("GET", "/v1/devboxes/" + id + "/logs?shell_name=s").body;
  EXPECT_THAT(of_shell, HasSubstr(R"("cmd":"exit 5")"));
  EXPECT_THAT(of_shell, HasSubstr(R"("exit_code":5)"));
  EXPECT_THAT(of_shell, Not(HasSubstr("set up")));
}

// ---- Files

TEST_F(RunloopTest, ReadsAndWritesTexts) {
  const std::string id = devbox();
  const std::string path = "/v1/devboxes/" + id;
  const Answer written =
      post(path + "/write_file_contents", R"({"file_path":"a \"b\".txt","contents":"h\u00e9\n"})");
  EXPECT_EQ(written.document.at("exit_status").as_int64(), 0);
  const Answer read = post(path + "/read_file_contents", R"({"file_path":"~/a \"b\".txt"})");
  EXPECT_EQ(read.body, "h\xC3\xA9\n");
  EXPECT_THAT(read.header("content-type"), StartsWith("text/plain"));
  EXPECT_EQ(post(path + "/write_file_contents", R"({"file_path":"e","contents":""})").status, 200);
  EXPECT_EQ(post(path + "/read_file_contents", R"({"file_path":"e"})").body, "");
  const Answer nowhere = post(path + "/write_file_contents", R"({"file_path":"/no/x","contents":"1"})");
  EXPECT_EQ(nowhere.document.at("exit_status").as_int64(), 1);
  EXPECT_THAT(nowhere.text("stderr"), HasSubstr("No such file"));
  EXPECT_EQ(post(path + "/read_file_contents", R"({"file_path":"/none"})").status, 400);
  EXPECT_EQ(post(path + "/read_file_contents", R"({"file_path":"/tmp"})").status, 400);
}

TEST_F(RunloopTest, UploadsPartsInAnyOrder) {
  const std::string id = devbox();
  const std::string bytes("a\0\r\n--x\xFF", 8);
  const std::string file =
      "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n"
      "Content-Type: application/octet-stream\r\n\r\n" +
      bytes + "\r\n";
  const auto path = [](const std::string& to) {
    return "--b\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\n" + to + "\r\n";
  };
  const auto upload = [&](const std::string& form) {
    return api("POST", "/v1/devboxes/" + id + "/upload_file", form, "valid",
               {{"Content-Type", "multipart/form-data; boundary=b"}});
  };
  EXPECT_EQ(upload(path("~/first") + file + "--b--\r\n\r\n").status, 200);
  EXPECT_EQ(upload(file + path("/tmp/new/second") + "--b--").status, 200);
  for (const char* to : {"first", "/tmp/new/second"}) {
    const Answer back =
        post("/v1/devboxes/" + id + "/download_file", R"({"path":")" + std::string(to) + "\"}");
    EXPECT_EQ(back.body, bytes) << to;
    EXPECT_EQ(back.header("content-type"), "application/octet-stream");
  }
  EXPECT_EQ(upload(file + "--b--").status, 400);
  EXPECT_EQ(upload(path("x") + file).status, 400);  // it breaks off
  EXPECT_EQ(out(id, "ls -A /tmp | grep upload || echo none"), "none\n");
}

// ---- Tunnels

// Echoes in capitals, and keeps what the request's head was.
constexpr const char* kUpgradingServer = R"(exec python3 -c '
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 9000)); s.listen()
c, _ = s.accept(); head = b""
while b"\r\n\r\n" not in head: head += c.recv(1)
open("head", "wb").write(head)
c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
while data := c.recv(100): c.sendall(data.upper())
')";

TEST_F(RunloopTest, LetsTrafficThroughATunnelWithItsToken) {
  const std::string id = devbox();
  const std::string server =
      begin(id, "mkdir s && cd s && echo served > f && exec python3 -m http.server 8000");
  const std::string wait = "until (echo > /dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.05; done";
  EXPECT_EQ(run(id, wait).status, 200);
  const Answer tunnel = post("/v1/devboxes/" + id + "/enable_tunnel", R"({"auth_mode":"authenticated"})");
  const std::string key = tunnel.text("tunnel_key");
  const auto get = [&](int port, Headers headers) {
    headers.emplace_back("Host", std::to_string(port) + "-" + key + ".tunnel.localhost");
    return api("GET", "/f", "", "", std::move(headers));
  };
  const std::string bearer = "Bearer " + tunnel.text("auth_token");
  EXPECT_EQ(get(8000, {{"X-Runloop-Tunnel-Authorization", bearer}}).body, "served\n");
  EXPECT_EQ(get(8000, {{"Authorization", bearer}}).body, "served\n");
  EXPECT_EQ(get(8000, {}).status, 401);
  EXPECT_EQ(get(8000, {{"Authorization", "Bearer " + runloop_key("valid")}}).status, 401);
  const Answer closed = get(8001, {{"X-Runloop-Tunnel-Authorization", bearer}});
  EXPECT_EQ(closed.status, 503);
  EXPECT_EQ(closed.text("error"), "tunnel_service_not_ready");
  EXPECT_EQ(post("/v1/devboxes/" + id + "/enable_tunnel", "{}").text("tunnel_key"), key);
  EXPECT_EQ(api("GET", "/v1/devboxes/" + id).document.at("tunnel").at("tunnel_key").as_string(), key);
  EXPECT_EQ(post("/v1/devboxes/" + id + "/remove_tunnel").body, "{}");
  EXPECT_EQ(get(8000, {{"X-Runloop-Tunnel-Authorization", bearer}}).status, 404);
}

TEST_F(RunloopTest, CarriesWebSocketsThroughATunnel) {
  const std::string id = devbox(R"({"tunnel":{"auth_mode":"authenticated"}})");
  const std::string server = begin(id, kUpgradingServer);
  const Answer seen_by_api = api("GET", "/v1/devboxes/" + id);
  const json::object& tunnel = seen_by_api.document.at("tunnel").as_object();
  const std::string token(find_string(tunnel, "auth_token").value_or(""));
  const std::string host =
      "9000-" + std::string(find_string(tunnel, "tunnel_key").value_or("")) + ".tunnel.localhost";
  const std::string request = "GET /ws HTTP/1.1\r\nHost: " + host +
                              "\r\nX-Runloop-Tunnel-Authorization: Bearer " + token +
                              "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  std::optional<test::RawClient> socket;
  std::optional<test::RawResponse> head;
  do {  // until it listens
    socket.emplace(test::RawClient::to_tcp(runloop_port()));
    ASSERT_TRUE(socket->send(request));
    head = socket->response(true);
    ASSERT_TRUE(head);
  } while (head->status == 503);
  EXPECT_EQ(head->status, 101);
  ASSERT_TRUE(socket->send("frame"));
  std::string echoed;
  while (echoed.size() < 5) {
    const std::string more = socket->some();
    ASSERT_NE(more, "");
    echoed += more;
  }
  EXPECT_EQ(echoed, "FRAME");
  EXPECT_EQ(out(id, "grep -ci authorization head || true"), "0\n");
  EXPECT_THAT(admin("GET", "/_emulator/journal?provider=runloop").body, Not(HasSubstr(token)));
}

TEST_F(RunloopTest, WakesForTrafficOnlyIfItIsToldTo) {
  for (const bool wakes : {false, true}) {
    const std::string id = devbox(R"x({"launch_parameters":{"launch_commands":[
        "cd /tmp; python3 -m http.server 8000 >/dev/null 2>&1 &",
        "until (echo > /dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.05; done"]}})x");
    const Answer tunnel =
        post("/v1/devboxes/" + id + "/enable_tunnel", wakes ? R"({"wake_on_http":true})" : "{}");
    EXPECT_EQ(post("/v1/devboxes/" + id + "/suspend").status, 200);
    EXPECT_EQ(wait_for(id, "suspended").status, 200);
    const Answer answer =
        api("GET", "/", "", "", {{"Host", "8000-" + tunnel.text("tunnel_key") + ".tunnel.localhost"}});
    EXPECT_EQ(answer.status, wakes ? 200 : 503) << answer.body;
    EXPECT_EQ(status_of(id), wakes ? "running" : "suspended");
  }
}

TEST_F(RunloopTest, GivesTheUrlOfAPortTheOldWay) {
  const std::string id = devbox();
  const Answer made = post("/v1/devboxes/" + id + "/create_tunnel", R"({"port":8000})");
  const std::string base = variable("RUNLOOP_BASE_URL");
  EXPECT_THAT(made.text("url"), ::testing::MatchesRegex("http://8000-[a-z0-9]+\\.tunnel\\.localhost" +
                                                        base.substr(base.rfind(':'))));
}

// ---- Snapshots, blueprints, secrets

TEST_F(RunloopTest, BootsFromASnapshot) {
  const std::string id = devbox(R"({"blueprint_name":"base"})");
  EXPECT_EQ(run(id, "echo kept > file").status, 200);
  const Answer snapshot = post("/v1/devboxes/" + id + "/snapshot_disk",
                               R"({"name":"s","metadata":{"k":"v"},"commit_message":"m"})");
  EXPECT_EQ(snapshot.status, 200) << snapshot.body;
  EXPECT_EQ(snapshot.text("source_devbox_id"), id);
  const std::string made = snapshot.text("id");
  EXPECT_EQ(out(devbox(R"({"snapshot_id":")" + made + "\"}"), "cat file"), "kept\n");
  const std::string list = "/v1/devboxes/disk_snapshots";
  EXPECT_EQ(api("GET", list + "/" + made + "/status").text("status"), "complete");
  EXPECT_THAT(ids(api("GET", list + "?metadata%5Bk%5D=v&devbox_id=" + id), "snapshots"), ElementsAre(made));
  EXPECT_THAT(ids(api("GET", list + "?metadata[k][in]=a,b"), "snapshots"), ElementsAre());
  EXPECT_EQ(post(list + "/" + made, R"({"name":"t"})").text("name"), "t");
  EXPECT_EQ(post(list + "/" + made + "/delete").status, 200);
  EXPECT_EQ(api("GET", list + "/" + made + "/status").text("status"), "deleted");
  EXPECT_EQ(post("/v1/devboxes", R"({"snapshot_id":")" + made + "\"}").status, 400);
}

TEST_F(RunloopTest, IsNotShutDownWhileASnapshotIsTaken) {
  const std::string id = devbox();
  const std::string made =
      post("/v1/devboxes/" + id + "/snapshot_disk_async", R"({"name":"slow"})").text("id");
  const Answer refused = post("/v1/devboxes/" + id + "/shutdown");
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(post("/v1/devboxes/" + id + "/shutdown?force=true").text("status"), "shutdown");
  EXPECT_EQ(api("GET", "/v1/devboxes/disk_snapshots/" + made + "/status").text("status"), "error");
}

TEST_F(RunloopTest, BuildsBlueprints) {
  const auto build = [&](const std::string& body) {
    const std::string id = post("/v1/blueprints", body).text("id");
    while (true) {
      Answer found = api("GET", "/v1/blueprints/" + id);
      if (found.text("status") == "build_complete" || found.text("status") == "failed") return found;
    }
  };
  const Answer built =
      build(R"({"name":"mine","system_setup_commands":["echo made > ~/made"],)"
            R"("file_mounts":{"/tmp/given":"given"},"launch_parameters":{"resource_size_request":"LARGE"}})");
  EXPECT_EQ(built.text("status"), "build_complete") << built.body;
  const std::string id = devbox(R"({"blueprint_name":"mine"})");
  EXPECT_EQ(out(id, "cat ~/made /tmp/given"), "made\ngiven");
  EXPECT_THAT(api("GET", "/v1/devboxes/" + id).body, HasSubstr(R"("resource_size_request":"LARGE")"));
  EXPECT_THAT(api("GET", "/v1/blueprints/" + built.text("id") + "/logs").body, HasSubstr("RUN echo made"));
  const Answer failed = build(R"({"name":"bad","system_setup_commands":["exit 1"]})");
  EXPECT_EQ(failed.text("failure_reason"), "build_failed");
  EXPECT_EQ(post("/v1/devboxes", R"({"blueprint_id":")" + failed.text("id") + "\"}").status, 400);
  const Answer above = build(R"({"name":"above","base_blueprint_name":"mine"})");
  EXPECT_EQ(post("/v1/blueprints/" + built.text("id") + "/delete").status, 200);
  EXPECT_EQ(out(devbox(R"({"blueprint_name":"above"})"), "cat ~/made"), "made\n");
  EXPECT_THAT(api("GET", "/v1/blueprints/list_public?name=sandkey").body, HasSubstr(R"("is_public":true)"));
  EXPECT_EQ(post("/v1/blueprints/preview", R"({"name":"x","dockerfile":"FROM y"})").text("dockerfile"),
            "FROM y\n");
}

TEST_F(RunloopTest, PutsSecretsIntoVariables) {
  const Answer made = post("/v1/secrets", R"({"name":"TOKEN","value":"s3cr3t-value"})");
  EXPECT_EQ(made.status, 200);
  EXPECT_EQ(post("/v1/secrets", R"({"name":"TOKEN","value":"again"})").status, 409);
  EXPECT_THAT(api("GET", "/v1/secrets").body, Not(HasSubstr("s3cr3t-value")));
  const std::string id = devbox(R"({"secrets":{"MINE":"TOKEN"}})");
  EXPECT_EQ(out(id, "echo $MINE"), "s3cr3t-value\n");
  EXPECT_EQ(post("/v1/devboxes", R"({"secrets":{"MINE":"NONE"}})").status, 400);
  const std::string by_id = "/v1/secrets/id/" + made.text("id");
  EXPECT_EQ(post(by_id + "/update", R"({"value":"an0ther-value"})").text("name"), "TOKEN");
  EXPECT_EQ(out(devbox(R"({"secrets":{"MINE":"TOKEN"}})"), "echo $MINE"), "an0ther-value\n");
  EXPECT_EQ(post("/v1/secrets/TOKEN/delete").status, 200);
  EXPECT_EQ(api("GET", by_id).status, 400);
  EXPECT_EQ(api("GET", "/v1/secrets/TOKEN").status, 400);
}

TEST_F(RunloopTest, SaysWhatItDoesNotHave) {
  EXPECT_EQ(post("/v1/devboxes/dbx_1/create_ssh_key").status, 501);
  EXPECT_EQ(api("GET", "/v1/objects").status, 501);
  EXPECT_EQ(api("GET", "/v1/nothing").status, 404);
  EXPECT_EQ(api("GET", "/v1/devboxes/evictions/watch").body, "");
}

}  // namespace
}  // namespace sandkey::emulator_test
