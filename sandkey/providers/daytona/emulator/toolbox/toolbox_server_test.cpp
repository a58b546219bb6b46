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

}  // namespace
}  // namespace sandkey::daytona_toolbox
