// ToolboxServer in front of a real sandbox, spoken to as Daytona's SDKs do.
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_server.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/machine/test_sandbox.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/ascii.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/websocket_client.h"
#include "sandkey/providers/daytona/emulator/toolbox/session_log.h"
#include "sandkey/providers/daytona/emulator/toolbox/system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace sandkey::daytona_toolbox {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Headers = std::map<std::string, std::string>;

// A sandbox with a ToolboxServer in front.
class Box {
 public:
  Box() {
    ToolboxSettings settings;
    settings.user = "user";
    settings.environment = {{"COLOUR", "blue"}, {"DAYTONA_SANDBOX_ID", "test"}};
    settings.sandbox_id = "test";
    sandbox.run([this, &settings] {
      server.emplace(sandbox.engine(), sandbox.engine().executor(0), sandbox.agent(), std::move(settings));
    });
    sandbox.serve([this](net::HttpExchange& exchange) {
      const std::string_view target = exchange.target();
      std::string path(target.substr(0, target.find('?')));
      return server->handle(exchange, std::move(path));
    });
  }
  ~Box() {
    sandbox.kill();
    sandbox.engine().wait(server->close());
    sandbox.stop();
    sandbox.run([this] { server.reset(); });
  }
  Box(const Box&) = delete;
  Box& operator=(const Box&) = delete;

  machine::TestSandbox sandbox;
  std::optional<ToolboxServer> server;
};

struct Reply {
  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;
  [[nodiscard]] json::value json() const { return parse_json(body, "the reply"); }
  [[nodiscard]] json::object object() const { return json().as_object(); }
  [[nodiscard]] std::string text(const char* name) const {
    return std::string(object().at(name).as_string());
  }
};

// One sandbox for all tests that leave it as it was: they work in folders of their own.
class Toolbox : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    try {
      box_ = std::make_unique<Box>();
    } catch (const Error& error) {
      reason_ = error.what();
    }
  }
  static void TearDownTestSuite() { box_.reset(); }
  void SetUp() override {
    if (!box_) GTEST_SKIP() << "this machine cannot make sandboxes: " << reason_;
    http_ = std::make_unique<HttpClient>(box_->sandbox.engine());
  }
  void TearDown() override { http_.reset(); }

  Reply send(const std::string& method, const std::string& target, const std::string& body = {},
             const Headers& headers = {}) {
    HttpRequest request;
    request.method = method;
    request.url = "http://127.0.0.1:" + std::to_string(port()) + target;
    request.body = body;
    for (const auto& [name, value] : headers) request.headers.set(name, value);
    request.deadline = box_->sandbox.engine().in(60s);
    HttpResponse response = box_->sandbox.engine().wait(http_->send(std::move(request)));
    Reply reply{.status = response.status, .body = std::move(response.body), .headers = {}};
    for (const auto& [name, value] : response.headers.list()) {
      std::string key;
      for (const char c : name) key += ascii_lower(c);
      reply.headers.emplace(std::move(key), value);
    }
    return reply;
  }
  Reply get(const std::string& target, const Headers& headers = {}) {
    return send("GET", target, {}, headers);
  }
  Reply post(const std::string& target, const json::object& body, Headers headers = {}) {
    headers.emplace("Content-Type", "application/json");
    return send("POST", target, write_json(body), headers);
  }
  Reply execute(const std::string& command, json::object more = {}) {
    more["command"] = command;
    return post("/process/execute", more);
  }
  // What a command prints; it must go well.
  std::string output_of(const std::string& command) {
    const Reply reply = execute(command);
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.object().at("exitCode"), 0) << reply.body;
    return reply.text("result");
  }
  void expect_error(const Reply& reply, int status, const char* code) {
    EXPECT_EQ(reply.status, status) << reply.body;
    EXPECT_EQ(reply.text("code"), code) << reply.body;
    EXPECT_EQ(reply.text("source"), "DAYTONA_DAEMON");
    EXPECT_EQ(reply.object().at("statusCode"), status);
  }
  Reply bulk_upload(const std::string& parts) {
    return send("POST", "/files/bulk-upload", parts + "--B--\r\n",
                {{"Content-Type", "multipart/form-data; boundary=B"}});
  }
  static std::string part(const std::string& name, const std::string& content) {
    return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"; filename=\"ignored\"\r\n\r\n" +
           content + "\r\n";
  }
  void write(const std::string& path, const std::string& content) {
    const Reply reply = bulk_upload(part("files[0].path", path) + part("files[0].file", content));
    EXPECT_EQ(reply.status, 200) << reply.body;
  }

  static std::uint16_t port() { return box_->sandbox.port(); }

  std::unique_ptr<HttpClient> http_;
  static inline std::unique_ptr<Box> box_;
  static inline std::string reason_;
};

// ---- The sandbox

TEST_F(Toolbox, SaysWhatItIs) {
  EXPECT_EQ(get("/version").text("version"), kDaemonVersion);
  EXPECT_EQ(get("/user-home-dir").body, R"({"dir":"/home/user"})");
  EXPECT_EQ(get("/project-dir").body, R"({"dir":"/home/user"})");
  EXPECT_EQ(get("/work-dir").body, R"({"dir":"/home/user"})");
  EXPECT_EQ(get("/nothing").status, 404);
  const json::object metrics = get("/system/metrics").object();
  EXPECT_GT(metrics.at("cpuCount").as_int64(), 0);
  EXPECT_GT(metrics.at("diskFree").as_int64(), 0);
}

TEST_F(Toolbox, TheEnvironmentOfWhatStartsLaterCanBeChanged) {
  const Reply changed = post("/env", {{"set", json::object{{"FRUIT", "apple"}, {"GONE", "secret-1"}}}});
  EXPECT_EQ(changed.text("FRUIT"), "apple");
  EXPECT_EQ(output_of("echo $FRUIT $COLOUR"), "apple blue\n");
  EXPECT_FALSE(post("/env", {{"unsetValuePrefix", "secret-"}}).object().contains("GONE"));
  EXPECT_FALSE(post("/env", {{"unset", json::array{"FRUIT"}}}).object().contains("FRUIT"));
  EXPECT_EQ(output_of("echo $FRUIT$GONE"), "\n");
  expect_error(post("/env", {{"set", json::object{{"A-B", ""}}}}), 400, "BAD_REQUEST");
}

// ---- Commands

TEST_F(Toolbox, ACommandIsAScriptOnAShellsInput) {
  const Reply reply = execute("echo out; echo err >&2\necho last; exit 3");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"exitCode":3,"result":"out\nerr\nlast\n"})");
  EXPECT_EQ(output_of("read line\necho never\necho got $line"), "got echo never\n")
      << "who reads the input reads the script";
  EXPECT_EQ(output_of("echo $0; [ -t 0 ] || echo no terminal"), "/usr/bin/bash\nno terminal\n");
}

TEST_F(Toolbox, ACommandHasItsFolderAndVariables) {
  EXPECT_EQ(
      execute("pwd; echo $A $COLOUR", {{"cwd", "/tmp"}, {"envs", json::object{{"A", "b c"}}}}).text("result"),
      "/tmp\nb c blue\n");
  const Reply lost = execute("pwd", {{"cwd", "/none"}});
  EXPECT_EQ(lost.status, 200);
  EXPECT_EQ(lost.object().at("exitCode"), -1);
  EXPECT_THAT(lost.text("result"), HasSubstr("no such file or directory"));
  expect_error(execute("true", {{"envs", json::object{{"1A", ""}}}}), 400, "BAD_REQUEST");
  expect_error(execute(""), 400, "INVALID_REQUEST_BODY");
  expect_error(send("POST", "/process/execute", "{", {{"Content-Type", "application/json"}}), 400,
               "INVALID_REQUEST_BODY");
}

TEST_F(Toolbox, ACommandThatTakesTooLongIsKilled) {
  const Reply reply = execute("echo before; sleep 1000", {{"timeout", 1}});
  expect_error(reply, 408, "PROCESS_EXECUTION_TIMEOUT");
  EXPECT_THAT(reply.body, ::testing::Not(HasSubstr("before")));
  EXPECT_EQ(execute("kill -KILL $$").object().at("exitCode"), -1);
  EXPECT_EQ(execute("sh -c 'kill -TERM $$'").object().at("exitCode"), 143);
}

TEST_F(Toolbox, AnOutputHeldOpenHoldsTheAnswer) {
  EXPECT_EQ(output_of("(sleep 0.3; echo late) & echo early"), "early\nlate\n");
}

TEST_F(Toolbox, CodeRuns) {
  const Reply python = post("/process/code-run", {{"language", "python"},
                                                  {"code",
                                                   "import sys\nprint(sys.argv[1:], 6 * 7)\n"
                                                   "print('dtn_artifact_k39fd2:{\"type\":\"chart\","
                                                   "\"value\":{\"title\":\"T\"}}')"},
                                                  {"argv", json::array{"a", "b"}}});
  EXPECT_EQ(python.status, 200);
  EXPECT_EQ(
      python.object(),
      (json::object{{"exitCode", 0},
                    {"result", "['a', 'b'] 42\n"},
                    {"artifacts", json::object{{"charts", json::array{json::object{{"title", "T"}}}}}}}));
  const Reply failing = post("/process/code-run", {{"language", "python"}, {"code", "raise SystemExit(4)"}});
  EXPECT_EQ(failing.body, R"({"exitCode":4,"result":""})");
  expect_error(post("/process/code-run", {{"language", "cobol"}, {"code", "x"}}), 400, "BAD_REQUEST");
}

// ---- Sessions

class ToolboxSessions : public Toolbox {
 protected:
  static constexpr const char* kVersion = "0.218.0";
  void SetUp() override {
    Toolbox::SetUp();
    if (!box_) return;
    const std::string test = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    base = "/process/session/" + test;
    EXPECT_EQ(post("/process/session", {{"sessionId", test}}).status, 201);
  }
  void TearDown() override {
    if (box_) (void)send("DELETE", base);
    Toolbox::TearDown();
  }
  Reply run(const std::string& command, const char* version = kVersion) {
    return post(base + "/exec", {{"command", command}}, {{"X-Daytona-SDK-Version", version}});
  }
  // The path of a command that was started and not waited for.
  std::string start(const std::string& command, json::object more = {}) {
    more["command"] = command;
    more["runAsync"] = true;
    const Reply reply = post(base + "/exec", more);
    EXPECT_EQ(reply.status, 202) << reply.body;
    return base + "/command/" + reply.text("cmdId");
  }
  test::WebSocketClient follow(const std::string& command, const std::string& version = kVersion) {
    return {port(), command + "/logs?follow=true", "X-Daytona-SDK-Version: " + version + "\r\n"};
  }

  std::string base;
};

TEST_F(ToolboxSessions, AShellStaysAndItsCommandsComeOneAfterTheOther) {
  EXPECT_EQ(run("cd /tmp; export A=b").object().at("exitCode"), 0);
  const Reply reply = run("pwd; echo $A; echo err >&2; (exit 4)");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.text("stdout"), "/tmp\nb\n");
  EXPECT_EQ(reply.text("stderr"), "err\n");
  EXPECT_THAT(reply.text("output"), HasSubstr("\x01\x01\x01/tmp\n\x01\x01\x01"
                                              "b\n"));
  EXPECT_EQ(reply.object().at("exitCode"), 4);
  const json::object session = get(base).object();
  EXPECT_EQ(session.at("commands").as_array().size(), 2U);
  const json::object last = session.at("commands").as_array().at(1).as_object();
  EXPECT_EQ(last.at("exitCode"), 4);
  EXPECT_EQ(last.at("id"), reply.object().at("cmdId"));
}

TEST_F(ToolboxSessions, WhatACommandIsMadeOfCannotBreakItsShell) {
  EXPECT_EQ(run("echo 'unfinished").object().at("exitCode"), 2);
  EXPECT_EQ(run("printf no-newline").text("stdout"), "no-newline\n");
  EXPECT_EQ(run("exec >/dev/null; echo lost").text("stdout"), "");
  EXPECT_EQ(run("cat <<EOF\n}\nEOF\necho end").text("stdout"), "}\nend\n");
  EXPECT_EQ(run("cat; echo no input").text("stdout"), "no input\n");
}

TEST_F(ToolboxSessions, TheAnswersFormDependsOnTheVersion) {
  const char* const command = "echo a; sleep 0.1; echo b >&2";
  EXPECT_EQ(run(command, "0.100.0").text("output"),
            "\x01\x01\x01"
            "a\n\x02\x02\x02"
            "b\n");
  EXPECT_FALSE(run(command, "0.100.0").object().contains("stdout"));
  const Reply merged = post(base + "/exec", {{"command", command}});
  EXPECT_EQ(merged.text("output"), "a\nb\n");
  const std::string logs = base + "/command/" + merged.text("cmdId") + "/logs";
  EXPECT_EQ(get(logs).body, "a\nb\n");
  EXPECT_EQ(get(logs, {{"X-Daytona-Split-Output", "true"}}).body,
            "\x01\x01\x01"
            "a\n\x02\x02\x02"
            "b\n");
  const json::object split = get(logs, {{"X-Daytona-SDK-Version", kVersion}}).object();
  EXPECT_EQ(split.at("stdout"), "a\n");
  EXPECT_EQ(split.at("stderr"), "b\n");
}

TEST_F(ToolboxSessions, ACommandCanBeFollowedAndFed) {
  const std::string command = start("echo ready; read line; echo got $line >&2");
  test::WebSocketClient socket = follow(command);
  EXPECT_EQ(socket.next(), (net::WebSocketFrame{net::WebSocketFrame::Kind::binary, "\x01\x01\x01ready\n"}));
  EXPECT_FALSE(get(command).object().contains("exitCode"));
  EXPECT_EQ(post(command + "/input", {{"data", "word"}}).status, 204);
  std::string rest;
  EXPECT_EQ(socket.rest(&rest).code, 1000);
  EXPECT_THAT(rest, HasSubstr("\x01\x01\x01word\n"));
  EXPECT_THAT(rest, HasSubstr("\x02\x02\x02got word\n"));
  EXPECT_EQ(get(command).object().at("exitCode"), 0);
  expect_error(post(command + "/input", {{"data", "late"}}), 410, "COMMAND_ALREADY_COMPLETED");
}

TEST_F(ToolboxSessions, InputIsNotEchoedWhereThatIsNotWanted) {
  const std::string command = start("read -r line; echo \"<$line>\"", {{"suppressInputEcho", true}});
  while (post(command + "/input", {{"data", "quiet\n"}}).status == 500) {
  }
  test::WebSocketClient socket = follow(command, "0.1.0");
  std::string all;
  EXPECT_EQ(socket.rest(&all).code, 1000);
  EXPECT_EQ(all, "<quiet>\n");
}

TEST_F(ToolboxSessions, AFollowedLogComesInSmallFrames) {
  const std::string command = start("for i in 1 2 3 4; do head -c 700 /dev/zero | tr '\\0' x; echo; done");
  test::WebSocketClient socket = follow(command);
  std::string all;
  while (const auto frame = socket.next()) {
    if (frame->kind == net::WebSocketFrame::Kind::close) break;
    EXPECT_LE(frame->data.size(), 1024U);
    all += frame->data;
  }
  EXPECT_EQ(split_log(all).outputs[0].size(), 4U * 701);
  test::WebSocketClient once(port(), command + "/logs", "X-Daytona-SDK-Version: 0.218.0\r\n");
  std::string same;
  EXPECT_EQ(once.rest(&same).code, 1000);
  EXPECT_EQ(same, all);
  const Reply plain = get(command + "/logs?follow=true");
  EXPECT_EQ(plain.headers.at("content-type"), "application/octet-stream");
  EXPECT_EQ(plain.body, split_log(all).merged);
}

TEST_F(ToolboxSessions, TheVersionMayComeAsASubprotocol) {
  const std::string command = start("echo x");
  test::WebSocketClient socket(port(), command + "/logs?follow=true",
                               "Sec-WebSocket-Protocol: X-Daytona-SDK-Version~0.218.0\r\n");
  EXPECT_EQ(socket.head().header("sec-websocket-protocol"), "X-Daytona-SDK-Version~0.218.0");
  std::string all;
  EXPECT_EQ(socket.rest(&all).code, 1000);
  EXPECT_EQ(all, "\x01\x01\x01x\n");
}

TEST_F(ToolboxSessions, AShellThatExitsEndsItsSession) {
  expect_error(run("echo bye; exit 3"), 410, "SESSION_ENDED");
  expect_error(run("true"), 410, "SESSION_ENDED");
  EXPECT_EQ(get(base).status, 200) << "it is still there to be looked at";
}

TEST_F(ToolboxSessions, SessionsAreDeletedWithWhatRunsInThem) {
  const std::string command = start("trap '' TERM; sleep 1000");
  test::WebSocketClient socket = follow(command);
  expect_error(post("/process/session", {{"sessionId", base.substr(base.rfind('/') + 1)}}), 409, "CONFLICT");
  EXPECT_EQ(send("DELETE", base).status, 204);
  EXPECT_EQ(socket.rest().code, 1000);
  expect_error(get(base), 404, "NOT_FOUND");
  expect_error(run("true"), 404, "NOT_FOUND");
  expect_error(send("DELETE", base), 404, "NOT_FOUND");
  EXPECT_EQ(output_of("ls ~/.daytona/sessions | grep -c SessionsAreDeleted || true"), "0\n");
}

TEST_F(ToolboxSessions, TheEntrypointHasASessionOfItsOwn) {
  EXPECT_EQ(
      get("/process/session/entrypoint").body,
      R"({"sessionId":"entrypoint","commands":[{"id":"entrypoint_command","command":"sleep infinity"}]})");
  EXPECT_EQ(get("/process/session/entrypoint/logs").body, "");
  expect_error(post("/process/session", {{"sessionId", "entrypoint"}}), 400, "BAD_REQUEST");
  EXPECT_THAT(get("/process/session").body, ::testing::Not(HasSubstr("entrypoint")));
  expect_error(get(base + "/command/none"), 404, "PROCESS_NOT_FOUND");
}

// ---- Terminals

class ToolboxPtys : public Toolbox {
 protected:
  static constexpr const char* kBoth =
      "Sec-WebSocket-Protocol: X-Daytona-Pty-Envs~eyJGUlVJVCI6InBlYXIifQ, X-Daytona-Pty-Exit-Control\r\n";

  static void expect_control(test::WebSocketClient& socket, const json::object& more) {
    const auto frame = socket.next();
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->kind, net::WebSocketFrame::Kind::text);
    json::object expected{{"type", "control"}};
    for (const auto& [name, value] : more) expected[name] = value;
    EXPECT_EQ(parse_json(frame->data, "a control frame"), json::value(expected));
  }
  // Output until the text is in it.
  static std::string until(test::WebSocketClient& socket, const std::string& text) {
    std::string all;
    while (all.find(text) == std::string::npos) {
      const auto frame = socket.next();
      if (!frame) return all + "[the connection ended]";
      EXPECT_EQ(frame->kind, net::WebSocketFrame::Kind::binary) << frame->data;
      if (frame->kind != net::WebSocketFrame::Kind::binary) return all;
      all += frame->data;
    }
    return all;
  }
  // What is left of the output, then how it ended.
  static std::string exit_of(test::WebSocketClient& socket, net::WebSocketClose& close) {
    std::string last_text;
    while (const auto frame = socket.next()) {
      if (frame->kind == net::WebSocketFrame::Kind::text) last_text = frame->data;
      if (frame->kind != net::WebSocketFrame::Kind::close) continue;
      close = net::parse_websocket_close(frame->data);
      socket.close();
      EXPECT_TRUE(socket.at_end());
      break;
    }
    return last_text;
  }
};

TEST_F(ToolboxPtys, OneIsMadeAndConnectedToAtOnce) {
  test::WebSocketClient socket(port(), "/process/pty/create-connect?id=one&cols=100&rows=30&cwd=/tmp", kBoth);
  EXPECT_EQ(socket.head().header("sec-websocket-protocol"), "X-Daytona-Pty-Exit-Control");
  expect_control(socket, {{"status", "connected"}});
  socket.text("stty size; pwd; echo $TERM-$FRUIT-$COLOUR\n");
  const std::string seen = until(socket, "pear-blue\r\n");
  EXPECT_THAT(seen, HasSubstr("30 100\r\n"));
  EXPECT_THAT(seen, HasSubstr("/tmp\r\n"));
  EXPECT_THAT(seen, HasSubstr("xterm-256color-pear-blue"));
  const json::object info = get("/process/pty/one").object();
  EXPECT_EQ(info.at("active"), true);
  EXPECT_EQ(info.at("cols"), 100);
  EXPECT_EQ(info.at("cwd"), "/tmp");
  EXPECT_EQ(post("/process/pty/one/resize", {{"cols", 90}, {"rows", 20}}).object().at("rows"), 20);
  socket.binary("stty size\n");
  (void)until(socket, "20 90\r\n");
  socket.text("exit 3\n");
  net::WebSocketClose close;
  EXPECT_EQ(
      parse_json(exit_of(socket, close), "the last control frame"),
      (json::object{
          {"type", "control"}, {"status", "exited"}, {"exitCode", 3}, {"exitReason", "non-zero exit"}}));
  EXPECT_EQ(close, (net::WebSocketClose{1011, R"({"exitCode":3,"exitReason":"non-zero exit"})"}));
  expect_error(get("/process/pty/one"), 404, "NOT_FOUND");
  expect_error(post("/process/pty/one/resize", {{"cols", 90}, {"rows", 20}}), 410, "SESSION_ENDED");
}

TEST_F(ToolboxPtys, OneIsMadeAndConnectedToBySeveralLater) {
  EXPECT_EQ(
      post("/process/pty", {{"id", "two"}, {"envs", json::object{{"A", "b"}}}, {"lazyStart", true}}).status,
      201);
  expect_error(post("/process/pty", {{"id", "two"}}), 409, "CONFLICT");
  expect_error(post("/process/pty", {{"id", "big"}, {"cols", 1001}}), 400, "BAD_REQUEST");
  EXPECT_EQ(get("/process/pty/two").object().at("active"), false);
  EXPECT_EQ(get("/process/pty").object().at("sessions").as_array().size(), 1U);
  test::WebSocketClient first(port(), "/process/pty/two/connect");
  expect_control(first, {{"status", "connected"}});
  test::WebSocketClient second(port(), "/process/pty/two/connect");
  expect_control(second, {{"status", "connected"}});
  first.text("echo $A$A; exit\n");
  (void)until(first, "bb\r\n");
  (void)until(second, "bb\r\n");
  net::WebSocketClose close;
  EXPECT_EQ(exit_of(first, close), "") << "it did not say that it knows of this";
  EXPECT_EQ(close, (net::WebSocketClose{1000, R"({"exitCode":0})"}));
}

TEST_F(ToolboxPtys, OneIsDeletedWithWhatRunsInIt) {
  EXPECT_EQ(post("/process/pty", {{"id", "three"}}).status, 201);
  test::WebSocketClient socket(port(), "/process/pty/three/connect", kBoth);
  expect_control(socket, {{"status", "connected"}});
  EXPECT_EQ(send("DELETE", "/process/pty/three").body, R"({"message":"PTY session deleted"})");
  net::WebSocketClose close;
  (void)exit_of(socket, close);
  EXPECT_EQ(close.code, 1011);
  EXPECT_THAT(close.reason, HasSubstr("SIGKILL"));
  expect_error(send("DELETE", "/process/pty/three"), 404, "NOT_FOUND");
  test::WebSocketClient nobody(port(), "/process/pty/three/connect", kBoth);
  expect_control(nobody,
                 {{"status", "error"}, {"error", "Failed to connect to PTY session: PTY session not found"}});
  EXPECT_EQ(nobody.rest().code, 1008);
}

// ---- The code interpreter

class ToolboxInterpreter : public Toolbox {
 protected:
  struct Cell {
    std::string out, err;
    json::object error;
    std::string end;
    net::WebSocketClose close;
  };
  Cell run(const std::string& code, json::object more = {}) {
    more["code"] = code;
    return run_raw(write_json(more));
  }
  Cell run_raw(const std::string& message) {
    test::WebSocketClient socket(port(), "/process/interpreter/execute");
    socket.text(message);
    return rest_of(socket);
  }
  static Cell rest_of(test::WebSocketClient& socket) {
    Cell cell;
    while (const auto frame = socket.next()) {
      if (frame->kind == net::WebSocketFrame::Kind::close) {
        cell.close = net::parse_websocket_close(frame->data);
        socket.close();
        EXPECT_TRUE(socket.at_end());
        break;
      }
      const json::object event = parse_json(frame->data, "an event").as_object();
      EXPECT_EQ(event.size(), 5U) << frame->data;
      if (event.at("type") == "stdout") cell.out += event.at("text").as_string();
      if (event.at("type") == "stderr") cell.err += event.at("text").as_string();
      if (event.at("type") == "error") cell.error = event;
      if (event.at("type") == "control") cell.end = event.at("text").as_string();
    }
    return cell;
  }
};

TEST_F(ToolboxInterpreter, CellsRememberWhatWasBefore) {
  const Cell first = run("x = 6\nprint('out')\nimport sys; print('err', file=sys.stderr)");
  EXPECT_EQ(first.out, "out\n");
  EXPECT_EQ(first.err, "err\n");
  EXPECT_EQ(first.end, "completed");
  EXPECT_EQ(first.close.code, 1000);
  EXPECT_EQ(run("import os\nprint(x * 7, os.getcwd(), os.environ['A'], os.environ['COLOUR'])",
                {{"envs", json::object{{"A", "b"}}}})
                .out,
            "42 /home/user b blue\n");
  EXPECT_EQ(run("print('A' in os.environ); os.system('echo unseen')").out, "False\n");
}

TEST_F(ToolboxInterpreter, ErrorsAreToldAndAreNoFailures) {
  const Cell cell = run("def f():\n  raise ValueError('no')\nprint('before', end='')\nf()");
  EXPECT_EQ(cell.out, "before");
  EXPECT_EQ(cell.error.at("name"), "ValueError");
  EXPECT_EQ(cell.error.at("value"), "no");
  EXPECT_EQ(cell.error.at("traceback"),
            "Traceback (most recent call last):\n  File \"<stdin>\", line 4\n  File \"<stdin>\", line 2\n"
            "ValueError: no\n");
  EXPECT_EQ(cell.close.code, 1000);
  EXPECT_EQ(run("1 +").error.at("name"), "SyntaxError");
  EXPECT_TRUE(run("raise SystemExit(1)").error.empty()) << "that is a way to end a cell";
  EXPECT_EQ(run("print('still there')").out, "still there\n");
}

TEST_F(ToolboxInterpreter, ContextsAreApart) {
  const Reply made = post("/process/interpreter/context", {{"cwd", "/tmp"}, {"language", "python"}});
  EXPECT_EQ(made.status, 200) << made.body;
  const json::object context = made.object();
  const std::string id = made.text("id");
  EXPECT_EQ(context.at("cwd"), "/tmp");
  EXPECT_EQ(context.at("active"), true);
  EXPECT_EQ(run("import os; only_here = 1; print(os.getcwd())", {{"contextId", id}}).out, "/tmp\n");
  EXPECT_EQ(run("only_here").error.at("name"), "NameError");
  EXPECT_EQ(get("/process/interpreter/context").object().at("contexts").as_array().size(), 1U);
  EXPECT_EQ(send("DELETE", "/process/interpreter/context/" + id).status, 200);
  expect_error(send("DELETE", "/process/interpreter/context/" + id), 404, "NOT_FOUND");
  expect_error(send("DELETE", "/process/interpreter/context/default"), 400, "BAD_REQUEST");
  expect_error(post("/process/interpreter/context", {{"language", "cobol"}}), 400, "BAD_REQUEST");
  EXPECT_EQ(run("1", {{"contextId", id}}).close.code, 1008);
}

TEST_F(ToolboxInterpreter, ACellThatTakesTooLongIsInterrupted) {
  const Cell cell = run("kept = 1\nimport time\ntime.sleep(1000)", {{"timeout", 0.3}});
  EXPECT_EQ(cell.end, "interrupted");
  EXPECT_EQ(cell.close.code, 4008);
  EXPECT_EQ(run("print(kept)").out, "1\n") << "its context lives on";
  const Cell stubborn = run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
                            {{"timeout", 0.2}});
  EXPECT_EQ(stubborn.close.code, 4008);
  EXPECT_EQ(run("print('kept' in globals())").out, "False\n") << "that worker was killed";
}

TEST_F(ToolboxInterpreter, WhatCannotBeRunIsRefused) {
  EXPECT_EQ(run_raw("no JSON").close.code, 1002);
  EXPECT_EQ(run_raw("[]").close.code, 1002);
  EXPECT_EQ(run_raw("{}").close.code, 1008);
  EXPECT_EQ(run("1", {{"timeout", -1}}).close.code, 1008);
  const Cell dead = run("import os; os._exit(3)");
  EXPECT_EQ(dead.close, (net::WebSocketClose{1001, "worker process ended"}));
}

TEST_F(ToolboxInterpreter, CellsOfAContextWaitForEachOther) {
  test::WebSocketClient first(port(), "/process/interpreter/execute");
  first.text(R"({"code":"import time; print('begun'); time.sleep(0.3); order = ['first']"})");
  EXPECT_THAT(first.next()->data, HasSubstr("begun"));
  EXPECT_EQ(run("order.append('second'); print(order)").out, "['first', 'second']\n");
  EXPECT_EQ(rest_of(first).close.code, 1000);
}

// ---- Files

TEST_F(Toolbox, FilesGoInAndOut) {
  const std::string binary("\0\r\n--A\xFF\n", 8);
  const Reply up = bulk_upload(part("files[0].path", "up/a.bin") + part("files[0].file", binary) +
                               part("files[1].path", "/home/user/up/b.txt") + part("files[1].file", ""));
  EXPECT_EQ(up.body, R"({"files":[{"path":"up/a.bin","bytes":8},{"path":"/home/user/up/b.txt","bytes":0}]})");
  const Reply down = get("/files/download?path=up/a.bin");
  EXPECT_EQ(down.body, binary);
  EXPECT_EQ(down.headers.at("content-type"), "application/octet-stream");
  EXPECT_EQ(down.headers.at("content-disposition"), "attachment; filename=a.bin");
  const Reply piece = get("/files/download?path=up/a.bin", {{"Range", "bytes=3-4"}});
  EXPECT_EQ(piece.status, 206);
  EXPECT_EQ(piece.body, "--");
  expect_error(get("/files/download?path=up"), 400, "BAD_REQUEST");
  expect_error(get("/files/download?path=none"), 404, "FILE_NOT_FOUND");
  expect_error(get("/files/download"), 400, "BAD_REQUEST");
}

TEST_F(Toolbox, ABulkUploadTellsWhatFailed) {
  const Reply reply =
      bulk_upload(part("files[0].file", "x") + part("files[1].path", "/tmp") + part("files[1].file", "y") +
                  part("files[2].path", "/tmp/kept") + part("files[2].file", "z"));
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.object().at("errors").as_array().size(), 2U) << reply.body;
  EXPECT_EQ(reply.object().at("files").as_array().size(), 1U) << reply.body;
  EXPECT_EQ(output_of("cat /tmp/kept"), "z");
  EXPECT_EQ(send("POST", "/files/bulk-upload", "x", {{"Content-Type", "text/plain"}}).body,
            R"({"errors":["invalid multipart form"],"files":[]})");
}

TEST_F(Toolbox, ABulkDownloadIsAFormWithAFixedBoundary) {
  write("down/a.txt", "hello");
  const Reply reply = post("/files/bulk-download", {{"paths", json::array{"down/a.txt", "none", "down"}}});
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "multipart/form-data; boundary=DAYTONA-FILE-BOUNDARY");
  EXPECT_THAT(reply.body,
              StartsWith("--DAYTONA-FILE-BOUNDARY\r\nContent-Disposition: form-data; name=\"file\"; "
                         "filename=\"down/a.txt\"; filename*=utf-8''down%2Fa.txt\r\n"
                         "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello\r\n"));
  EXPECT_THAT(reply.body, HasSubstr("name=\"error\"; filename=\"none\""));
  EXPECT_THAT(reply.body, HasSubstr("FILE_NOT_FOUND"));
  EXPECT_THAT(reply.body, HasSubstr("INVALID_FILE_PATH"));
  EXPECT_THAT(reply.body, ::testing::EndsWith("\r\n--DAYTONA-FILE-BOUNDARY--\r\n"));
  expect_error(post("/files/bulk-download", {{"paths", json::array()}}), 400, "INVALID_REQUEST_BODY");
}

TEST_F(Toolbox, SingleUploads) {
  const Headers form{{"Content-Type", "multipart/form-data; boundary=B"}};
  EXPECT_EQ(send("POST", "/files/upload?path=single/a",
                 part("other", "no") + part("file", "one") + "--B--\r\n", form)
                .status,
            200);
  EXPECT_EQ(send("POST", "/files/upload-v2?path=single/b", part("file", "two") + "--B--\r\n", form).body,
            R"({"name":"b","path":"/home/user/single/b","type":"file"})");
  EXPECT_EQ(send("POST", "/files/upload-v2?path=single/c", "three", {{"Content-Type", "text/plain"}}).status,
            200);
  EXPECT_EQ(output_of("cat single/a single/b single/c"), "onetwothree");
  expect_error(send("POST", "/files/upload?path=x", part("other", "no") + "--B--\r\n", form), 400,
               "BAD_REQUEST");
  expect_error(send("POST", "/files/upload?path=x", part("file", "cut"), form), 400, "BAD_REQUEST");
}

TEST_F(Toolbox, FilesAreToldAbout) {
  write("info/sub/deep.txt", "12345");
  (void)output_of("cd info; ln -s sub/deep.txt link; chmod 600 sub/deep.txt; ln -s nowhere dead");
  const json::object info = get("/files/info?path=info/link").object();
  EXPECT_EQ(info.at("name"), "link");
  EXPECT_EQ(info.at("size"), 5);
  EXPECT_EQ(info.at("mode"), "-rw-------");
  EXPECT_EQ(info.at("permissions"), "0600");
  EXPECT_EQ(info.at("isDir"), false);
  const auto names = [this](const std::string& target) {
    std::string all;
    const json::array list = get(target).json().as_array();
    for (const json::value& each : list)
      all += std::string(each.as_object().at("path").as_string()).substr(sizeof "/home/user/info") + " ";
    return all;
  };
  EXPECT_EQ(names("/files?path=info"), "dead link sub ");
  EXPECT_EQ(names("/files?path=info&depth=2"), "dead link sub sub/deep.txt ");
  EXPECT_EQ(get("/files?path=info/sub").json().as_array().at(0).as_object().at("isDir"), false);
  expect_error(get("/files?path=none"), 404, "FILE_NOT_FOUND");
  expect_error(get("/files?path=info&depth=0"), 400, "BAD_REQUEST");
  expect_error(get("/files/info?path=none"), 404, "FILE_NOT_FOUND");
}

TEST_F(Toolbox, FilesAreMadeMovedAndRemoved) {
  EXPECT_EQ(send("POST", "/files/folder?path=made/deep&mode=0700").status, 201);
  EXPECT_EQ(get("/files/info?path=made/deep").text("permissions"), "0700");
  EXPECT_EQ(send("POST", "/files/folder?path=made/deep&mode=0700").status, 201) << "it is there already";
  expect_error(send("POST", "/files/folder?path=made&mode=999"), 400, "BAD_REQUEST");
  write("made/a", "x");
  EXPECT_EQ(send("POST", "/files/move?source=made/a&destination=made/b").status, 200);
  expect_error(send("POST", "/files/move?source=made/a&destination=made/c"), 404, "FILE_NOT_FOUND");
  expect_error(send("POST", "/files/move?source=made/b&destination=none/c"), 404, "FILE_NOT_FOUND");
  expect_error(send("POST", "/files/move?source=made/b&destination=made/deep"), 409, "CONFLICT");
  EXPECT_EQ(send("POST", "/files/permissions?path=made/b&mode=0640").status, 200);
  EXPECT_EQ(get("/files/info?path=made/b").text("mode"), "-rw-r-----");
  expect_error(send("POST", "/files/permissions?path=made/b&owner=nobody-here"), 400, "BAD_REQUEST");
  expect_error(send("DELETE", "/files?path=made"), 400, "BAD_REQUEST");
  EXPECT_EQ(send("DELETE", "/files?path=made/b").status, 204);
  EXPECT_EQ(send("DELETE", "/files?path=made&recursive=true").status, 204);
  expect_error(send("DELETE", "/files?path=made"), 404, "FILE_NOT_FOUND");
}

TEST_F(Toolbox, FilesAreSearchedAndReplacedIn) {
  write("search/a.py", "one\nneedle.x here\n");
  write("search/b.txt", std::string("needle.x\0", 9));
  write("search/deep/c.py", "needlesx");
  EXPECT_EQ(get("/files/search?path=search&pattern=*.py").body,
            R"({"files":["search/a.py","search/deep/c.py"]})");
  EXPECT_EQ(get("/files/search?path=search&pattern=none").body, R"({"files":[]})");
  EXPECT_EQ(get("/files/find?path=search&pattern=needle.x").body,
            R"([{"file":"search/a.py","line":2,"content":"needle.x here"}])");
  const Reply replaced = post(
      "/files/replace",
      {{"files", json::array{"search/a.py", "search/none"}}, {"pattern", "needle.x"}, {"newValue", "pin"}});
  const json::array results = replaced.json().as_array();
  EXPECT_EQ(results.at(0), (json::object{{"file", "search/a.py"}, {"success", true}}));
  EXPECT_EQ(results.at(1).as_object().at("success"), false);
  EXPECT_EQ(output_of("cat search/a.py"), "one\npin here\n");
}

// ---- Ports

TEST_F(Toolbox, PortsThatListenAreSeen) {
  EXPECT_EQ(get("/port/3456/in-use").body, R"({"isInUse":false})");
  (void)output_of(
      "python3 -m http.server 3456 --bind 127.0.0.1 >/dev/null 2>&1 & "
      "until (exec 3<>/dev/tcp/127.0.0.1/3456) 2>/dev/null; do sleep 0.05; done");
  EXPECT_EQ(get("/port/3456/in-use").body, R"({"isInUse":true})");
  EXPECT_EQ(get("/port").body, R"({"ports":[3456]})");
  expect_error(get("/port/80/in-use"), 400, "BAD_REQUEST");
  expect_error(get("/port/x/in-use"), 400, "BAD_REQUEST");
}

// ---- Git

TEST_F(Toolbox, RepositoriesAreWorkedWith) {
  if (execute("git --version").object().at("exitCode") != 0) GTEST_SKIP() << "there is no git here";
  EXPECT_EQ(post("/git/init", {{"path", "origin.git"}, {"bare", true}, {"initial_branch", "main"}}).status,
            201);
  EXPECT_EQ(post("/git/clone", {{"url", "/home/user/origin.git"}, {"path", "repo"}}).status, 200);
  write("repo/a.txt", "one");
  EXPECT_EQ(
      get("/git/status?path=repo").object().at("fileStatus").as_array().at(0).as_object(),
      (json::object{{"name", "a.txt"}, {"staging", "Untracked"}, {"worktree", "Untracked"}, {"extra", ""}}));
  EXPECT_EQ(post("/git/add", {{"path", "repo"}, {"files", json::array{"."}}}).status, 200);
  const json::object commit{{"path", "repo"}, {"message", "first"}, {"author", "A B"}, {"email", "a@b.c"}};
  const Reply committed = post("/git/commit", commit);
  EXPECT_EQ(committed.status, 200) << committed.body;
  expect_error(post("/git/commit", commit), 400, "BAD_REQUEST");
  EXPECT_EQ(post("/git/push", {{"path", "repo"}}).status, 200);
  const json::object logged = get("/git/history?path=repo").json().as_array().at(0).as_object();
  EXPECT_EQ(logged.at("hash"), committed.object().at("hash"));
  EXPECT_EQ(logged.at("author"), "A B");
  EXPECT_EQ(logged.at("message"), "first\n");
  EXPECT_EQ(post("/git/branches", {{"path", "repo"}, {"name", "side"}}).status, 201);
  EXPECT_EQ(get("/git/branches?path=repo").body, R"({"branches":["main","side"],"current":"side"})");
  expect_error(post("/git/branches", {{"path", "repo"}, {"name", "side"}}), 409, "GIT_BRANCH_EXISTS");
  EXPECT_EQ(post("/git/checkout", {{"path", "repo"}, {"branch", "main"}}).status, 200);
  expect_error(post("/git/checkout", {{"path", "repo"}, {"branch", "none"}}), 404, "GIT_BRANCH_NOT_FOUND");
  EXPECT_EQ(send("DELETE", "/git/branches", R"({"path":"repo","name":"side"})").status, 204);
  EXPECT_EQ(post("/git/pull", {{"path", "repo"}}).status, 200);
  expect_error(get("/git/status?path=/tmp"), 404, "GIT_REPO_NOT_FOUND");
  EXPECT_EQ(get("/git/remotes?path=repo").body,
            R"({"remotes":[{"name":"origin","url":"/home/user/origin.git"}]})");
  EXPECT_EQ(post("/git/config/user", {{"name", "Me"}, {"email", "m@e"}}).status, 200);
  EXPECT_EQ(get("/git/config?key=user.name").body, R"({"value":"Me"})");
  EXPECT_EQ(get("/git/config?key=user.none").body, R"({"value":null})");
}

// ---- What is not there

TEST_F(Toolbox, PartsWithoutTheirProgramsSaySo) {
  expect_error(get("/computeruse/screenshot"), 503, "SERVICE_UNAVAILABLE");
  expect_error(get("/computeruse/a11y/tree"), 503, "A11Y_UNAVAILABLE");
  const json::object project{{"languageId", "python"}, {"pathToProject", "/tmp"}};
  expect_error(post("/lsp/start", project), 500, "INTERNAL_SERVER_ERROR");
  expect_error(post("/lsp/completions", project), 400, "LSP_SERVER_NOT_INITIALIZED");
  expect_error(post("/lsp/start", {{"languageId", "cobol"}, {"pathToProject", "/tmp"}}), 400, "BAD_REQUEST");
}

// ---- The sandbox's own life

TEST(ToolboxLife, ProcessesOutliveAPauseAndConnectionsDoNot) {
  std::unique_ptr<Box> box;
  try {
    box = std::make_unique<Box>();
  } catch (const Error& error) {
    GTEST_SKIP() << "this machine cannot make sandboxes: " << error.what();
  }
  const std::uint16_t port = box->sandbox.port();
  const auto pty = [port] { return test::WebSocketClient(port, "/process/pty/kept/connect"); };
  test::WebSocketClient first(port, "/process/pty/create-connect?id=kept");
  (void)first.next();
  box->sandbox.run([&box] { box->server->paused(); });
  box->sandbox.pause();
  while (first.next()) {  // what was on its way
  }
  box->sandbox.resume();
  box->sandbox.run([&box] { box->server->resumed(); });
  test::WebSocketClient second = pty();
  EXPECT_THAT(second.next()->data, HasSubstr("connected"));
  second.text("exit\n");
  EXPECT_EQ(second.rest().code, 1000);
  test::WebSocketClient third(port, "/process/pty/create-connect?id=lost");
  (void)third.next();
  box->sandbox.kill();
  while (third.next()) {  // it ends in one way or another
  }
}

}  // namespace
}  // namespace sandkey::daytona_toolbox
