// Drives the proxy as a client does: over a real HTTP server, with real MCP servers behind it.
#include "sandkey/agent/mcp/mcp_proxy.h"

#include "sandkey/agent/mcp/stdio_server.h"
#include "sandkey/agent/process.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace sandkey::agent {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kServer = R"python(
import json, os, sys, time

def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()

def answer(id, result):
    send({"jsonrpc": "2.0", "id": id, "result": result})

def text(id, value, **more):
    answer(id, {"content": [{"type": "text", "text": value}], **more})

def log(line):
    if "LOG" in os.environ:
        with open(os.environ["LOG"], "a") as f:
            f.write(line + "\n")

log("start %d" % os.getpid())
mode = os.environ.get("MODE", "")
if mode == "die at start":
    sys.exit("no such package: \u00e9t\u00e9")
if mode == "refuse":
    first = json.loads(sys.stdin.readline())
    send({"jsonrpc": "2.0", "id": first["id"], "error": {"code": -32602, "message": "too old for me"}})
if mode == "mute":
    time.sleep(1000)
names = os.environ.get("TOOLS", "echo add").split()
tools = [{"name": n, "description": "Tool " + n, "inputSchema": {"type": "object"}} for n in names]
initialized = False
for line in sys.stdin:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    params = message.get("params") or {}
    if method == "initialize":
        log("initialize " + params["protocolVersion"] + " " + params["clientInfo"]["name"])
        print("a banner where none may be")
        sys.stdout.flush()
        if mode == "slow":
            time.sleep(0.5)
        answer(id, {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "test", "version": "1"}})
    elif method == "notifications/initialized":
        initialized = True
    elif method == "notifications/cancelled":
        log("cancelled " + str(params["requestId"]))
    elif method == "tools/list":
        if not initialized:
            sys.exit("used before initialized")
        page = int(params.get("cursor", "0"))
        result = {"tools": tools[page:page + 1]}
        if page + 1 < len(tools):
            result["nextCursor"] = str(page + 1)
        answer(id, result)
    elif method == "tools/call":
        name, arguments = params["name"], params.get("arguments", {})
        log("call " + name)
        if name == "echo":
            text(id, json.dumps(arguments, sort_keys=True), structuredContent=arguments)
        elif name == "add":
            text(id, str(arguments["a"] + arguments["b"]))
        elif name == "env":
            text(id, os.environ.get(arguments["name"], "(none)"))
        elif name == "failing":
            text(id, "it failed", isError=True)
        elif name == "error":
            send({"jsonrpc": "2.0", "id": id, "error": {"code": -32042, "message": "mine", "data": {"k": [1]}}})
        elif name == "hang":
            log("hang " + str(id))
        elif name == "progress":
            token = params["_meta"]["progressToken"]
            send({"jsonrpc": "2.0", "method": "notifications/progress",
                  "params": {"progressToken": token, "progress": 1, "total": 2}})
            text(id, "done")
        elif name == "ask":
            send({"jsonrpc": "2.0", "id": "q1", "method": "ping"})
            pong = json.loads(sys.stdin.readline())
            send({"jsonrpc": "2.0", "id": "q2", "method": "sampling/createMessage", "params": {}})
            refusal = json.loads(sys.stdin.readline())
            text(id, json.dumps([pong["id"], pong["result"], refusal["id"], refusal["error"]["code"]]))
        elif name == "changed":
            send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            text(id, "told")
        elif name == "last words":
            sys.stderr.write("x" * 5000 + "the last words")
            sys.stderr.flush()
            os._exit(3)
        elif name == "answer and die":
            text(id, "farewell")
            os._exit(0)
        elif name == "close stdout":
            sys.stdout.flush()
            os.close(1)
        elif name == "big":
            text(id, "y" * arguments["size"])
        elif name == "list much":
            tools = [{"name": "t%d" % i, "description": "x" * 12000000} for i in range(4)]
            text(id, "from now on")
        elif name == "endless":
            while True:
                sys.stdout.write("z" * 1000000)
        elif name == "child":
            pid = os.fork()
            if pid == 0:
                time.sleep(1000)
                os._exit(0)
            text(id, str(pid))
    elif id is not None:
        send({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "unknown"}})
log("end")
)python";

std::string python() {
  std::vector<std::string> environment;
  if (const char* path = std::getenv("PATH")) environment.push_back(std::string("PATH=") + path);
  return find_program("python3", environment);
}

// ---- A client with blocking sockets

class Connection {
 public:
  explicit Connection(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
    }
  }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) throw std::runtime_error("send failed");
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  // False at the end, or when nothing came in time.
  bool receive(Clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd poller{fd_.get(), POLLIN, 0};
    if (::poll(&poller, 1, static_cast<int>(std::max<long long>(left, 0))) <= 0) return false;
    std::string piece(1 << 16, '\0');
    const ssize_t n = ::recv(fd_.get(), piece.data(), piece.size(), 0);
    if (n <= 0) {
      ended = true;
      return false;
    }
    buffer.append(piece, 0, static_cast<std::size_t>(n));
    return true;
  }

  // The head, taken off the buffer.
  std::string head() {
    const auto deadline = Clock::now() + 10s;
    while (buffer.find("\r\n\r\n") == std::string::npos) {
      if (!receive(deadline)) throw std::runtime_error("no head came: '" + buffer + "'");
    }
    std::string out = buffer.substr(0, buffer.find("\r\n\r\n") + 2);
    buffer.erase(0, out.size() + 2);
    return out;
  }

  std::string buffer;
  bool ended = false;

 private:
  UniqueFd fd_;
};

struct Reply {
  int status = 0;
  std::string body;
};

Reply exchange(std::uint16_t port, std::string_view method, const std::string& target,
               const std::string& body, std::chrono::seconds patience = 20s) {
  Connection connection(port);
  connection.send(std::string(method) + " " + target +
                  " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
                  std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto deadline = Clock::now() + patience;
  while (connection.receive(deadline)) {
  }
  const std::string head = connection.head();
  return {std::stoi(head.substr(9, 3)), connection.buffer};
}

// An event stream and the session it is for.
class Client {
 public:
  explicit Client(std::uint16_t port) : port_(port), stream_(port) {
    stream_.send("GET /mcp/sse HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    head = stream_.head();
    const auto event = next_event();
    if (!event || event->first != "endpoint") throw std::runtime_error("no endpoint came");
    endpoint = event->second;
  }

  using Event = std::pair<std::string, std::string>;  // its type (":" of a comment) and data
  std::optional<Event> next_event(std::chrono::milliseconds patience = 10s) {
    const auto deadline = Clock::now() + patience;
    while (true) {
      dechunk();
      const std::size_t end = text_.find("\r\n\r\n");
      if (end != std::string::npos) {
        const std::string block = text_.substr(0, end);
        text_.erase(0, end + 4);
        if (block.starts_with(":")) return Event{":", block.substr(1)};
        const std::size_t line = block.find("\r\n");
        return Event{block.substr(7, line - 7), block.substr(line + 8)};
      }
      if (!stream_.receive(deadline)) return std::nullopt;
    }
  }

  // The next message that is not a comment.
  std::optional<json::object> next_message(std::chrono::milliseconds patience = 10s) {
    while (auto event = next_event(patience)) {
      if (event->first == "message") return parse_json(event->second, "an event").as_object();
    }
    return std::nullopt;
  }

  int post(const std::string& body) { return exchange(port_, "POST", endpoint, body).status; }

  int request(int id, const std::string& method, json::object params = {}) {
    json::object message{{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", std::move(params)}};
    const int status = post(json::serialize(message));
    EXPECT_EQ(status, 202);
    return id;
  }

  // The answer to a request; what comes before it is kept in `others`.
  json::object answer(int id, std::chrono::milliseconds patience = 10s) {
    while (auto message = next_message(patience)) {
      if (find_integer(*message, "id") == id) return *message;
      others.push_back(*message);
    }
    throw std::runtime_error("no answer came to request " + std::to_string(id));
  }

  json::object call(const std::string& method, json::object params = {}) {
    return answer(request(next_id_++, method, std::move(params)));
  }

  json::object call_tool(const std::string& name, json::object arguments = {}) {
    return call("tools/call", {{"name", name}, {"arguments", std::move(arguments)}});
  }

  std::vector<std::string> tools() {
    const json::object message = call("tools/list");
    std::vector<std::string> names;
    for (const json::value& tool : message.at("result").at("tools").as_array()) {
      names.emplace_back(tool.at("name").as_string());
    }
    return names;
  }

  bool ended(std::chrono::milliseconds patience = 10s) {
    const auto deadline = Clock::now() + patience;
    while (stream_.receive(deadline)) {
    }
    return stream_.ended;
  }

  std::string head;
  std::string endpoint;
  std::vector<json::object> others;

 private:
  void dechunk() {
    while (true) {
      const std::size_t end = stream_.buffer.find("\r\n");
      if (end == std::string::npos) return;
      const std::size_t size = std::stoul(stream_.buffer.substr(0, end), nullptr, 16);
      if (stream_.buffer.size() < end + 2 + size + 2) return;
      text_ += stream_.buffer.substr(end + 2, size);
      stream_.buffer.erase(0, end + 2 + size + 2);
    }
  }

  std::uint16_t port_;
  Connection stream_;
  std::string text_;
  int next_id_ = 1000;
};

std::string text_of(const json::object& message) {
  const json::value* result = find(message, "result");
  if (result == nullptr) return json::serialize(message);
  return std::string(result->at("content").at(0).at("text").as_string());
}
long long error_code(const json::object& message) {
  const json::value* error = find(message, "error");
  return error == nullptr ? 0 : error->at("code").as_int64();
}
std::string error_text(const json::object& message) {
  const json::value* error = find(message, "error");
  return error == nullptr ? json::serialize(message) : std::string(error->at("message").as_string());
}

class McpProxyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (python().empty()) GTEST_SKIP() << "the MCP servers of this test need python3";
    std::string pattern = ::testing::TempDir() + "sandkey-mcp-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    write(folder_ + "/server.py", kServer);
    options_.environment = {"PATH=" + std::string(std::getenv("PATH")), "FROM_AGENT=yes",
                            "PYTHONDONTWRITEBYTECODE=1"};
    options_.working_dir = folder_;
    options_.update_wait = 10s;
  }

  // Fast enough not to be noticed; called by the first use.
  void serve() {
    if (thread_.joinable()) return;
    reaper_ = std::make_unique<ChildReaper>(io_.get_executor());
    proxy_ = std::make_unique<McpProxy>(io_.get_executor(), *reaper_, options_);
    server_ = std::make_unique<net::HttpServer>(io_.get_executor(), [this](net::HttpExchange& exchange) {
      if (exchange.path() == "/update_mcp_server") return proxy_->handle_update(exchange);
      if (exchange.path() == "/mcp/sse") return proxy_->handle_sse(exchange);
      return proxy_->handle_message(exchange);
    });
    port_ = server_->listen_tcp("127.0.0.1", 0);
    // The loop hears of children. In this thread their end, even of one of the test before, would interrupt
    // connect().
    mask_children(SIG_BLOCK);
    thread_ = std::thread([this] {
      mask_children(SIG_UNBLOCK);
      io_.run();
    });
  }

  static void mask_children(int how) {
    sigset_t children;
    ::sigemptyset(&children);
    ::sigaddset(&children, SIGCHLD);
    ::pthread_sigmask(how, &children, nullptr);
  }

  void on_thread(const std::function<void()>& work) {
    std::atomic<bool> done = false;
    boost::asio::post(io_, [&] {
      work();
      done = true;
    });
    while (!done) std::this_thread::sleep_for(1ms);
  }

  void TearDown() override {
    if (thread_.joinable()) {
      boost::asio::post(io_, [this] {
        proxy_->close();
        server_->stop();
        // All that was started ends by itself, without the loop being stopped under it.
        reaper_.reset();
      });
      thread_.join();
    }
    if (!folder_.empty()) (void)!std::system(("rm -rf '" + folder_ + "'").c_str());
  }

  static void write(const std::string& path, std::string_view text) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  std::string log(const std::string& name = "log") const {
    const UniqueFd fd(::open((folder_ + "/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    std::string text(1 << 16, '\0');
    const ssize_t n = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    return text;
  }

  bool logged(const std::string& text, const std::string& name = "log") const {
    const auto deadline = Clock::now() + 10s;
    while (log(name).find(text) == std::string::npos) {
      if (Clock::now() > deadline) return false;
      std::this_thread::sleep_for(5ms);
    }
    return true;
  }

  static json::object spec(const std::string& name, const std::string& tools = {}, json::object env = {}) {
    if (!tools.empty()) env["TOOLS"] = tools;
    env["LOG"] = name == "one" ? "log" : "log-" + name;
    return {
        {"name", name}, {"command", "python3"}, {"args", json::array{"server.py"}}, {"env", std::move(env)}};
  }

  // Returns the router_error_log.
  std::string update(json::array servers) {
    serve();
    const Reply reply = exchange(port_, "POST", "/update_mcp_server", json::serialize(servers));
    EXPECT_EQ(reply.status, 200) << reply.body;
    const json::object body = parse_json(reply.body, "the reply").as_object();
    EXPECT_EQ(find_string(body, "detail"), "MCP server updated successfully");
    return std::string(find_string(body, "router_error_log").value_or("(missing)"));
  }

  static bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }
  static bool ends(pid_t pid) {
    const auto deadline = Clock::now() + 10s;
    while (exists(pid) && Clock::now() < deadline) std::this_thread::sleep_for(5ms);
    return !exists(pid);
  }

  McpOptions options_;
  std::string folder_;
  boost::asio::io_context io_;
  std::unique_ptr<ChildReaper> reaper_;
  std::unique_ptr<McpProxy> proxy_;
  std::unique_ptr<net::HttpServer> server_;
  std::thread thread_;
  std::uint16_t port_ = 0;
};

TEST_F(McpProxyTest, OneServersToolsKeepTheirNames) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  EXPECT_THAT(client.head, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(client.head, HasSubstr("text/event-stream"));
  EXPECT_THAT(client.endpoint, StartsWith("/mcp/messages/?session_id="));
  EXPECT_EQ(client.endpoint.size(), std::strlen("/mcp/messages/?session_id=") + 32);
  EXPECT_THAT(client.tools(), ElementsAre("echo", "add"));
  EXPECT_EQ(text_of(client.call_tool("add", {{"a", 2}, {"b", 40}})), "42");
  const auto echo =
      client.call_tool("echo", {{"text", "\xC3\xA9 \n \x7F <>"}, {"deep", json::array{1, nullptr, 2.5}}});
  EXPECT_EQ(json::serialize(echo.at("result").at("structuredContent")),
            "{\"text\":\"\xC3\xA9 \\n \x7F <>\",\"deep\":[1,null,2.5E0]}");
  EXPECT_THAT(log(), HasSubstr("initialize 2025-11-25 sandkey-agent"));
}

TEST_F(McpProxyTest, SeveralServersToolsArePrefixed) {
  EXPECT_EQ(update({spec("one"), spec("two", "add env")}), "");
  Client client(port_);
  EXPECT_THAT(client.tools(), ElementsAre("one_echo", "one_add", "two_add", "two_env"));
  EXPECT_EQ(text_of(client.call_tool("two_add", {{"a", 1}, {"b", 2}})), "3");
  EXPECT_THAT(log("log-two"), HasSubstr("call add"));
  EXPECT_THAT(log(), Not(HasSubstr("call")));
  EXPECT_EQ(error_code(client.call_tool("add")), -32602);
  EXPECT_EQ(error_text(client.call_tool("three_add")), "Unknown tool: 'three_add'");
}

TEST_F(McpProxyTest, APrefixThatBeginsAnotherIsResolvedByTheToolsThereAre) {
  EXPECT_EQ(update({spec("a", "b_echo add"), spec("a_b", "echo")}), "");
  Client client(port_);
  EXPECT_THAT(client.tools(), ElementsAre("a_b_echo", "a_add", "a_b_echo"));
  (void)client.call_tool("a_b_echo");
  EXPECT_THAT(log("log-a_b"), HasSubstr("call echo"));
  EXPECT_EQ(update({spec("a", "b_add"), spec("a_b", "echo")}), "");
  // Only "a" has it; its server does not know what to do, so it does not answer: enough that it was asked.
  client.request(1, "tools/call", {{"name", "a_b_add"}});
  EXPECT_TRUE(logged("call b_add", "log-a"));
}

TEST_F(McpProxyTest, InitializeNegotiatesTheVersion) {
  EXPECT_EQ(update({}), "");
  Client client(port_);
  for (const char* version : {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}) {
    const auto message = client.call("initialize", {{"protocolVersion", version}});
    EXPECT_EQ(message.at("result").at("protocolVersion").as_string(), version);
  }
  const auto message = client.call("initialize", {{"protocolVersion", "1999-01-01"}});
  const json::value& result = message.at("result");
  EXPECT_EQ(result.at("protocolVersion").as_string(), "2025-11-25");
  EXPECT_EQ(result.at("serverInfo").at("name").as_string(), "sandkey-agent");
  EXPECT_EQ(json::serialize(result.at("capabilities")), R"({"tools":{"listChanged":true}})");
  EXPECT_EQ(client.post(R"({"jsonrpc":"2.0","method":"notifications/initialized"})"), 202);
  EXPECT_EQ(json::serialize(client.call("ping").at("result")), "{}");
  EXPECT_THAT(client.tools(), IsEmpty());
  EXPECT_EQ(error_code(client.call_tool("any")), -32602);
  EXPECT_EQ(error_code(client.call("tools/call")), -32602);
  EXPECT_EQ(error_code(client.call("resources/list")), -32601);
  EXPECT_EQ(client.post(R"({"jsonrpc":"2.0","id":"text","method":"ping"})"), 202);
  EXPECT_EQ(json::serialize(*client.next_message()), R"({"jsonrpc":"2.0","id":"text","result":{}})");
}

TEST_F(McpProxyTest, ErrorsArePassedOn) {
  EXPECT_EQ(update({spec("one", "failing error")}), "");
  Client client(port_);
  EXPECT_TRUE(client.call_tool("failing").at("result").at("isError").as_bool());
  EXPECT_EQ(json::serialize(client.call_tool("error").at("error")),
            R"({"code":-32042,"message":"mine","data":{"k":[1]}})");
}

TEST_F(McpProxyTest, MessagesThatAreNoneAreRefused) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  for (const char* body :
       {"", "{", "[]", "1", "{}", R"({"jsonrpc":"1.0","id":1,"method":"ping"})",
        R"({"jsonrpc":"2.0","id":1})", R"({"jsonrpc":"2.0","id":{},"method":"ping"})",
        R"({"jsonrpc":"2.0","id":null,"method":"ping"})", R"({"jsonrpc":"2.0","method":1})",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xFF\"}"}) {
    EXPECT_EQ(client.post(body), 400) << body;
  }
  EXPECT_EQ(client.post(R"([{"jsonrpc":"2.0","id":1,"method":"ping"}])"), 400);
  EXPECT_EQ(client.post(std::string(kMaxMcpBody + 1, ' ')), 413);
  EXPECT_EQ(client.post(R"({"jsonrpc":"2.0","id":1,"result":{}})"), 202);
  EXPECT_EQ(exchange(port_, "POST", "/mcp/messages/", "{}").status, 400);
  EXPECT_EQ(exchange(port_, "POST", "/mcp/messages/?session_id=unknown", "{}").status, 404);
  EXPECT_EQ(exchange(port_, "GET", client.endpoint, "").status, 405);
  EXPECT_EQ(exchange(port_, "POST", "/mcp/sse", "").status, 405);
  EXPECT_EQ(exchange(port_, "POST", "/update_mcp_server", "{}").status, 400);
  EXPECT_EQ(exchange(port_, "POST", "/update_mcp_server", "[{}]").status, 422);
  EXPECT_THAT(client.tools(), ElementsAre("echo", "add"));  // none of this did any harm
}

TEST_F(McpProxyTest, ServersThatDoNotStartAreReported) {
  json::object missing = spec("missing");
  missing["command"] = "sandkey-no-such-program";
  const std::string problems = update({spec("one"), missing, spec("dead", {}, {{"MODE", "die at start"}}),
                                       spec("refusing", {}, {{"MODE", "refuse"}})});
  EXPECT_THAT(problems,
              HasSubstr("'missing' cannot be started: starting a process: 'sandkey-no-such-program'"));
  EXPECT_THAT(problems, HasSubstr("The MCP server 'dead' ended with exit code 1. It said:\n"
                                  "no such package: \xC3\xA9t\xC3\xA9"));
  EXPECT_THAT(problems, HasSubstr("'refusing' refused to initialize: too old for me"));

  Client client(port_);
  const auto message = client.call("tools/list");
  EXPECT_EQ(message.at("result").at("tools").as_array().size(), 2U);
  EXPECT_EQ(message.at("result").at("_meta").at("sandkey/unavailable").as_object().size(), 3U);
  EXPECT_THAT(error_text(client.call_tool("dead_echo")), HasSubstr("no such package"));
  // Alone, its failure is the answer.
  (void)update({missing});
  EXPECT_THAT(error_text(client.call("tools/list")), HasSubstr("sandkey-no-such-program"));
}

TEST_F(McpProxyTest, SlowServersAreWaitedForByTheirUsersOnly) {
  options_.update_wait = 20ms;
  EXPECT_EQ(update({spec("one", {}, {{"MODE", "slow"}})}), "");
  Client client(port_);
  EXPECT_THAT(client.tools(), ElementsAre("echo", "add"));
}

TEST_F(McpProxyTest, AServerThatNeverInitializesIsGivenUp) {
  options_.start_timeout = 300ms;
  EXPECT_EQ(update({spec("one", {}, {{"MODE", "mute"}})}),
            "The MCP server 'one' did not answer initialize within 300 milliseconds.");
  Client client(port_);
  EXPECT_EQ(error_code(client.call("tools/list")), -32000);
}

TEST_F(McpProxyTest, ADeadServerIsReportedAndRestarted) {
  EXPECT_EQ(update({spec("one", "echo", {{"LOG", "log"}})}), "");
  Client client(port_);
  const std::string text = error_text(client.call_tool("last words"));
  EXPECT_THAT(text, StartsWith("The MCP server 'one' ended with exit code 3. It said:\nxxx"));
  EXPECT_THAT(text, HasSubstr("xthe last words"));
  EXPECT_LT(text.size(), kMcpErrorTail + 100);
  EXPECT_EQ(text_of(client.call_tool("echo")), "{}");
  // What it answered before it ended counts.
  EXPECT_EQ(text_of(client.call_tool("answer and die")), "farewell");
  const std::string starts = log();
  EXPECT_TRUE(ends(static_cast<pid_t>(std::stol(starts.substr(starts.rfind("start ") + 6)))));
  EXPECT_EQ(text_of(client.call_tool("echo")), "{}");
  EXPECT_THAT(error_text(client.call_tool("close stdout")), HasSubstr("closed its standard output"));
}

TEST_F(McpProxyTest, RestartsAreBounded) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  for (std::size_t i = 0; i < kMaxMcpStarts; ++i) {
    EXPECT_THAT(error_text(client.call_tool("last words")), HasSubstr("ended with exit code 3"));
  }
  const std::string text = error_text(client.call_tool("echo"));
  EXPECT_THAT(text, HasSubstr("was started 5 times within a minute"));
  EXPECT_THAT(text, HasSubstr("the last words"));
}

TEST_F(McpProxyTest, CallsThatTakeTooLongEndAndTheServerIsTold) {
  options_.call_timeout = 1s;
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  const auto message = client.call_tool("hang");
  EXPECT_EQ(error_code(message), -32001);
  EXPECT_EQ(error_text(message), "The MCP server 'one' did not answer tools/call within 1 second.");
  EXPECT_TRUE(logged("cancelled 2"));
  EXPECT_EQ(text_of(client.call_tool("echo")), "{}");
}

TEST_F(McpProxyTest, TheClientCanCancel) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  const int id = client.request(7, "tools/call", {{"name", "hang"}});
  EXPECT_TRUE(logged("hang 2"));
  EXPECT_EQ(client.post(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":8}})"),
            202);
  EXPECT_EQ(client.post(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}})"),
            202);
  EXPECT_TRUE(logged("cancelled 2"));
  EXPECT_EQ(text_of(client.call_tool("echo")), "{}");
  for (const auto& other : client.others) EXPECT_NE(find_integer(other, "id"), id);
}

TEST_F(McpProxyTest, TwoRequestsWithOneIdAreRefused) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  client.request(7, "tools/call", {{"name", "hang"}});
  EXPECT_TRUE(logged("hang"));
  client.request(7, "ping");
  EXPECT_EQ(error_code(client.answer(7)), -32600);
}

TEST_F(McpProxyTest, RequestsAtATimeAreBounded) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  for (int i = 0; i < static_cast<int>(kMaxMcpRequests); ++i)
    client.request(i, "tools/call", {{"name", "hang"}});
  EXPECT_THAT(error_text(client.call_tool("echo")), HasSubstr("More than 100 requests"));
  EXPECT_EQ(text_of(Client(port_).call_tool("echo")), "{}");  // another session's are its own
}

TEST_F(McpProxyTest, ProgressComesWithTheClientsToken) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  Client other(port_);
  const auto params = [] {
    return json::object{{"name", "progress"}, {"_meta", json::object{{"progressToken", "mine"}, {"x", 1}}}};
  };
  EXPECT_EQ(text_of(client.call("tools/call", params())), "done");
  ASSERT_EQ(client.others.size(), 1U);
  EXPECT_EQ(json::serialize(client.others[0]),
            R"({"jsonrpc":"2.0","method":"notifications/progress",)"
            R"("params":{"progressToken":"mine","progress":1,"total":2}})");
  EXPECT_EQ(text_of(other.call("tools/call", params())), "done");
  EXPECT_EQ(other.others.size(), 1U);
}

TEST_F(McpProxyTest, WhatServersAskIsAnswered) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  EXPECT_EQ(text_of(client.call_tool("ask")), R"(["q1", {}, "q2", -32601])");
  EXPECT_EQ(text_of(client.call_tool("changed")), "told");
  ASSERT_EQ(client.others.size(), 1U);
  EXPECT_EQ(client.others[0].at("method").as_string(), "notifications/tools/list_changed");
}

TEST_F(McpProxyTest, ServersGetTheAgentsEnvironmentAndTheirOwn) {
  EXPECT_EQ(update({spec("one", {}, {{"OWN", "value=1"}})}), "");
  Client client(port_);
  EXPECT_EQ(text_of(client.call_tool("env", {{"name", "OWN"}})), "value=1");
  EXPECT_EQ(text_of(client.call_tool("env", {{"name", "FROM_AGENT"}})), "yes");
  EXPECT_EQ(text_of(client.call_tool("env", {{"name", "HOME"}})), "(none)");
}

TEST_F(McpProxyTest, AnUpdateKeepsEqualServersAndStopsRemovedOnes) {
  EXPECT_EQ(update({spec("one"), spec("two")}), "");
  Client client(port_);
  const std::string first = log();
  client.request(1, "tools/call", {{"name", "two_hang"}});
  EXPECT_TRUE(logged("hang", "log-two"));
  EXPECT_EQ(update({spec("one"), spec("three")}), "");
  EXPECT_EQ(error_text(client.answer(1)), "The MCP server 'two' was removed.");
  EXPECT_TRUE(logged("end", "log-two"));  // its input was closed, and it left by itself
  EXPECT_EQ(log(), first);                // the same process
  EXPECT_EQ(update({spec("one"), spec("three")}), "");
  EXPECT_THAT(client.tools(), ElementsAre("one_echo", "one_add", "three_echo", "three_add"));
  EXPECT_EQ(update({spec("one", "echo")}), "");  // changed: started anew
  EXPECT_TRUE(logged("end"));
  EXPECT_THAT(client.tools(), ElementsAre("echo"));
  EXPECT_EQ(client.others.size(), 2U);  // tools/list_changed, each time
}

TEST_F(McpProxyTest, LargeAnswersPassUpToTheLimit) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  EXPECT_EQ(text_of(client.call_tool("big", {{"size", 8 << 20}})).size(), std::size_t{8} << 20U);
  EXPECT_EQ(error_text(client.call_tool("big", {{"size", 17 << 20}})),
            "The MCP server 'one' sent a message of more than 16 MiB. It said:\na banner where none may be");
  EXPECT_THAT(error_text(client.call_tool("endless")), HasSubstr("more than 16 MiB"));
  EXPECT_EQ(text_of(client.call_tool("echo")), "{}");
}

TEST_F(McpProxyTest, EndlessListsOfToolsAreBounded) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  EXPECT_EQ(text_of(client.call_tool("list much")), "from now on");
  EXPECT_EQ(error_text(client.call("tools/list")), "The MCP servers list more than 32 MiB of tools.");
  EXPECT_EQ(text_of(client.call_tool("echo")), "{}");
}

TEST_F(McpProxyTest, AClientThatDoesNotReadIsLeft) {
  EXPECT_EQ(update({spec("one")}), "");
  Client reader(port_);
  Client client(port_);
  for (int i = 0; i < 8; ++i)
    client.request(i, "tools/call", {{"name", "big"}, {"arguments", {{"size", 12 << 20}}}});
  const auto deadline = Clock::now() + 20s;
  std::size_t sessions = 2;
  while (sessions > 1 && Clock::now() < deadline) on_thread([&] { sessions = proxy_->sessions(); });
  EXPECT_EQ(sessions, 1U);
  EXPECT_EQ(text_of(reader.call_tool("echo")), "{}");
}

TEST_F(McpProxyTest, ADeadConnectionIsNoticed) {
  options_.keep_alive = 50ms;
  EXPECT_EQ(update({spec("one")}), "");
  {
    Client client(port_);
    const auto event = client.next_event();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->first, ":");
    client.request(1, "tools/call", {{"name", "hang"}});
    EXPECT_TRUE(logged("hang 2"));
  }
  EXPECT_TRUE(logged("cancelled 2"));
  std::size_t sessions = 1;
  on_thread([&] { sessions = proxy_->sessions(); });
  EXPECT_EQ(sessions, 0U);
}

TEST_F(McpProxyTest, CloseEndsEverything) {
  EXPECT_EQ(update({spec("one")}), "");
  Client client(port_);
  const pid_t child = static_cast<pid_t>(std::stol(text_of(client.call_tool("child"))));
  const pid_t server = static_cast<pid_t>(std::stol(log().substr(6)));
  EXPECT_TRUE(exists(child));
  client.request(1, "tools/call", {{"name", "hang"}});
  EXPECT_TRUE(logged("hang"));
  on_thread([&] { proxy_->close(); });
  EXPECT_TRUE(client.ended());
  EXPECT_TRUE(ends(server));
  EXPECT_TRUE(ends(child));
  EXPECT_EQ(exchange(port_, "GET", "/mcp/sse", "").status, 503);
  EXPECT_EQ(exchange(port_, "POST", client.endpoint, "{}").status, 503);
  EXPECT_EQ(exchange(port_, "POST", "/update_mcp_server", "[]").status, 503);
}

}  // namespace
}  // namespace sandkey::agent
