// What the agent answers to requests, above all to bad ones; and that it goes on serving.
#include "tests/agent/agent_program.h"

#include <boost/json/array.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace sandkey::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
namespace fs = std::filesystem;

constexpr std::string_view kKey = "correct-horse-battery-staple";
const std::string kKeyHeader = "X-Session-API-Key: " + std::string(kKey) + "\r\n";

RawResponse exchange(RawClient client, std::string_view bytes) {
  client.send(bytes);
  std::optional<RawResponse> reply = client.response();
  if (!reply) {
    ADD_FAILURE() << "no reply to " << bytes.substr(0, 200);
    return {};
  }
  return std::move(*reply);
}

json::value parsed(const RawResponse& reply) {
  try {
    return parse_json(reply.body, "a reply");
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what() << ": " << reply.body.substr(0, 500);
    return {};
  }
}

std::string text(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : "(no string)";
}

std::string detail(const RawResponse& reply) {
  const json::value body = parsed(reply);
  if (!body.is_object() || !body.get_object().contains("detail")) return "(no detail)";
  return text(body.get_object().at("detail"));
}

std::set<std::string> keys(const json::value& value) {
  std::set<std::string> names;
  if (value.is_object()) {
    for (const auto& member : value.get_object()) names.insert(std::string(member.key()));
  }
  return names;
}

// An agent on a Unix socket, shared by the tests, as it would be by clients: what one does must not harm the
// next.
class AgentTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new Folder;
    ProgramOptions options;
    options.arguments = {"--listen", "unix:" + socket(), "--working-dir", *folder_ / "work"};
    agent_ = new AgentProgram(options);
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(agent_->terminate(), 0);
    EXPECT_FALSE(fs::exists(socket()));
    delete agent_;
    delete folder_;
  }

  static std::string socket() { return *folder_ / "socket"; }
  static RawClient connect() { return RawClient::to_unix(socket()); }
  static RawResponse ask(std::string_view bytes) { return exchange(connect(), bytes); }
  static RawResponse act(const std::string& body, std::string_view headers = {}) {
    return ask(request("POST", "/execute_action", body, headers));
  }
  static std::string output(const RawResponse& reply) {
    const json::value body = parsed(reply);
    if (!body.is_object() || !body.get_object().contains("content")) return "(no content)";
    return text(body.get_object().at("content"));
  }
  static std::string run(const std::string& command) {
    const RawResponse reply = act(action("run", {{"command", command}}, 100.0));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return output(reply);
  }
  static void expect_alive() {
    static int count = 0;
    const std::string number = std::to_string(++count);
    EXPECT_EQ(run("echo alive-" + number), "alive-" + number);
  }
  static std::string work() { return *folder_ / "work"; }
  static std::string in_folder(const std::string& name) { return *folder_ / name; }

  static Folder* folder_;
  static AgentProgram* agent_;
};
Folder* AgentTest::folder_ = nullptr;
AgentProgram* AgentTest::agent_ = nullptr;

// ---- Bad requests

struct BadCase {
  std::string name;
  std::string bytes;
  int status;
  std::string says{};  // in the detail
};

class BadInput : public AgentTest {
 protected:
  static void check(const std::vector<BadCase>& cases) {
    for (const BadCase& bad : cases) {
      SCOPED_TRACE(bad.name);
      const RawResponse reply = ask(bad.bytes);
      EXPECT_EQ(reply.status, bad.status) << reply.body;
      EXPECT_EQ(reply.header("content-type"), "application/json");
      EXPECT_THAT(detail(reply), HasSubstr(bad.says));
      EXPECT_NE(detail(reply), "");
      expect_alive();
    }
  }
  static BadCase of_action(std::string name, const std::string& body, int status, std::string says = {}) {
    return {std::move(name), request("POST", "/execute_action", body), status, std::move(says)};
  }
};

TEST_F(BadInput, InActionsGetsItsStatus) {
  std::string deep = R"({"action":{"action":"run","args":{"command":)";
  deep += std::string(100'000, '[') + std::string(100'000, ']') + "}}}";
  check({
      of_action("empty", "", 422),
      of_action("not JSON", "{not json", 422),
      of_action("half JSON", R"({"action":{"action":"run","args":{"command":"echo)", 422),
      of_action("something after the JSON", R"({"action":{"action":"null"}} x)", 422),
      of_action("NUL bytes", std::string(10, '\0'), 422),
      of_action("no object", "[]", 422, "'action'"),
      of_action("a number", "1", 422),
      of_action("no action", "{}", 422, "there is no 'action' object"),
      of_action("null action", R"({"action":null})", 400, "must be an object"),
      of_action("string action", R"({"action":"run"})", 400, "must be an object"),
      of_action("empty action", R"({"action":{}})", 400, "the event has no 'action'"),
      of_action("action of a wrong type", R"({"action":{"action":1}})", 400, "must be a string"),
      of_action("unknown action", R"({"action":{"action":"fly","args":{}}})", 400, "unknown action 'fly'"),
      of_action("unknown action in bytes that are no text", "{\"action\":{\"action\":\"f\\u0000\\u001b\"}}",
                400),
      of_action("an observation", R"({"action":{"observation":"run","content":""}})", 400),
      of_action("args of a wrong type", R"({"action":{"action":"run","args":[]}})", 400),
      of_action("no command", R"({"action":{"action":"run","args":{}}})", 400,
                "missing required argument 'command'"),
      of_action("no args", R"({"action":{"action":"run"}})", 400, "missing required argument 'command'"),
      of_action("unknown argument", R"({"action":{"action":"run","args":{"command":"x","nope":1}}})", 400,
                "unknown argument 'nope'"),
      of_action("command of a wrong type", R"({"action":{"action":"run","args":{"command":5}}})", 400,
                "must be a string, not a number"),
      of_action("null command", R"({"action":{"action":"run","args":{"command":null}}})", 400),
      of_action("flag of a wrong type",
                R"({"action":{"action":"run","args":{"command":"x","is_input":"yes"}}})", 400),
      of_action("timeout of a wrong type",
                R"({"action":{"action":"run","args":{"command":"x"},"timeout":"1"}})", 400),
      of_action("endless timeout", R"({"action":{"action":"run","args":{"command":"x"},"timeout":1e999}})",
                400),
      of_action("line of a wrong type", R"({"action":{"action":"read","args":{"path":"/x","start":"a"}}})",
                400),
      of_action("huge line", R"({"action":{"action":"read","args":{"path":"/x","start":1e300}}})", 400),
      of_action("think", action("think", {{"thought", "hm"}}), 400, "not executed in the sandbox"),
      of_action("message", action("message", {{"content", "hi"}}), 400, "not executed in the sandbox"),
      of_action("finish", action("finish", {}), 400, "not executed in the sandbox"),
      of_action("null", action("null", {}), 400, "not executed in the sandbox"),
      of_action("deep nesting", deep, 422),
      of_action("invalid UTF-8",
                "{\"action\":{\"action\":\"run\",\"args\":{\"command\":\"echo \xFF\xC3\x28\"}}}", 422),
      of_action("overlong UTF-8",
                "{\"action\":{\"action\":\"run\",\"args\":{\"command\":\"echo \xC0\xAF\"}}}", 422),
      of_action("half a surrogate pair", R"({"action":{"action":"run","args":{"command":"echo \ud800"}}})",
                422),
      {"overlong idempotency key",
       request("POST", "/execute_action", action("run", {{"command", "true"}}),
               "Idempotency-Key: " + std::string(201, 'k') + "\r\n"),
       400, "idempotency key"},
  });
}

TEST_F(BadInput, InCommandsIsAnErrorObservation) {
  const RawResponse reply = act(action("run", {{"command", json::string("echo a\0b", 8)}}));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr(R"("observation":"error")"));
  EXPECT_THAT(output(reply), HasSubstr("NUL"));
  for (const char* type : {"read", "write", "edit"}) {
    json::object args{{"path", json::string("/tmp/a\0b", 8)}};
    if (std::string(type) == "write") args["content"] = "x";
    if (std::string(type) == "edit") args["command"] = "view";
    const RawResponse file = act(action(type, args));
    EXPECT_THAT(file.status, ::testing::AnyOf(200, 400, 500)) << type;
    EXPECT_FALSE(fs::exists("/tmp/a")) << type;
    expect_alive();
  }
  const RawResponse browse = act(action("browse", {{"url", "http://x"}}));
  EXPECT_EQ(output(browse), "Browser functionality is not supported or disabled.");
  expect_alive();
}

TEST_F(BadInput, ThatIsTooLargeIsRefused) {
  {
    RawClient client = connect();  // declared; a client that asks first sends nothing
    client.send(
        "POST /execute_action HTTP/1.1\r\nContent-Length: 68719476736\r\nExpect: 100-continue\r\n\r\n");
    const auto reply = client.response();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 413);
  }
  {
    RawClient client = connect();  // declared and sent without asking
    client.send("POST /execute_action HTTP/1.1\r\nContent-Length: 68719476736\r\n\r\n");
    const std::string piece(1024 * 1024, ' ');
    for (int i = 0; i < 4; ++i) client.send(piece);
    const auto reply = client.response();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 413);
  }
  {
    RawClient client = connect();  // only the bytes tell
    client.send("POST /execute_action HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string piece = "100000\r\n" + std::string(0x100000, ' ') + "\r\n";
    for (int i = 0; i < 65; ++i) client.send(piece);
    const auto reply = client.response();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 413);
  }
  EXPECT_EQ(ask(request("POST", "/list_files", std::string(70'000, ' '))).status, 413);
  const std::string long_header = "Long: " + std::string(20'000, 'x') + "\r\n";
  EXPECT_EQ(ask(request("GET", "/alive", "", long_header)).status, 431);
  expect_alive();
}

TEST_F(BadInput, InRoutesGetsItsStatus) {
  check({
      {"unknown route", request("GET", "/nope"), 404, "/nope"},
      {"root", request("GET", "/"), 404},
      {"unknown route of ours", request("GET", "/sandkey/v1/nope"), 404},
      {"route in other letters", request("GET", "/Alive"), 404},
      {"route with NUL", request("GET", "/alive%00"), 404},
      {"route that is not UTF-8", request("GET", "/%FF%FE"), 404, "\xEF\xBF\xBD"},
      {"dots", request("GET", "/../../etc/passwd"), 404},
      {"bad escape", request("GET", "/%zz"), 400},
      {"GET an action", request("GET", "/execute_action"), 405, "Use POST"},
      {"POST alive", request("POST", "/alive"), 405, "Use GET"},
      {"DELETE server_info", request("DELETE", "/server_info"), 405},
      {"GET upload", request("GET", "/upload_file?destination=/tmp"), 405},
      {"POST download", request("POST", "/download_files?path=/tmp"), 405},
      {"GET list_files", request("GET", "/list_files"), 405},
      {"POST vscode", request("POST", "/vscode/connection_token"), 405},
      {"GET update_mcp_server", request("GET", "/update_mcp_server"), 405},
      {"POST sse", request("POST", "/mcp/sse"), 405},
      {"GET messages", request("GET", "/mcp/messages/"), 405},
      {"POST file", request("POST", "/sandkey/v1/file?path=/tmp/x"), 405},
      {"list_files not JSON", request("POST", "/list_files", "{"), 422},
      {"MCP not JSON", request("POST", "/update_mcp_server", "{"), 400},
      {"MCP no list", request("POST", "/update_mcp_server", "{}"), 400, "must be a list"},
      {"MCP no name", request("POST", "/update_mcp_server", "[{}]"), 422},
      {"exec not JSON", request("POST", "/sandkey/v1/exec", "{"), 422},
      {"exec without argv", request("POST", "/sandkey/v1/exec", R"({"id":"a"})"), 422},
      {"exec without id", request("POST", "/sandkey/v1/exec", R"({"argv":["true"]})"), 422},
      {"unknown stream", request("GET", "/sandkey/v1/streams/none/output"), 404},
  });
}

TEST_F(BadInput, ThatIsNotHttpIsRefused) {
  RawClient client = connect();
  client.send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", 11));
  const auto reply = client.response();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 400);
  expect_alive();
}

TEST_F(BadInput, CutOffAnywhereHarmsNobody) {
  const std::string whole = request("POST", "/execute_action", action("run", {{"command", "true"}}));
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    RawClient client = connect();
    client.send(whole.substr(0, size));
    client.hang_up();
  }
  expect_alive();
}

// ---- Actions in their order

TEST_F(AgentTest, FinishesACommandWhoseClientHungUp) {
  Fifo ready(in_folder("hangup-ready"));
  Fifo go(in_folder("hangup-go"));
  const std::string effect = in_folder("hangup-effect");
  {
    RawClient client = connect();
    client.send(request("POST", "/execute_action",
                        action("run",
                               {{"command", "echo r > " + ready.path() + "; read word < " + go.path() +
                                                "; echo $word >> " + effect}},
                               100.0)));
    ASSERT_TRUE(ready.wait_for_line());
    client.hang_up();
  }
  go.say("finished");
  EXPECT_EQ(run("cat " + effect), "finished");
}

TEST_F(AgentTest, RunsTwoClientsActionsOneAfterTheOther) {
  Fifo ready(in_folder("order-ready"));
  Fifo go(in_folder("order-go"));
  const std::string log = in_folder("order-log");
  RawClient first = connect();
  first.send(request("POST", "/execute_action",
                     action("run",
                            {{"command", "echo a1 >> " + log + "; echo r > " + ready.path() +
                                             "; read word < " + go.path() + "; echo a2 >> " + log}},
                            100.0)));
  ASSERT_TRUE(ready.wait_for_line());
  RawClient second = connect();
  second.send(request("POST", "/execute_action", action("run", {{"command", "echo b >> " + log}}, 100.0)));
  // Other routes do not wait, and once this one has answered, the second action has arrived.
  EXPECT_EQ(ask(request("GET", "/alive")).status, 200);
  EXPECT_EQ(read_file(log), "a1\n");
  go.say("go");
  const auto reply = second.response();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_THAT(reply->body, HasSubstr(R"("exit_code":0)"));
  EXPECT_TRUE(first.response());
  EXPECT_EQ(read_file(log), "a1\na2\nb\n");
}

TEST_F(AgentTest, RunsAnActionOnceForEachIdempotencyKey) {
  Fifo ready(in_folder("once-ready"));
  Fifo go(in_folder("once-go"));
  const std::string counter = in_folder("once-counter");
  const std::string bytes =
      request("POST", "/execute_action",
              action("run",
                     {{"command", "echo x >> " + counter + "; echo r > " + ready.path() + "; read word < " +
                                      go.path() + "; echo done-$word"}},
                     100.0),
              "Idempotency-Key: once\r\n");
  RawClient first = connect();
  first.send(bytes);
  ASSERT_TRUE(ready.wait_for_line());
  RawClient repeat = connect();
  repeat.send(bytes);
  {
    RawClient lost = connect();
    lost.send(bytes);
    lost.hang_up();
  }
  EXPECT_EQ(ask(request("GET", "/alive")).status, 200);
  first.hang_up();  // the reply is for the repeats now
  go.say("1");
  const auto reply = repeat.response();
  ASSERT_TRUE(reply);
  EXPECT_EQ(output(*reply), "done-1");
  EXPECT_EQ(ask(bytes).body, reply->body);
  EXPECT_EQ(ask(bytes).status, 200);
  EXPECT_EQ(read_file(counter), "x\n");
  // Refusals belong to their key as well; another key is another action.
  EXPECT_EQ(act("{", "Idempotency-Key: broken\r\n").status, 422);
  EXPECT_EQ(act(action("run", {{"command", "echo y >> " + counter}}), "Idempotency-Key: broken\r\n").status,
            422);
  EXPECT_EQ(act(action("run", {{"command", "echo z >> " + counter}}),
                "Idempotency-Key: " + std::string(200, 'k') + "\r\n")
                .status,
            200);
  EXPECT_EQ(read_file(counter), "x\nz\n");
}

// ---- Shapes

TEST_F(AgentTest, AnswersEveryRouteInItsShape) {
  EXPECT_EQ(ask(request("GET", "/alive")).body, R"({"status":"ok"})");
  EXPECT_EQ(ask(request("GET", "/vscode/connection_token")).body, R"({"token":null})");

  const json::value info = parsed(ask(request("GET", "/server_info")));
  EXPECT_EQ(keys(info), (std::set<std::string>{"uptime", "idle_time", "resources"}));
  const json::value& resources = info.get_object().at("resources");
  EXPECT_EQ(keys(resources), (std::set<std::string>{"cpu_percent", "memory", "disk", "io"}));
  EXPECT_EQ(keys(resources.get_object().at("memory")), (std::set<std::string>{"rss", "vms", "percent"}));
  EXPECT_EQ(keys(resources.get_object().at("disk")),
            (std::set<std::string>{"total", "used", "free", "percent"}));
  EXPECT_EQ(keys(resources.get_object().at("io")), (std::set<std::string>{"read_bytes", "write_bytes"}));
  EXPECT_GT(resources.get_object().at("memory").get_object().at("rss").get_int64(), 0);

  const json::value hello = parsed(ask(request("GET", "/sandkey/v1/hello")));
  EXPECT_EQ(text(hello.get_object().at("agent")), "sandkey-agent");
  EXPECT_EQ(text(hello.get_object().at("working_dir")), work());

  const json::value ran = parsed(act(action("run", {{"command", "echo hi"}}, 10.0)));
  EXPECT_EQ(text(ran.get_object().at("observation")), "run");
  EXPECT_EQ(text(ran.get_object().at("content")), "hi");
  EXPECT_TRUE(ran.get_object().at("success").as_bool());
  EXPECT_EQ(keys(ran.get_object().at("extras")), (std::set<std::string>{"command", "metadata", "hidden"}));

  const json::value mcp = parsed(ask(request("POST", "/update_mcp_server", "[]")));
  EXPECT_EQ(keys(mcp), (std::set<std::string>{"detail", "router_error_log"}));
  EXPECT_EQ(text(mcp.get_object().at("detail")), "MCP server updated successfully");
  EXPECT_EQ(text(mcp.get_object().at("router_error_log")), "");
  const json::value bad_mcp = parsed(ask(
      request("POST", "/update_mcp_server", R"([{"name":"gone","command":"/no/such/program","args":[]}])")));
  EXPECT_EQ(text(bad_mcp.get_object().at("detail")), "MCP server updated successfully");
  EXPECT_THAT(text(bad_mcp.get_object().at("router_error_log")), HasSubstr("gone"));
  (void)ask(request("POST", "/update_mcp_server", "[]"));
}

TEST_F(AgentTest, ListsFoldersFirstEachGroupWithoutRegardToCase) {
  const std::string folder = in_folder("listed");
  for (const char* name : {"b_dir", "A_dir", ".hidden_dir"}) fs::create_directories(folder + "/" + name);
  for (const char* name : {"z", "Beta", "alpha", ".hidden", "\xC3\xA4"}) write_file(folder + "/" + name, "");
  const auto list = [&](const std::string& body) {
    std::vector<std::string> names;
    const json::value reply = parsed(ask(request("POST", "/list_files", body)));
    if (!reply.is_array()) return std::vector<std::string>{"(no array)"};
    for (const json::value& name : reply.get_array()) names.push_back(text(name));
    return names;
  };
  EXPECT_THAT(list(R"({"path":")" + folder + "\"}"),
              ElementsAre(".hidden_dir/", "A_dir/", "b_dir/", ".hidden", "alpha", "Beta", "z", "\xC3\xA4"));
  EXPECT_THAT(list(R"({"path":"/no/such/place"})"), IsEmpty());
  EXPECT_THAT(list(R"({"path":")" + folder + R"(/z"})"), IsEmpty()) << "a file";
  EXPECT_THAT(list(R"({"path":"a\u0000b"})"), IsEmpty());
  write_file(work() + "/only-here", "");
  EXPECT_THAT(list("{}"), ::testing::Contains("only-here"));
  EXPECT_EQ(list(""), list("{}"));
  EXPECT_EQ(list(R"({"path":null})"), list("{}"));
  fs::create_directories(work() + "/sub/inner");
  EXPECT_THAT(list(R"({"path":"sub"})"), ElementsAre("inner/"));
  write_file(folder + "/\xFF", "");  // no text, yet the reply is
  EXPECT_EQ(list(R"({"path":")" + folder + "\"}").size(), 9U);
}

// ---- Keys

class KeyedAgent : public ::testing::Test {
 protected:
  void start(ProgramOptions options = {}) {
    write_file(key_file, "# ours\n" + std::string(kKey) + "\n", 0600);
    if (options.user) {
      EXPECT_EQ(::chown(key_file.c_str(), *options.user, *options.user), 0);
      EXPECT_EQ(::chown(folder.path().c_str(), *options.user, *options.user), 0);
    }
    for (const std::string& argument :
         {std::string("--listen"), std::string("127.0.0.1:0"), std::string("--listen"),
          "unix:" + folder / "socket", std::string("--session-key-file"), key_file,
          std::string("--working-dir"), folder / "work"}) {
      options.arguments.push_back(argument);
    }
    agent.emplace(options);
  }
  RawResponse ask(std::string_view bytes) { return exchange(RawClient::to_tcp(agent->port()), bytes); }
  std::string run(const std::string& command) {
    const RawResponse reply =
        ask(request("POST", "/execute_action", action("run", {{"command", command}}, 100.0), kKeyHeader));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply.status == 200 ? text(parsed(reply).get_object().at("content")) : "(failed)";
  }

  Folder folder;
  std::string key_file = folder / "keys";
  std::optional<AgentProgram> agent;
};

TEST_F(KeyedAgent, OpensNothingButTwoRoutesWithoutItsKey) {
  start();
  const std::vector<std::pair<std::string, std::string>> routes{
      {"POST", "/execute_action"},
      {"POST", "/upload_file?destination=" + folder / "up"},
      {"GET", "/download_files?path=/tmp"},
      {"POST", "/list_files"},
      {"GET", "/vscode/connection_token"},
      {"POST", "/update_mcp_server"},
      {"GET", "/mcp/sse"},
      {"GET", "/sse"},
      {"POST", "/mcp/messages/"},
      {"GET", "/"},
      {"GET", "/nope"},
      {"GET", "/alive/"},
      {"GET", "//alive"},
      {"GET", "/alive%00"},
      {"GET", "/sandkey/v1/hello"},
      {"POST", "/sandkey/v1/warm_python"},
      {"GET", "/sandkey/v1/file?path=/etc/passwd"},
      {"PUT", "/sandkey/v1/file?path=" + folder / "up/file"},
      {"GET", "/sandkey/v1/tree?path=/tmp"},
      {"PUT", "/sandkey/v1/tree?path=" + folder / "up"},
      {"GET", "/sandkey/v1/stat?path=/tmp"},
      {"POST", "/sandkey/v1/exec"},
      {"POST", "/sandkey/v1/dial"},
      {"GET", "/sandkey/v1/streams/x"},
  };
  const std::string key(kKey);
  const std::vector<std::string> wrong{
      "",
      "X-Session-API-Key: \r\n",
      "X-Session-API-Key: wrong-horse-battery-staple\r\n",
      "X-Session-API-Key: " + key + "x\r\n",
      "X-Session-API-Key: " + key.substr(1) + "\r\n",
      "X-Session-API-Key: # ours\r\n",
      "Authorization: Bearer " + key + "\r\n",
      // Of two only the first counts.
      "X-Session-API-Key: wrong\r\n" + kKeyHeader,
  };
  for (const auto& [method, target] : routes) {
    for (const std::string& header : wrong) {
      SCOPED_TRACE(::testing::Message() << method << " " << target << " " << header);
      const RawResponse reply = ask(request(method, target, "", header));
      EXPECT_EQ(reply.status, 403);
      EXPECT_EQ(reply.body, R"({"detail":"Invalid API Key"})");
    }
  }
  EXPECT_FALSE(fs::exists(folder / "up"));
  for (const std::string& header : wrong) {
    EXPECT_EQ(ask(request("GET", "/alive", "", header)).status, 200);
    EXPECT_EQ(ask(request("GET", "/server_info", "", header)).status, 200);
  }
  EXPECT_EQ(exchange(RawClient::to_unix(folder / "socket"), request("GET", "/sandkey/v1/hello")).status, 403)
      << "a key counts on every socket";
  EXPECT_EQ(ask(request("GET", "/sandkey/v1/hello", "", kKeyHeader)).status, 200);
  EXPECT_EQ(run("echo open"), "open");
}

TEST_F(KeyedAgent, TakesAKeyThatIsAddedWhileItRuns) {
  start();
  const std::string second = "X-Session-API-Key: another-client-joins-in\r\n";
  EXPECT_EQ(ask(request("GET", "/sandkey/v1/hello", "", second)).status, 403);
  std::ofstream(key_file, std::ios::app) << "another-client-joins-in\n";
  EXPECT_EQ(ask(request("GET", "/sandkey/v1/hello", "", second)).status, 200);
  EXPECT_EQ(ask(request("GET", "/sandkey/v1/hello", "", kKeyHeader)).status, 200);
}

TEST_F(KeyedAgent, KeepsItsSecretsFromWhatItRuns) {
  ProgramOptions options;
  options.environment = {"SESSION_API_KEY=from-the-environment-0123",
                         "OH_SESSION_API_KEYS_0=from-the-environment-4567", "VISIBLE=yes"};
  const bool ordinary_user = ::geteuid() != 0;
  if (!ordinary_user) options.user = 65534;
  start(options);
  const std::string secret_file = std::string(kKey);
  const auto expect_clean = [&](const std::string& bytes, const std::string& where) {
    EXPECT_THAT(bytes, Not(HasSubstr("from-the-environment"))) << where;
    EXPECT_THAT(bytes, Not(HasSubstr(secret_file))) << where;
    EXPECT_THAT(bytes, Not(IsEmpty())) << where;
  };
  run("env > " + folder / "env");
  expect_clean(read_file(folder / "env"), "env");
  EXPECT_THAT(read_file(folder / "env"), HasSubstr("VISIBLE=yes"));
  run("cat /proc/[0-9]*/environ > " + folder / "environs" + " 2> /dev/null");
  expect_clean(read_file(folder / "environs"), "/proc/*/environ");
  run("cat /proc/[0-9]*/cmdline > " + folder / "cmdlines" + " 2> /dev/null");
  expect_clean(read_file(folder / "cmdlines"), "/proc/*/cmdline");
  EXPECT_THAT(read_file(folder / "cmdlines"), HasSubstr("--session-key-file"));

  const std::string proc = "/proc/" + std::to_string(agent->pid());
  for (const char* what : {"/environ", "/mem", "/maps"}) {
    EXPECT_THAT(run("cat " + proc + what + " > /dev/null; echo status-$?"), HasSubstr("status-1")) << what;
  }
  EXPECT_THAT(run("ls " + proc + "/fd > /dev/null 2>&1; echo status-$?"), Not(HasSubstr("status-0")));
  EXPECT_EQ(run("ls -l /proc/self/fd | grep -c " + key_file), "0");

  const RawResponse stream =
      ask(request("POST", "/sandkey/v1/exec", R"({"id":"e","argv":["env"]})", kKeyHeader));
  EXPECT_EQ(stream.status, 200);
  expect_clean(stream.body, "exec");
  const RawResponse cell = ask(
      request("POST", "/execute_action",
              action("run_ipython", {{"code", "import os; print(dict(os.environ))"}}, 100.0), kKeyHeader));
  EXPECT_EQ(cell.status, 200);
  expect_clean(cell.body, "run_ipython");
}

TEST_F(KeyedAgent, NamesTheFileViewerWhereOpenHandsLooksForIt) {
  constexpr const char* kFile = "/tmp/oh-server-url";
  struct stat info {};
  if (::stat(kFile, &info) == 0 && ::access(kFile, W_OK) != 0)
    GTEST_SKIP() << kFile << " belongs to somebody else";
  write_file(folder / "page.txt", "what it holds");
  for (int attempt = 0;; ++attempt) {  // another agent of this machine may write its own in between
    start();
    const std::string url = read_file(kFile);
    ASSERT_EQ(url.rfind("http://localhost:", 0), 0U) << url;
    const int port = std::stoi(url.substr(17));
    std::optional<RawResponse> page;
    try {
      page = exchange(RawClient::to_tcp(static_cast<std::uint16_t>(port)),
                      request("GET", "/view?path=" + folder / "page.txt"));
    } catch (const std::exception& error) {
      ASSERT_LT(attempt, 5) << error.what();
      agent.reset();
      continue;
    }
    EXPECT_EQ(page->status, 200);
    EXPECT_THAT(page->body, HasSubstr("File Viewer - page.txt"));
    EXPECT_THAT(page->body, HasSubstr("what it holds"));
    break;
  }
}

// ---- The command line and the end

class CommandLine : public ::testing::Test {
 protected:
  void expect_refused(std::vector<std::string> arguments, const std::string& message,
                      std::vector<std::string> environment = {}) {
    ProgramOptions options;
    options.arguments = std::move(arguments);
    options.environment = std::move(environment);
    SCOPED_TRACE(message);
    const ProgramEnd end = run_agent(options);
    EXPECT_EQ(end.code, 2);
    EXPECT_EQ(end.output, "sandkey-agent: " + message + "\n");
  }
  Folder folder;
  std::string unix_socket = "unix:" + folder / "socket";
};

TEST_F(CommandLine, ErrorsSayWhatToDo) {
  const std::string help = "; see sandkey-agent --help";
  const std::string reading = "reading the command line: ";
  expect_refused({}, reading + "--listen is missing" + help);
  expect_refused({"--working-dir", folder.path()}, reading + "--listen is missing" + help);
  expect_refused({"--listen"}, reading + "--listen needs a value" + help);
  expect_refused({"--listen", unix_socket, "--bogus"}, reading + "'--bogus' is not known" + help);
  expect_refused({"--listen", unix_socket, "stray"}, reading + "'stray' is not known" + help);
  expect_refused({"--listen", unix_socket, "--warm-python=no"},
                 reading + "--warm-python takes no value" + help);
}

TEST_F(CommandLine, RefusesBadAddresses) {
  for (const char* address :
       {"nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", ":1", "::1", ""}) {
    expect_refused({"--listen", address},
                   "listening on '" + std::string(address) +
                       "': it must be unix:PATH, HOST:PORT or fd:N; see sandkey-agent --help");
  }
  expect_refused({"--listen", "unix:"}, "listening on unix:: the path must have 1 to 107 bytes");
  expect_refused({"--listen", "unix:/no/such/folder/s"},
                 "listening on unix:/no/such/folder/s: No such file or directory");
  write_file(folder / "file", "");
  expect_refused({"--listen", "unix:" + folder / "file"},
                 "listening on unix:" + folder / "file" + ": something that is not a socket is there");
}

TEST_F(CommandLine, RefusesDescriptorsItCannotUse) {
  for (const char* number : {"", "x", "2", "-3", "3x"}) {
    expect_refused({"--listen", "fd:" + std::string(number)},
                   "listening on 'fd:" + std::string(number) +
                       "': it must be the number of a descriptor above 2; see sandkey-agent --help");
  }
  expect_refused({"--listen", "fd:100"}, "listening on fd:100: it is not a Unix socket that listens");
  expect_refused({"--listen", unix_socket, "--ready-fd", "100"},
                 "reading the command line: --ready-fd '100' is not an open descriptor above 2; see "
                 "sandkey-agent --help");
}

TEST_F(CommandLine, WantsAKeyForTcp) {
  expect_refused(
      {"--listen", "127.0.0.1:0"},
      "listening on 127.0.0.1:0: a TCP port needs --session-key-file, or whoever reaches it could run "
      "anything here; without a key listen on unix:PATH");
  const std::string file = folder / "keys";
  const std::string reading = "reading the session key file " + file;
  const std::vector<std::string> arguments{"--listen", "127.0.0.1:0", "--session-key-file", file};
  expect_refused(arguments, reading + ": No such file or directory");
  write_file(file, std::string(kKey) + "\n", 0644);
  expect_refused(arguments, reading + ": others may read or write it; run: chmod 600 " + file);
  write_file(file, std::string(kKey) + "\n", 0620);
  expect_refused(arguments, reading + ": others may read or write it; run: chmod 600 " + file);
  write_file(file, "short\n", 0600);
  expect_refused(arguments, reading + ": a key has fewer than 16 characters");
  write_file(file, "\n# nothing\n", 0600);
  expect_refused(arguments, reading + ": there is no key in it");
  write_file(file, std::string(kKey) + "\n", 0600);
  expect_refused({"--listen", "example.com:1", "--session-key-file", file},
                 "listening on example.com:1: the host must be a numeric address or 'localhost'");
}

TEST_F(CommandLine, RefusesWorkingDirectoriesAndVariablesItCannotUse) {
  write_file(folder / "file", "");
  expect_refused({"--listen", unix_socket, "--working-dir", folder / "file"},
                 "using the working directory " + folder / "file" + ": it is not a folder");
  expect_refused({"--listen", unix_socket, "--working-dir", folder / "a/b"},
                 "making the working directory " + folder / "a/b" + ": No such file or directory");
  for (const char* value : {"x", "0", "-1", "1.5", "99999999999"}) {
    expect_refused({"--listen", unix_socket},
                   "reading NO_CHANGE_TIMEOUT_SECONDS: it must be a whole number of seconds from 1",
                   {std::string("NO_CHANGE_TIMEOUT_SECONDS=") + value});
  }
}

TEST_F(CommandLine, MakesAMissingWorkingDirectory) {
  ProgramOptions options;
  options.arguments = {"--listen", unix_socket, "--working-dir", folder / "new"};
  AgentProgram agent(options);
  EXPECT_TRUE(fs::is_directory(folder / "new"));
  EXPECT_EQ(agent.terminate(), 0);
}

TEST_F(CommandLine, RefusesTheSocketOfARunningAgentAndReplacesThatOfADeadOne) {
  ProgramOptions options;
  options.arguments = {"--listen", unix_socket};
  {
    AgentProgram agent(options);
    expect_refused({"--listen", unix_socket},
                   "listening on " + unix_socket + ": another process listens there");
    EXPECT_EQ(exchange(RawClient::to_unix(folder / "socket"), request("GET", "/alive")).status, 200);
    ::kill(agent.pid(), SIGKILL);
  }
  EXPECT_TRUE(fs::exists(folder / "socket"));
  AgentProgram again(options);
  EXPECT_EQ(exchange(RawClient::to_unix(folder / "socket"), request("GET", "/alive")).status, 200);
}

TEST_F(CommandLine, HelpAndVersionSucceed) {
  ProgramOptions options;
  options.arguments = {"--help"};
  const ProgramEnd help = run_agent(options);
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.output, HasSubstr("Usage: sandkey-agent"));
  options.arguments = {"--version"};
  EXPECT_EQ(run_agent(options).code, 0);
}

TEST_F(CommandLine, EndsCleanlyInTheMiddleOfACommand) {
  Fifo ready(folder / "ready");
  Fifo go(folder / "go");
  ProgramOptions options;
  options.arguments = {"--listen", unix_socket, "--working-dir", folder / "work"};
  options.environment = {"TMPDIR=" + folder.path()};
  AgentProgram agent(options);
  RawClient client = RawClient::to_unix(folder / "socket");
  client.send(request("POST", "/execute_action",
                      action("run",
                             {{"command", "echo r > " + ready.path() + "; read word < " + go.path() +
                                              "; touch " + folder / "went-on"}},
                             100.0)));
  ASSERT_TRUE(ready.wait_for_line());
  RawClient queued = RawClient::to_unix(folder / "socket");
  queued.send(request("POST", "/execute_action", action("run", {{"command", "true"}})));
  RawClient idle = RawClient::to_unix(folder / "socket");
  EXPECT_EQ(agent.terminate(), 0);
  EXPECT_FALSE(client.response());
  EXPECT_TRUE(idle.at_end());
  go.say("go");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("go", "ready", "work")) << "nothing stays behind";
}

}  // namespace
}  // namespace sandkey::test
