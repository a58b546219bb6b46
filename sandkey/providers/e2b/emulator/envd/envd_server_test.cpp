// EnvdServer in front of a real sandbox, spoken to as E2B's SDKs do.
#include "sandkey/providers/e2b/emulator/envd/envd_server.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/percent.h"
#include "sandkey/emulator/machine/gzip.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/connect_envelope.h"
#include "sandkey/net/http_client.h"
#include "sandkey/providers/e2b/emulator/envd/signature.h"
#include "sandkey/providers/e2b/emulator/envd/test_sandbox.h"
#include "tests/agent/raw_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <envd.pb.h>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Headers = std::map<std::string, std::string>;

constexpr const char* kJson = "application/json";

struct Reply {
  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;
  [[nodiscard]] json::object object() const { return parse_json(body, "the reply").as_object(); }
  [[nodiscard]] std::string code() const { return std::string(object().at("code").as_string()); }
};

// One client of a sandbox's server.
class Client {
 public:
  explicit Client(TestSandbox& sandbox) : sandbox_(sandbox), http_(sandbox.engine()) {}

  Headers always = {};  // with every request

  Reply send(const std::string& method, const std::string& target, const std::string& body = {},
             const Headers& headers = {}) {
    HttpResponse response = sandbox_.engine().wait(http_.send(request(method, target, body, headers)));
    Reply reply{.status = response.status, .body = std::move(response.body), .headers = {}};
    for (const auto& [name, value] : response.headers.list()) reply.headers.emplace(name, value);
    return reply;
  }
  Reply get(const std::string& target, const Headers& headers = {}) {
    return send("GET", target, {}, headers);
  }
  // A unary call.
  Reply call(const std::string& procedure, const json::object& message, Headers headers = {}) {
    headers.emplace("Content-Type", kJson);
    return send("POST", "/" + procedure, write_json(message), headers);
  }
  // Writes a file, and expects that to go well.
  void write(const std::string& path, const std::string& content) {
    const Reply reply =
        send("POST", "/files?path=" + path, content, {{"Content-Type", "application/octet-stream"}});
    EXPECT_EQ(reply.status, 200) << reply.body;
  }

  HttpRequest request(const std::string& method, const std::string& target, const std::string& body,
                      const Headers& headers) {
    HttpRequest made;
    made.method = method;
    made.url = "http://127.0.0.1:" + std::to_string(sandbox_.port()) + target;
    made.body = body;
    for (const auto& [name, value] : always) made.headers.set(name, value);
    for (const auto& [name, value] : headers) made.headers.set(name, value);
    made.deadline = sandbox_.engine().in(60s);
    return made;
  }
  TestSandbox& sandbox() noexcept { return sandbox_; }
  HttpClient& http() noexcept { return http_; }

 private:
  TestSandbox& sandbox_;
  HttpClient http_;
};

// A streaming call and what comes of it.
class Stream {
 public:
  Stream(Client& client, const std::string& procedure, const json::object& message, Headers headers = {})
      : engine_(client.sandbox().engine()) {
    headers.emplace("Content-Type", "application/connect+json");
    HttpRequest made =
        client.request("POST", "/" + procedure, connect_envelope(write_json(message)), headers);
    HttpStream stream = engine_.wait(client.http().open(std::move(made)));
    status_ = stream.status();
    reader_.emplace(source_of(std::move(stream)));
  }

  [[nodiscard]] int status() const noexcept { return status_; }
  // The next message; nothing at the end, which went well or not.
  std::optional<json::object> next() {
    const std::optional<ConnectMessage> message = engine_.wait(reader_->next());
    if (!message) throw std::runtime_error("the stream has ended before");
    if (!message->end_of_stream) return parse_json(message->payload, "a message").as_object();
    failure_ = parse_connect_end(message->payload);
    return std::nullopt;
  }
  // "start", "data", ...: which event the next message has; empty at the end.
  std::string next_event() {
    const std::optional<json::object> message = next();
    if (!message) return {};
    const json::object& event = message->contains("event") ? message->at("event").as_object() : *message;
    std::string name(event.begin()->key());
    event_ = event.begin()->value().as_object();
    return name;
  }
  [[nodiscard]] const json::object& event() const noexcept { return event_; }
  [[nodiscard]] const std::optional<ConnectFailure>& failure() const noexcept { return failure_; }

  // The process's number, from its first event.
  int started() {
    EXPECT_EQ(next_event(), "start");
    return static_cast<int>(find_integer(event_, "pid").value_or(0));
  }
  // Output up to the end, or until `text` is in it.
  struct Output {
    std::string out, err, pty;
    std::optional<json::object> end = std::nullopt;
  };
  Output output(const std::string& text = {}) {
    Output got;
    while (true) {
      const std::string event = next_event();
      if (event.empty()) return got;
      if (event == "end") got.end = event_;
      if (event != "data") continue;
      for (auto& [channel, into] : {std::pair("stdout", &got.out), {"stderr", &got.err}, {"pty", &got.pty}}) {
        if (const auto bytes = find_string(event_, channel)) *into += base64_decode(*bytes).value_or("?");
      }
      if (!text.empty() && (got.out + got.pty).find(text) != std::string::npos) return got;
    }
  }

 private:
  Engine& engine_;
  int status_ = 0;
  std::optional<ConnectReader> reader_;
  json::object event_;
  std::optional<ConnectFailure> failure_;
};

json::object command(const std::string& script, json::object more = {}) {
  more["cmd"] = "/bin/bash";
  more["args"] = json::array{"-c", json::string(script)};
  json::object request;
  request["process"] = std::move(more);
  request["stdin"] = false;
  return request;
}

json::object selector(int pid) {
  return json::object{{"pid", pid}};
}

json::object input(int pid, const std::string& channel, const std::string& text) {
  json::object request;
  request["process"] = selector(pid);
  request["input"] = json::object{{json::string(channel), base64_encode(text)}};
  return request;
}

// One sandbox for all tests that leave it as it was: they work in folders of their own.
class Envd : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    try {
      EnvdSettings settings;
      settings.env_vars = {{"COLOUR", "blue"}};
      settings.sandbox_id = "i0000000000000000test";
      settings.template_id = "base";
      sandbox_ = std::make_unique<TestSandbox>(std::move(settings));
    } catch (const Error& error) {
      reason_ = error.what();
    }
  }
  static void TearDownTestSuite() { sandbox_.reset(); }
  void SetUp() override {
    if (!sandbox_) GTEST_SKIP() << "this machine cannot make sandboxes: " << reason_;
    client.emplace(*sandbox_);
  }
  void TearDown() override { client.reset(); }

  Stream start(const std::string& script, json::object more = {}) {
    return {*client, "process.Process/Start", command(script, std::move(more))};
  }
  Reply signal(int pid, const char* name) {
    return client->call("process.Process/SendSignal", {{"process", selector(pid)}, {"signal", name}});
  }

  std::optional<Client> client;
  static inline std::unique_ptr<TestSandbox> sandbox_;
  static inline std::string reason_;
};

// Processes

TEST_F(Envd, ACommandIsFollowedToItsEnd) {
  Stream stream = start("echo out; echo err >&2");
  EXPECT_EQ(stream.status(), 200);
  EXPECT_GT(stream.started(), 1);
  const Stream::Output got = stream.output();
  EXPECT_EQ(got.out, "out\n");
  EXPECT_EQ(got.err, "err\n");
  ASSERT_TRUE(got.end);
  EXPECT_EQ(*got.end, (json::object{{"exited", true}, {"status", "exit status 0"}}))
      << "no exit code, since it is 0";
  EXPECT_FALSE(stream.failure());
}

TEST_F(Envd, ExitCodesAndSignalsAreWordedAsGoDoes) {
  Stream failing = start("exit 7");
  failing.started();
  EXPECT_EQ(*failing.output().end,
            (json::object{
                {"exitCode", 7}, {"exited", true}, {"status", "exit status 7"}, {"error", "exit status 7"}}));
  Stream killed = start("kill -SEGV $$");
  killed.started();
  const json::object end = *killed.output().end;
  EXPECT_EQ(end.at("exitCode"), -1);
  EXPECT_FALSE(end.contains("exited"));
  EXPECT_EQ(end.at("status"), "signal: segmentation fault");
  EXPECT_EQ(end.at("error"), "signal: segmentation fault");
}

TEST_F(Envd, AMissingProgramIsAnEndAndNoError) {
  Stream stream(*client, "process.Process/Start", {{"process", json::object{{"cmd", "nosuchprogram"}}}});
  stream.started();
  EXPECT_EQ(stream.output().end->at("exitCode"), 127);
}

TEST_F(Envd, ACommandHasTheSandboxsVariablesItsOwnAndNoOthers) {
  const json::object envs{{"MINE", "a b"}, {"E2B_TEMPLATE_ID", "changed"}};
  Stream stream(*client, "process.Process/Start",
                {{"process", json::object{{"cmd", "/usr/bin/env"}, {"envs", envs}}}});
  stream.started();
  std::string out = stream.output().out;
  std::vector<std::string> names;
  for (std::size_t at = 0; at < out.size(); at = out.find('\n', at) + 1)
    names.push_back(out.substr(at, out.find('\n', at) - at));
  std::sort(names.begin(), names.end());
  EXPECT_THAT(names, ElementsAre("COLOUR=blue", "E2B_SANDBOX=true", "E2B_SANDBOX_ID=i0000000000000000test",
                                 "E2B_TEMPLATE_ID=changed", "HOME=/home/user", "LOGNAME=user", "MINE=a b",
                                 StartsWith("PATH=/"), "PWD=/home/user", "USER=user"));
}

TEST_F(Envd, TheFolderOfACommand) {
  const auto pwd = [this](json::object config) {
    Stream stream = start("pwd", std::move(config));
    stream.started();
    return stream.output().out;
  };
  EXPECT_EQ(pwd({}), "/home/user\n");
  EXPECT_EQ(pwd({{"cwd", "/tmp"}}), "/tmp\n");
  client->write("sub/file", "");
  EXPECT_EQ(pwd({{"cwd", "sub"}}), "/home/user/sub\n");
  EXPECT_EQ(pwd({{"cwd", "~/sub"}}), "/home/user/sub\n");
  Stream missing = start("pwd", {{"cwd", "/none"}});
  EXPECT_EQ(missing.next_event(), "");
  EXPECT_EQ(*missing.failure(), (ConnectFailure{"invalid_argument", "cwd '/none' does not exist"}));
}

TEST_F(Envd, AnUnknownUserIsRefusedInTheFormOfTheCall) {
  const Headers mallory{{"Authorization", "Basic " + base64_encode("mallory:")}};
  Stream stream(*client, "process.Process/Start", command("true"),
                {{"Authorization", "Basic " + base64_encode("mallory:")}});
  EXPECT_EQ(stream.status(), 200);
  EXPECT_EQ(stream.next_event(), "");
  EXPECT_EQ(stream.failure()->code, "unauthenticated");
  const Reply unary = client->call("filesystem.Filesystem/Stat", {{"path", "/"}}, mallory);
  EXPECT_EQ(unary.status, 401);
  EXPECT_EQ(unary.code(), "unauthenticated");
  EXPECT_EQ(client->get("/health", mallory).status, 401);
}

TEST_F(Envd, InputGoesToTheProcess) {
  json::object request = command("read line; echo \"got $line\"; cat");
  request.erase("stdin");  // unset means that there is one
  Stream stream(*client, "process.Process/Start", request);
  const int pid = stream.started();
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "stdin", "one\n")).body, "{}");
  EXPECT_EQ(stream.output("got one\n").out, "got one\n");
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "pty", "x")).code(), "internal");
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "stdin", "two")).status, 200);
  EXPECT_EQ(client->call("process.Process/CloseStdin", {{"process", selector(pid)}}).status, 200);
  const Stream::Output got = stream.output();
  EXPECT_EQ(got.out, "two");
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "stdin", "x")).code(), "not_found");
}

TEST_F(Envd, InputIsRefusedWhereThereIsNone) {
  Stream stream = start("sleep 1000");
  const int pid = stream.started();
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "stdin", "x")).code(), "internal");
  EXPECT_EQ(client->call("process.Process/CloseStdin", {{"process", selector(pid)}}).status, 200)
      << "done already";
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").status, 200);
  EXPECT_EQ(stream.output().end->at("status"), "signal: killed");
}

TEST_F(Envd, InputIsStreamed) {
  json::object request = command("cat");
  request["stdin"] = true;
  Stream stream(*client, "process.Process/Start", request);
  const int pid = stream.started();
  std::string body =
      connect_envelope(write_json(json::object{{"start", json::object{{"process", selector(pid)}}}}));
  const auto data = [](const std::string& text) {
    const json::object event{{"data", json::object{{"input", json::object{{"stdin", base64_encode(text)}}}}}};
    return connect_envelope(write_json(event));
  };
  body += data("first ") + connect_envelope(R"({"keepalive":{}})") + data("second");
  const Reply reply = client->send("POST", "/process.Process/StreamInput", body,
                                   {{"Content-Type", "application/connect+json"}});
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, connect_envelope("{}") + connect_envelope("{}", true));
  EXPECT_EQ(client->call("process.Process/CloseStdin", {{"process", selector(pid)}}).status, 200);
  EXPECT_EQ(stream.output().out, "first second");
}

TEST_F(Envd, StreamedInputMustSayForWhom) {
  const std::string early = connect_envelope(R"({"data":{"input":{"stdin":"eA=="}}})");
  const Reply reply = client->send("POST", "/process.Process/StreamInput", early,
                                   {{"Content-Type", "application/connect+json"}});
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("invalid_argument"));
  const std::string broken = connect_envelope("{}").substr(0, 6);
  EXPECT_THAT(client
                  ->send("POST", "/process.Process/StreamInput", broken,
                         {{"Content-Type", "application/connect+json"}})
                  .body,
              HasSubstr("invalid_argument"));
}

TEST_F(Envd, StreamedInputKeepsItsDeadline) {
  json::object request = command("sleep 1000");
  request["stdin"] = true;
  Stream stream(*client, "process.Process/Start", request);
  const int pid = stream.started();
  std::string body =
      connect_envelope(write_json(json::object{{"start", json::object{{"process", selector(pid)}}}}));
  // More than any pipe takes of what nobody reads.
  json::object event;
  event["data"] =
      json::object{{"input", json::object{{"stdin", base64_encode(std::string(2'000'000, 'x'))}}}};
  body += connect_envelope(write_json(event));
  const Reply reply =
      client->send("POST", "/process.Process/StreamInput", body,
                   {{"Content-Type", "application/connect+json"}, {"Connect-Timeout-Ms", "200"}});
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("deadline_exceeded"));
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").status, 200);
  EXPECT_EQ(stream.output().end->at("status"), "signal: killed");
}

TEST_F(Envd, SignalsReachTheProcessAlone) {
  Stream stream = start("trap 'exit 9' TERM; sleep 1000 & echo $!; wait");
  const int pid = stream.started();
  const int child = std::stoi(stream.output("\n").out);
  EXPECT_EQ(signal(pid, "SIGNAL_SIGTERM").body, "{}");
  EXPECT_EQ(stream.output().end->at("exitCode"), 9);
  Stream look = start("kill -0 " + std::to_string(child) + " && kill " + std::to_string(child));
  look.started();
  EXPECT_FALSE(look.output().end->contains("exitCode")) << "the child lived on";
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").code(), "not_found");
}

TEST_F(Envd, OtherSignalsAreUnimplemented) {
  Stream stream = start("sleep 1000");
  const int pid = stream.started();
  EXPECT_EQ(signal(pid, "SIGNAL_UNSPECIFIED").status, 501);
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").status, 200);
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").status, 404) << "since then it is gone";
}

TEST_F(Envd, TheDeadlineKillsTheProcess) {
  Stream stream(*client, "process.Process/Start", command("echo begun; sleep 1000"),
                {{"Connect-Timeout-Ms", "300"}});
  const int pid = stream.started();
  EXPECT_EQ(stream.output().out, "begun\n");
  EXPECT_EQ(*stream.failure(), (ConnectFailure{"deadline_exceeded", "context deadline exceeded"}));
  EXPECT_EQ(client->call("process.Process/List", {}).body, "{}");
  Stream after(*client, "process.Process/Connect", {{"process", selector(pid)}});
  EXPECT_EQ(after.started(), pid);
  EXPECT_EQ(after.output().end->at("status"), "signal: killed");
}

TEST_F(Envd, ADeadlineOfAConnectEndsOnlyTheStream) {
  Stream stream = start("echo begun; sleep 1000");
  const int pid = stream.started();
  EXPECT_EQ(stream.output("begun").out, "begun\n");
  Stream other(*client, "process.Process/Connect", {{"process", selector(pid)}},
               {{"Connect-Timeout-Ms", "50"}});
  EXPECT_EQ(other.started(), pid);
  EXPECT_EQ(other.output().end, std::nullopt);
  EXPECT_EQ(other.failure()->code, "deadline_exceeded");
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").status, 200) << "it still ran";
  EXPECT_TRUE(stream.output().end);
}

TEST_F(Envd, ABadDeadlineIsRefused) {
  for (const char* bad : {"x", "-1", "12345678901", "1.5"}) {
    Stream stream(*client, "process.Process/Start", command("true"), {{"Connect-Timeout-Ms", bad}});
    EXPECT_EQ(stream.next_event(), "") << bad;
    EXPECT_EQ(stream.failure()->code, "invalid_argument") << bad;
  }
}

TEST_F(Envd, AProcessOutlivesItsClientAndIsFoundAgain) {
  json::object request = command("while read x; do echo \"got $x\"; done");
  request["stdin"] = true;
  request["tag"] = "lasting";
  int pid = 0;
  {
    Stream stream(*client, "process.Process/Start", request);
    pid = stream.started();
  }
  const json::object list = client->call("process.Process/List", {}).object();
  ASSERT_EQ(list.at("processes").as_array().size(), 1U);
  const json::object& info = list.at("processes").at(0).as_object();
  EXPECT_EQ(info.at("pid"), pid);
  EXPECT_EQ(info.at("tag"), "lasting");
  EXPECT_EQ(info.at("config").at("cmd"), "/bin/bash");
  // Both of its clients are told.
  Stream one(*client, "process.Process/Connect", {{"process", selector(pid)}});
  Stream two(*client, "process.Process/Connect", {{"process", json::object{{"tag", "lasting"}}}});
  EXPECT_EQ(one.started(), pid);
  EXPECT_EQ(two.started(), pid);
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "stdin", "a\n")).status, 200);
  EXPECT_EQ(one.output("\n").out, "got a\n");
  EXPECT_EQ(two.output("\n").out, "got a\n");
  EXPECT_EQ(client->call("process.Process/CloseStdin", {{"process", selector(pid)}}).status, 200);
  EXPECT_TRUE(one.output().end);
  EXPECT_TRUE(two.output().end);
  EXPECT_EQ(client->call("process.Process/List", {}).body, "{}");
}

TEST_F(Envd, AnUnknownProcessIsNotFound) {
  Stream stream(*client, "process.Process/Connect", {{"process", selector(999999)}});
  EXPECT_EQ(stream.next_event(), "");
  EXPECT_EQ(stream.failure()->code, "not_found");
  EXPECT_EQ(client->call("process.Process/Update", {{"process", selector(999999)}}).status, 404);
  EXPECT_EQ(client->call("process.Process/Update", {}).status, 404);
}

TEST_F(Envd, KeepalivesComeWhenNothingElseDoes) {
  Stream stream(*client, "process.Process/Start", command("sleep 1000"), {{"Keepalive-Ping-Interval", "1"}});
  const int pid = stream.started();
  EXPECT_EQ(stream.next_event(), "keepalive");
  EXPECT_EQ(stream.next_event(), "keepalive");
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").status, 200);
  EXPECT_TRUE(stream.output().end);
}

TEST_F(Envd, MuchOutputComesWholeAndInPieces) {
  Stream stream = start("head -c 1000000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero | tr '\\0' y >&2");
  stream.started();
  std::size_t out = 0, err = 0;
  for (std::string event = stream.next_event(); event == "data"; event = stream.next_event()) {
    const auto bytes = [&stream](const char* channel) {
      return base64_decode(find_string(stream.event(), channel).value_or(""))->size();
    };
    EXPECT_LE(bytes("stdout") + bytes("stderr"), 32U * 1024);
    out += bytes("stdout");
    err += bytes("stderr");
  }
  EXPECT_EQ(out, 1'000'000U);
  EXPECT_EQ(err, 100'000U);
}

TEST_F(Envd, ATerminalIsOneAndCanBeResized) {
  json::object request;
  request["process"] = json::object{{"cmd", "/bin/sh"}, {"envs", json::object{{"PS1", "% "}}}};
  request["pty"] = json::object{{"size", json::object{{"cols", 91}, {"rows", 33}}}};
  Stream stream(*client, "process.Process/Start", request);
  const int pid = stream.started();
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "pty", "stty size\n")).status, 200);
  EXPECT_THAT(stream.output("33 91").pty, HasSubstr("33 91"));
  json::object update;
  update["process"] = selector(pid);
  update["pty"] = json::object{{"size", json::object{{"cols", 70}, {"rows", 20}}}};
  EXPECT_EQ(client->call("process.Process/Update", update).body, "{}");
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "pty", "stty size\n")).status, 200);
  EXPECT_THAT(stream.output("20 70").pty, HasSubstr("20 70"));
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "stdin", "x")).status, 500);
  EXPECT_EQ(client->call("process.Process/CloseStdin", {{"process", selector(pid)}}).code(), "unknown");
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "pty", "exit 4\n")).status, 200);
  EXPECT_EQ(stream.output().end->at("exitCode"), 4);
}

TEST_F(Envd, OnlyTerminalsAreResized) {
  Stream stream = start("sleep 1000");
  const int pid = stream.started();
  const json::object size{{"size", json::object{{"cols", 70}, {"rows", 20}}}};
  EXPECT_EQ(client->call("process.Process/Update", {{"process", selector(pid)}, {"pty", size}}).code(),
            "internal");
  EXPECT_EQ(signal(pid, "SIGNAL_SIGKILL").status, 200);
}

// The protocol

TEST_F(Envd, TheBinaryFormSaysTheSame) {
  client->write("binary/file", "12345");
  StatRequest request;
  request.set_path("binary/file");
  const Reply reply = client->send("POST", "/filesystem.Filesystem/Stat", request.SerializeAsString(),
                                   {{"Content-Type", "application/proto"}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.headers.at("Content-Type"), "application/proto");
  StatResponse response;
  ASSERT_TRUE(response.ParseFromString(reply.body));
  EXPECT_EQ(response.entry().path(), "/home/user/binary/file");
  EXPECT_EQ(response.entry().size(), 5);
  request.set_path("none");
  const Reply missing = client->send("POST", "/filesystem.Filesystem/Stat", request.SerializeAsString(),
                                     {{"Content-Type", "application/proto"}});
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.code(), "not_found") << "errors are JSON in either form";
}

TEST_F(Envd, TheBinaryFormIsStreamedAsWell) {
  StartRequest request;
  request.mutable_process()->set_cmd("/bin/sh");
  request.mutable_process()->add_args("-c");
  request.mutable_process()->add_args("echo hi; exit 3");
  const Reply reply =
      client->send("POST", "/process.Process/Start", connect_envelope(request.SerializeAsString()),
                   {{"Content-Type", "application/connect+proto"}});
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("Content-Type"), "application/connect+proto");
  ConnectDecoder decoder;
  decoder.feed(reply.body);
  decoder.finish();
  std::vector<StartResponse> events;
  std::optional<ConnectMessage> message = decoder.next();
  for (; message && !message->end_of_stream; message = decoder.next())
    ASSERT_TRUE(events.emplace_back().ParseFromString(message->payload));
  EXPECT_EQ(message->payload, "{}");
  ASSERT_EQ(events.size(), 3U);
  EXPECT_GT(events[0].event().start().pid(), 1U);
  EXPECT_EQ(events[1].event().data().stdout(), "hi\n");
  EXPECT_EQ(events[2].event().end().exit_code(), 3);
}

TEST_F(Envd, WhatIsNoCallOfConnectIsRefused) {
  EXPECT_EQ(client->send("GET", "/process.Process/List").status, 405);
  EXPECT_EQ(client->send("POST", "/process.Process/List", "{}", {{"Content-Type", "text/plain"}}).status,
            415);
  EXPECT_EQ(client->send("POST", "/process.Process/Start", "{}", {{"Content-Type", kJson}}).status, 415);
  EXPECT_EQ(client->call("process.Process/Nothing", {}).status, 404);
  for (const char* body : {"", "[]", "{", R"({"path":1})"}) {
    const Reply reply = client->send("POST", "/filesystem.Filesystem/Stat", body, {{"Content-Type", kJson}});
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(reply.code(), "invalid_argument") << body;
  }
  const Reply unknown_field = client->call("filesystem.Filesystem/Stat", {{"path", "/"}, {"new", 1}});
  EXPECT_EQ(unknown_field.status, 200) << "newer clients may say more";
}

TEST_F(Envd, CompressedRequestsAreTakenApart) {
  machine::Compressor compressor;
  const std::string body = compressor.feed(R"({"path":"/"})", true);
  EXPECT_EQ(client
                ->send("POST", "/filesystem.Filesystem/Stat", body,
                       {{"Content-Type", kJson}, {"Content-Encoding", "gzip"}})
                .status,
            200);
  EXPECT_EQ(client
                ->send("POST", "/filesystem.Filesystem/Stat", "no gzip",
                       {{"Content-Type", kJson}, {"Content-Encoding", "gzip"}})
                .code(),
            "invalid_argument");
  EXPECT_EQ(client
                ->send("POST", "/filesystem.Filesystem/Stat", body,
                       {{"Content-Type", kJson}, {"Content-Encoding", "br"}})
                .code(),
            "unimplemented");
}

TEST_F(Envd, ControlRoutesAreNotThere) {
  for (const char* path :
       {"/init", "/freeze", "/unfreeze", "/collapse", "/fsfreeze", "/fsthaw", "/upgrade", "/x"})
    EXPECT_EQ(client->send("POST", path).status, 404) << path;
  EXPECT_EQ(client->send("DELETE", "/files").status, 405);
}

TEST_F(Envd, SmallRoutes) {
  const Reply health = client->get("/health");
  EXPECT_EQ(health.status, 204);
  EXPECT_EQ(health.headers.at("Cache-Control"), "no-store");
  EXPECT_EQ(client->get("/envs").object().at("COLOUR"), "blue");
  const json::object metrics = client->get("/metrics").object();
  for (const char* name : {"ts", "cpu_count", "mem_total", "mem_used", "mem_cache", "mem_total_mib",
                           "mem_used_mib", "disk_used", "disk_total"}) {
    EXPECT_TRUE(find_integer(metrics, name)) << name;
  }
  EXPECT_GT(metrics.at("mem_total").to_number<std::uint64_t>(),
            metrics.at("mem_used").to_number<std::uint64_t>());
  EXPECT_TRUE(find_number(metrics, "cpu_used_pct"));
  EXPECT_EQ(client->send("OPTIONS", "/files", {}, {{"Access-Control-Request-Method", "POST"}}).status, 204);
}

// Files by Connect

TEST_F(Envd, AnEntryIsDescribed) {
  client->write("entry/file", "12345");
  const json::object entry =
      client->call("filesystem.Filesystem/Stat", {{"path", "entry/file"}}).object().at("entry").as_object();
  EXPECT_EQ(entry.at("name"), "file");
  EXPECT_EQ(entry.at("type"), "FILE_TYPE_FILE");
  EXPECT_EQ(entry.at("path"), "/home/user/entry/file");
  EXPECT_EQ(entry.at("size"), "5") << "64 bits are text in JSON";
  EXPECT_EQ(entry.at("mode"), 0644);
  EXPECT_EQ(entry.at("permissions"), "-rw-r--r--");
  EXPECT_EQ(std::string(entry.at("modifiedTime").as_string()).substr(0, 2), "20");
  const json::object folder =
      client->call("filesystem.Filesystem/Stat", {{"path", "~/entry"}}).object().at("entry").as_object();
  EXPECT_EQ(folder.at("type"), "FILE_TYPE_DIRECTORY");
  EXPECT_EQ(folder.at("permissions"), "drwxr-xr-x");
  EXPECT_EQ(client->call("filesystem.Filesystem/Stat", {{"path", "entry/none"}}).code(), "not_found");
  EXPECT_EQ(client->call("filesystem.Filesystem/Stat", {{"path", "~other/x"}}).code(), "invalid_argument");
}

TEST_F(Envd, LinksLookLikeWhatTheyLeadTo) {
  Stream make = start(
      "mkdir links; cd links; echo x > file; ln -s file link; ln -s none dead; ln -s loop loop; "
      "ln -s . here");
  make.started();
  make.output();
  const auto look = [this](const char* path) {
    return client->call("filesystem.Filesystem/Stat", {{"path", path}}).object().at("entry").as_object();
  };
  const json::object link = look("links/link");
  EXPECT_EQ(link.at("type"), "FILE_TYPE_FILE");
  EXPECT_EQ(link.at("permissions"), "Lrwxrwxrwx");
  EXPECT_EQ(link.at("symlinkTarget"), "/home/user/links/file");
  EXPECT_FALSE(look("links/dead").contains("type"));
  EXPECT_EQ(look("links/here").at("type"), "FILE_TYPE_DIRECTORY");
  const auto list = [this](const char* path) {
    return client->call("filesystem.Filesystem/ListDir", {{"path", path}});
  };
  EXPECT_EQ(list("links/loop").code(), "failed_precondition");
  EXPECT_EQ(list("links/dead").code(), "not_found");
  EXPECT_EQ(list("links/here").object().at("entries").at(0).at("path"), "/home/user/links/here/dead");
}

TEST_F(Envd, FoldersAreListed) {
  client->write("list/b/inner/deep", "");
  client->write("list/a", "");
  const auto paths = [this](json::object request) {
    std::vector<std::string> found;
    const Reply reply = client->call("filesystem.Filesystem/ListDir", request);
    const json::object listed = reply.object();
    for (const json::value& entry : listed.at("entries").as_array())
      found.emplace_back(entry.at("path").as_string());
    return found;
  };
  EXPECT_THAT(paths({{"path", "list"}}), ElementsAre("/home/user/list/a", "/home/user/list/b"));
  EXPECT_THAT(paths({{"path", "/home/user/list"}, {"depth", 2}}),
              ElementsAre("/home/user/list/a", "/home/user/list/b", "/home/user/list/b/inner"));
  EXPECT_EQ(client->call("filesystem.Filesystem/ListDir", {{"path", "list/none"}}).code(), "not_found");
  EXPECT_EQ(client->call("filesystem.Filesystem/ListDir", {{"path", "list/a"}}).code(), "invalid_argument");
  EXPECT_EQ(client->call("filesystem.Filesystem/MakeDir", {{"path", "list/empty"}}).status, 200);
  EXPECT_EQ(client->call("filesystem.Filesystem/ListDir", {{"path", "list/empty"}}).body, "{}");
}

TEST_F(Envd, FoldersAreMadeOnce) {
  const auto make = [this](const char* path) {
    return client->call("filesystem.Filesystem/MakeDir", {{"path", path}});
  };
  EXPECT_EQ(make("make/a/b").object().at("entry").at("path"), "/home/user/make/a/b");
  EXPECT_EQ(make("make/a/b").status, 409);
  EXPECT_EQ(make("make/a").code(), "already_exists");
  client->write("make/file", "");
  EXPECT_EQ(make("make/file").code(), "invalid_argument");
  EXPECT_EQ(make("make/file/below").code(), "internal");
}

TEST_F(Envd, EntriesAreMovedAndRemoved) {
  client->write("move/from", "content");
  const auto move = [this](const char* from, const char* to) {
    return client->call("filesystem.Filesystem/Move", {{"source", from}, {"destination", to}});
  };
  EXPECT_EQ(move("move/from", "/tmp/moved/deep/to").object().at("entry").at("path"), "/tmp/moved/deep/to");
  EXPECT_EQ(client->get("/files?path=/tmp/moved/deep/to").body, "content") << "between two file systems";
  EXPECT_EQ(move("move/from", "move/to").code(), "not_found");
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(client->call("filesystem.Filesystem/Remove", {{"path", "/tmp/moved"}}).body, "{}");
  EXPECT_EQ(client->call("filesystem.Filesystem/Stat", {{"path", "/tmp/moved"}}).status, 404);
}

TEST_F(Envd, AFolderIsWatchedOnAStream) {
  client->write("watch/old", "");
  Stream stream(*client, "filesystem.Filesystem/WatchDir",
                {{"path", "watch"}, {"recursive", true}, {"includeEntry", true}});
  EXPECT_EQ(stream.next_event(), "start");
  client->write("watch/new", "12");
  EXPECT_EQ(client->call("filesystem.Filesystem/Remove", {{"path", "watch/new"}}).status, 200);
  std::vector<std::string> seen;
  while (seen.empty() || seen.back() != "EVENT_TYPE_REMOVE") {
    ASSERT_EQ(stream.next_event(), "filesystem");
    EXPECT_EQ(stream.event().at("name"), "new");
    seen.emplace_back(stream.event().at("type").as_string());
  }
  EXPECT_EQ(seen.front(), "EVENT_TYPE_CREATE");
  EXPECT_FALSE(stream.event().contains("entry")) << "of what is gone";
  client->write("watch/kept", "123");
  ASSERT_EQ(stream.next_event(), "filesystem");
  EXPECT_EQ(stream.event().at("entry").at("path"), "/home/user/watch/kept");
}

TEST_F(Envd, AWatchEndsAtItsDeadline) {
  Stream stream(*client, "filesystem.Filesystem/WatchDir", {{"path", "/tmp"}},
                {{"Connect-Timeout-Ms", "50"}});
  EXPECT_EQ(stream.next_event(), "start");
  EXPECT_EQ(stream.next_event(), "");
  EXPECT_EQ(stream.failure()->code, "deadline_exceeded");
}

TEST_F(Envd, AFolderIsWatchedForThoseWhoAsk) {
  client->write("asked/old", "");
  const std::string id(client->call("filesystem.Filesystem/CreateWatcher", {{"path", "asked"}})
                           .object()
                           .at("watcherId")
                           .as_string());
  EXPECT_THAT(id, StartsWith("w"));
  const auto events = [&] {
    return client->call("filesystem.Filesystem/GetWatcherEvents", {{"watcherId", id}});
  };
  EXPECT_EQ(events().body, "{}");
  client->write("asked/old", "x");
  std::string seen;
  const auto patience = std::chrono::steady_clock::now() + 30s;
  while (seen.find("EVENT_TYPE_WRITE") == std::string::npos && std::chrono::steady_clock::now() < patience)
    seen += events().body;
  EXPECT_THAT(seen, HasSubstr(R"("name":"old")"));
  EXPECT_EQ(client->call("filesystem.Filesystem/RemoveWatcher", {{"watcherId", id}}).body, "{}");
  EXPECT_EQ(events().code(), "not_found");
  EXPECT_EQ(client->call("filesystem.Filesystem/RemoveWatcher", {{"watcherId", id}}).code(), "not_found");
}

TEST_F(Envd, OnlyFoldersAreWatched) {
  client->write("watched-file", "");
  const auto watch = [this](const char* path) {
    return client->call("filesystem.Filesystem/CreateWatcher", {{"path", path}});
  };
  EXPECT_EQ(watch("watched-file").code(), "invalid_argument");
  EXPECT_EQ(watch("none").code(), "not_found");
}

// Files by HTTP

TEST_F(Envd, AFileIsUploadedAndDownloaded) {
  const std::string content("a\0b\xFF", 4);
  const Reply put = client->send("POST", "/files?path=http/a%20b%20%C3%BC.bin", content,
                                 {{"Content-Type", "application/octet-stream"}});
  EXPECT_EQ(
      put.body,
      "[{\"path\":\"/home/user/http/a b \xC3\xBC.bin\",\"name\":\"a b \xC3\xBC.bin\",\"type\":\"file\"}]");
  EXPECT_EQ(put.headers.at("Content-Type"), "text/plain; charset=utf-8");
  const Reply got = client->get("/files?path=http/a%20b%20%C3%BC.bin");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, content);
  EXPECT_EQ(got.headers.at("Content-Length"), "4");
  EXPECT_EQ(got.headers.at("Content-Type"), "application/octet-stream");
  EXPECT_EQ(got.headers.at("Content-Disposition"), "inline");
  EXPECT_EQ(got.headers.at("Vary"), "Accept-Encoding");
  client->write("http/a%20b%20%C3%BC.bin", "");
  EXPECT_EQ(client->get("/files?path=http/a%20b%20%C3%BC.bin").body, "");
}

TEST_F(Envd, DownloadsThatCannotBe) {
  EXPECT_EQ(client->get("/files?path=/tmp").object(),
            (json::object{{"code", 400}, {"message", "path '/tmp' is a directory"}}));
  EXPECT_EQ(client->get("/files?path=none").object(),
            (json::object{{"code", 404}, {"message", "path '/home/user/none' does not exist"}}));
  EXPECT_EQ(client->get("/files?path=~other/x").status, 400);
  EXPECT_EQ(client->get("/files?path=x&username=mallory").object(),
            (json::object{{"code", 401},
                          {"message", "error looking up user 'mallory': user: unknown user mallory"}}));
  client->write("refused", "x");
  EXPECT_EQ(client->get("/files?path=refused", {{"Accept-Encoding", "identity;q=0"}}).status, 406);
}

TEST_F(Envd, PartsAndConditions) {
  client->write("parts.txt", "0123456789");
  const Reply part =
      client->get("/files?path=parts.txt", {{"Range", "bytes=2-4"}, {"Accept-Encoding", "gzip"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "234");
  EXPECT_EQ(part.headers.at("Content-Range"), "bytes 2-4/10");
  const Reply beyond = client->get("/files?path=parts.txt", {{"Range", "bytes=10-"}});
  EXPECT_EQ(beyond.status, 416);
  EXPECT_EQ(beyond.headers.at("Content-Range"), "bytes */10");
  const std::string modified = client->get("/files?path=parts.txt").headers.at("Last-Modified");
  const Reply unchanged = client->get("/files?path=parts.txt", {{"If-Modified-Since", modified}});
  EXPECT_EQ(unchanged.status, 304);
  EXPECT_EQ(unchanged.body, "");
  EXPECT_EQ(
      client->get("/files?path=parts.txt", {{"If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"}}).status,
      200);
  EXPECT_EQ(client->get("/files?path=parts.txt", {{"Range", "bytes=2-4"}, {"If-Range", modified}}).status,
            206);
  EXPECT_EQ(client
                ->get("/files?path=parts.txt",
                      {{"Range", "bytes=2-4"}, {"If-Range", "Sun, 06 Nov 1994 08:49:37 GMT"}})
                .status,
            200);
}

TEST_F(Envd, CompressionBothWays) {
  const std::string text(300'000, 'z');
  machine::Compressor compressor;
  const Reply put =
      client->send("POST", "/files?path=zipped.txt", compressor.feed(text, true),
                   {{"Content-Type", "application/octet-stream"}, {"Content-Encoding", "gzip"}});
  EXPECT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(client->get("/files?path=zipped.txt").body, text);
  const Reply got = client->get("/files?path=zipped.txt", {{"Accept-Encoding", "gzip"}});
  EXPECT_EQ(got.headers.at("Content-Encoding"), "gzip");
  EXPECT_EQ(got.headers.count("Content-Length"), 0U);
  EXPECT_LT(got.body.size(), 10'000U);
  EXPECT_EQ(machine::gunzip(got.body, 1'000'000), text);
  for (const auto& [encoding, body] : {std::pair("gzip", "no gzip"), {"br", "x"}}) {
    EXPECT_EQ(client
                  ->send("POST", "/files?path=zipped.bad", body,
                         {{"Content-Type", "application/octet-stream"}, {"Content-Encoding", encoding}})
                  .status,
              400);
  }
}

std::string form(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string body;
  for (const auto& [name, content] : files)
    body += "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\n" +
            content + "\r\n";
  return body + "--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nignored\r\n--b--\r\n";
}
const Headers kForm{{"Content-Type", "multipart/form-data; boundary=b"}};

TEST_F(Envd, FormsHoldAnyNumberOfFiles) {
  const Reply put = client->send("POST", "/files",
                                 form({{"forms/one", "1"}, {"/tmp/two", std::string(200'000, '2')}}), kForm);
  EXPECT_EQ(
      put.body,
      R"([{"path":"/home/user/forms/one","name":"one","type":"file"},{"path":"/tmp/two","name":"two","type":"file"}])");
  EXPECT_EQ(client->get("/files?path=forms/one").body, "1");
  EXPECT_EQ(client->get("/files?path=/tmp/two").body, std::string(200'000, '2'));
  EXPECT_EQ(client->send("POST", "/files?path=forms/named", form({{"x/ignored", "n"}}), kForm).status, 200);
  EXPECT_EQ(client->get("/files?path=forms/named").body, "n");
  EXPECT_EQ(client->send("POST", "/files", form({}), kForm).body, "[]");
}

TEST_F(Envd, UploadsThatCannotBe) {
  const Reply twice = client->send("POST", "/files", form({{"twice/a", "1"}, {"twice/a", "2"}}), kForm);
  EXPECT_EQ(twice.status, 400);
  EXPECT_THAT(twice.body, HasSubstr("only the first specified file was uploaded"));
  EXPECT_EQ(client->get("/files?path=twice/a").body, "1");
  const Headers raw{{"Content-Type", "application/octet-stream"}};
  EXPECT_EQ(client->send("POST", "/files?path=/tmp", "x", raw).status, 400);
  EXPECT_EQ(client->send("POST", "/files", "x", raw).status, 400);
  EXPECT_EQ(client->send("POST", "/files?path=a", "x", {{"Content-Type", "text/plain"}}).status, 400);
  EXPECT_EQ(client->send("POST", "/files?path=a&username=mallory", "x", raw).status, 401);
  EXPECT_EQ(client->send("POST", "/files?path=twice/a/below", "x", raw).status, 500);
  EXPECT_EQ(
      client->send("POST", "/files", "--b\r\nContent-Disposition: form-data; name=\"file\"", kForm).status,
      500);
}

TEST_F(Envd, MetadataIsKeptAndReplaced) {
  const auto put = [this](const Headers& more) {
    Headers headers{{"Content-Type", "application/octet-stream"}};
    headers.insert(more.begin(), more.end());
    return client->send("POST", "/files?path=metadata", "x", headers);
  };
  const Reply first = put({{"X-Metadata-Author", "me"}, {"x-metadata-b", "2"}});
  if (first.status == 500)
    GTEST_SKIP() << "the sandbox's file system has no extended attributes: " << first.body;
  EXPECT_THAT(first.body, HasSubstr(R"("metadata":{"author":"me","b":"2"})"));
  const auto stored = [this] {
    const json::object entry =
        client->call("filesystem.Filesystem/Stat", {{"path", "metadata"}}).object().at("entry").as_object();
    return entry.contains("metadata") ? entry.at("metadata").as_object() : json::object();
  };
  EXPECT_EQ(stored(), (json::object{{"author", "me"}, {"b", "2"}}));
  EXPECT_EQ(put({{"X-Metadata-B", "3"}}).status, 200);
  EXPECT_EQ(stored(), (json::object{{"b", "3"}}));
  EXPECT_EQ(put({}).status, 200);
  EXPECT_EQ(stored(), json::object());
  EXPECT_EQ(put({{"X-Metadata-" + std::string(246, 'k'), "v"}}).status, 200);
  EXPECT_EQ(put({{"X-Metadata-" + std::string(247, 'k'), "v"}}).status, 400);
  const std::size_t room = 4096 - std::string("user.e2b.").size() - 1;
  EXPECT_EQ(put({{"X-Metadata-k", std::string(room + 1, 'v')}}).status, 400);
  EXPECT_EQ(put({{"X-Metadata-k", "\xC3\xBC"}}).status, 400);
}

TEST_F(Envd, FilesAreComposed) {
  client->write("compose/1", "one ");
  client->write("compose/2", "two");
  client->write("compose/whole", "before");
  const auto compose = [this](json::array sources, const char* destination) {
    json::object body;
    body["source_paths"] = std::move(sources);
    body["destination"] = destination;
    return client->send("POST", "/files/compose", write_json(body), {{"Content-Type", kJson}});
  };
  EXPECT_EQ(compose({"compose/1", "compose/none"}, "compose/whole").status, 404);
  EXPECT_EQ(client->get("/files?path=compose/whole").body, "before");
  const Reply reply = compose({"compose/1", "~/compose/2"}, "compose/whole");
  EXPECT_EQ(reply.object(),
            (json::object{{"path", "/home/user/compose/whole"}, {"name", "whole"}, {"type", "file"}}));
  EXPECT_EQ(client->get("/files?path=compose/whole").body, "one two");
  EXPECT_EQ(client->get("/files?path=compose/1").status, 404);
  EXPECT_EQ(compose({}, "compose/whole").status, 400);
  EXPECT_EQ(compose({"compose/whole"}, "compose/whole").status, 400);
  EXPECT_EQ(compose({"compose"}, "compose/x").status, 400);
  EXPECT_EQ(compose({"compose/whole"}, "").status, 400);
  EXPECT_EQ(client->send("POST", "/files/compose", "x").status, 400);
}

// Sandboxes of their own

class EnvdAlone : public ::testing::Test {
 protected:
  void make(EnvdSettings settings, std::optional<std::uint64_t> disk_bytes = std::nullopt) {
    try {
      sandbox.emplace(std::move(settings), disk_bytes);
    } catch (const Error& error) {
      GTEST_SKIP() << "this machine cannot make sandboxes: " << error.what();
    }
    client.emplace(*sandbox);
  }
  std::optional<TestSandbox> sandbox;
  std::optional<Client> client;
};

TEST_F(EnvdAlone, ASecuredOneWantsItsToken) {
  EnvdSettings settings;
  settings.access_token = "deadbeef";
  make(std::move(settings));
  if (IsSkipped()) return;
  const Headers right{{"X-Access-Token", "deadbeef"}};
  const Headers wrong{{"X-Access-Token", "deadbeer"}};
  EXPECT_EQ(client->get("/health").status, 204);
  for (const char* path : {"/metrics", "/envs", "/nothing"}) {
    EXPECT_EQ(client->get(path).status, 401) << path;
    EXPECT_EQ(client->get(path, wrong).object().at("code"), 401) << path;
  }
  EXPECT_EQ(client->get("/envs", right).status, 200);
  const Reply unary = client->call("process.Process/List", {});
  EXPECT_EQ(unary.status, 401);
  EXPECT_EQ(unary.object().at("code"), 401) << "a number, as nobody got to Connect";
  EXPECT_EQ(client->call("process.Process/List", {}, right).status, 200);
  EXPECT_EQ(client
                ->send("POST", "/process.Process/Start", connect_envelope("{}"),
                       {{"Content-Type", "application/connect+json"}})
                .status,
            401);
}

TEST_F(EnvdAlone, FilesAreForThoseWithATokenOrASignature) {
  EnvdSettings settings;
  settings.access_token = "deadbeef";
  make(std::move(settings));
  if (IsSkipped()) return;
  const Headers raw{{"Content-Type", "application/octet-stream"}};
  const auto signed_by = [](const std::string& signature) {
    return "&signature=" + percent_encode(signature);
  };
  const std::string file = "/files?path=a%20b";
  const std::string may_write = file_signature("a b", FileOperation::write, "", "deadbeef");
  const std::string may_read = file_signature("a b", FileOperation::read, "", "deadbeef");
  EXPECT_EQ(client->send("POST", file, "x", raw).status, 401);
  EXPECT_EQ(client->send("POST", file + signed_by(may_read), "x", raw).status, 401);
  EXPECT_EQ(client->send("POST", file + signed_by(may_write), "x", raw).status, 200);
  EXPECT_EQ(client->get(file + signed_by(may_write)).status, 401);
  EXPECT_EQ(client->get(file + signed_by(may_read)).body, "x");
  EXPECT_EQ(client->get(file, {{"X-Access-Token", "deadbeef"}}).body, "x");
  EXPECT_EQ(client->get(file + signed_by(may_read), {{"X-Access-Token", "wrong"}}).status, 401);
  EXPECT_EQ(client->get("/files?path=./a%20b" + signed_by(may_read)).status, 401) << "of another path";
  EXPECT_EQ(client->get(file + "&username=user" + signed_by(may_read)).status, 401) << "for another user";

  const std::int64_t now =
      std::chrono::floor<std::chrono::seconds>(sandbox->engine().system_now()).time_since_epoch().count();
  const auto until = [&](std::int64_t time) {
    return file + "&signature_expiration=" + std::to_string(time) +
           signed_by(file_signature("a b", FileOperation::read, "", "deadbeef", time));
  };
  EXPECT_EQ(client->get(until(now + 60)).body, "x");
  EXPECT_EQ(client->get(until(now - 1)).object().at("message"), "signature is already expired");
  EXPECT_EQ(client->get(file + "&signature_expiration=soon" + signed_by(may_read)).status, 400);
}

TEST_F(EnvdAlone, APauseBreaksConnectionsAndKeepsProcesses) {
  make({});
  if (IsSkipped()) return;
  json::object request = command("while read x; do echo \"got $x\"; done");
  request["stdin"] = true;
  Stream before(*client, "process.Process/Start", request);
  const int pid = before.started();
  Stream watch(*client, "filesystem.Filesystem/WatchDir", {{"path", "/tmp"}});
  EXPECT_EQ(watch.next_event(), "start");
  sandbox->pause();
  EXPECT_THROW((void)before.next(), Error);
  EXPECT_THROW((void)watch.next(), Error);
  sandbox->resume();
  Stream after(*client, "process.Process/Connect", {{"process", selector(pid)}});
  EXPECT_EQ(after.started(), pid);
  EXPECT_EQ(client->call("process.Process/SendInput", input(pid, "stdin", "a\n")).status, 200);
  EXPECT_EQ(after.output("\n").out, "got a\n");
}

TEST_F(EnvdAlone, ItsEndBreaksConnections) {
  make({});
  if (IsSkipped()) return;
  Stream stream(*client, "process.Process/Start", command("sleep 1000"));
  stream.started();
  sandbox->kill();
  EXPECT_THROW((void)stream.next(), Error);
  EXPECT_THROW((void)client->call("filesystem.Filesystem/Stat", {{"path", "/"}}), Error);
}

TEST_F(EnvdAlone, AFullDiskIsSaidToBeFull) {
  make({}, 1024 * 1024);
  if (IsSkipped()) return;
  const auto put = [this](std::size_t size) {
    return client->send("POST", "/files?path=big", std::string(size, 'x'),
                        {{"Content-Type", "application/octet-stream"}});
  };
  EXPECT_EQ(put(500'000).status, 200);
  EXPECT_EQ(put(3'000'000).object(),
            (json::object{{"code", 507}, {"message", "not enough disk space available"}}));
  EXPECT_EQ(put(1000).status, 200) << "and there is room again";
}

TEST_F(EnvdAlone, AnotherWorkFolder) {
  EnvdSettings settings;
  settings.default_workdir = "/tmp";
  make(std::move(settings));
  if (IsSkipped()) return;
  Stream stream(*client, "process.Process/Start", command("pwd"));
  stream.started();
  EXPECT_EQ(stream.output().out, "/tmp\n");
  EXPECT_EQ(client->call("filesystem.Filesystem/Stat", json::object()).object().at("entry").at("path"),
            "/tmp");
}

}  // namespace
}  // namespace sandkey::e2b_envd
