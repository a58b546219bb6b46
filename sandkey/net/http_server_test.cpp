// Against a client of raw sockets, which sends exactly the bytes a test writes.
#include "sandkey/net/http_server.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "tests/agent/raw_http.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sandkey::net {
namespace {

using namespace std::chrono_literals;
using test::RawClient;
using test::RawResponse;
using ::testing::HasSubstr;
using ::testing::Not;
namespace asio = boost::asio;

constexpr auto kPatience = RawClient::kPatience;

class Folder {
 public:
  Folder() : path_("/tmp/sandkey-http-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// What handlers wait for and report to the test.
struct Stage {
  explicit Stage(asio::io_context& context) : released(context, asio::steady_timer::time_point::max()) {}
  asio::steady_timer released;
  bool is_released = false;
  std::promise<void> waiting;     // a /wait handler has begun
  std::promise<void> flooding;    // a /flood handler has written something
  std::promise<void> flood_over;  // and was told that its reader is gone
  std::promise<int> read_failed;  // the status that a /hold handler's read threw
};

asio::awaitable<void> flood(Stage& stage, HttpExchange& exchange) {
  const std::string piece(64 * 1024, 'f');
  bool alive = co_await exchange.start(200, "text/plain");
  if (alive) alive = co_await exchange.write(piece);
  stage.flooding.set_value();
  while (alive) alive = co_await exchange.write(piece);
  stage.flood_over.set_value();
}

// Neither reads nor writes until its client has left.
asio::awaitable<void> think(Stage& stage, HttpExchange& exchange) {
  asio::steady_timer pause(stage.released.get_executor());
  if (exchange.peer_gone()) throw HttpError(500, "gone already");
  stage.waiting.set_value();
  while (!exchange.peer_gone()) {
    pause.expires_after(std::chrono::milliseconds(1));
    (void)co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  stage.flood_over.set_value();
}

asio::awaitable<void> hold(Stage& stage, HttpExchange& exchange) {
  std::array<char, 64> buffer{};
  std::optional<HttpError> failure;
  stage.waiting.set_value();
  try {
    std::size_t n = 1;
    while (n > 0) n = co_await exchange.read_some(buffer);
    stage.read_failed.set_value(0);
  } catch (const HttpError& error) {
    stage.read_failed.set_value(error.status());
    failure = error;
  }
  if (failure) throw *failure;
}

asio::awaitable<void> handle(Stage& stage, HttpExchange& exchange) {
  const std::string path = exchange.path();
  if (path == "/echo") {
    std::string body = co_await exchange.read_body(1024 * 1024);
    co_await exchange.reply(200, std::move(body), "text/plain");
  } else if (path == "/ignore") {
    co_await exchange.reply(200, "ignored", "text/plain");
  } else if (path == "/query") {
    co_await exchange.reply(200, exchange.query("q").value_or("(none)"), "text/plain");
  } else if (path == "/method") {
    co_await exchange.reply(
        200, std::string(exchange.method()) + " " + std::string(exchange.header("x-some")), "text/plain");
  } else if (path == "/heads") {
    std::string text(exchange.target());
    for (const auto& [name, value] : exchange.headers())
      text.append("\n").append(name).append("=").append(value);
    co_await exchange.reply(200, std::move(text), "text/plain");
  } else if (path == "/none") {
    co_await exchange.reply(204, "", "");
  } else if (path == "/stream" || path == "/sized") {
    const auto length = path == "/sized" ? std::optional<std::uint64_t>(6) : std::nullopt;
    (void)co_await exchange.start(200, "text/plain", length);
    const std::string one = "one";
    const std::string two = "two";
    (void)co_await exchange.write(one);
    (void)co_await exchange.write({});
    (void)co_await exchange.write(two);
    (void)co_await exchange.finish();
  } else if (path == "/throw/http") {
    throw HttpError(418, "I am a \"teapot\" \xFF.");
  } else if (path == "/throw/std") {
    throw std::runtime_error("secret internals");
  } else if (path == "/throw/late" || path == "/throw/sized" || path == "/abort") {
    const auto length = path == "/throw/sized" ? std::optional<std::uint64_t>(100) : std::nullopt;
    (void)co_await exchange.start(200, "text/plain", length);
    const std::string piece = "piece";
    (void)co_await exchange.write(piece);
    if (path != "/abort") throw std::runtime_error("too late");
    exchange.abort();
    const bool alive = co_await exchange.write(piece);
    if (alive) std::abort();
  } else if (path == "/silent") {
    co_return;
  } else if (path == "/upgrade") {
    const std::array<HttpExchange::Header, 2> headers{{{"Connection", "Upgrade"}, {"Upgrade", "echo"}}};
    const bool upgraded = co_await exchange.upgrade(headers);
    if (!upgraded) throw HttpError(400, "no upgrade");
    std::array<char, 64> piece{};
    std::size_t n = 1;
    while (n > 0) {
      n = co_await exchange.read_some(piece);
      if (n > 0) (void)co_await exchange.write(std::span(piece.data(), n));
    }
    const std::string bye = "bye";
    (void)co_await exchange.write(bye);
  } else if (path == "/trailers") {
    (void)co_await exchange.start(200, "text/plain");
    const std::string piece = "x";
    (void)co_await exchange.write(piece);
    const std::array<HttpExchange::Header, 1> trailers{{{"X-End", "1"}}};
    (void)co_await exchange.finish_with(trailers);
  } else if (path == "/wait") {
    stage.waiting.set_value();
    while (!stage.is_released) (void)co_await stage.released.async_wait(asio::as_tuple(asio::use_awaitable));
    co_await exchange.reply(200, "released", "text/plain");
  } else if (path == "/hold") {
    co_await hold(stage, exchange);
  } else if (path == "/flood") {
    co_await flood(stage, exchange);
  } else if (path == "/think") {
    co_await think(stage, exchange);
  } else {
    co_await exchange.reply(200, path, "text/plain");
  }
}

class Server {
 public:
  explicit Server(HttpServerOptions options = {})
      : stage_(context_),
        server_(
            context_.get_executor(), [this](HttpExchange& exchange) { return handle(stage_, exchange); },
            options) {
    server_.listen_unix(path());
    port_ = server_.listen_tcp("127.0.0.1", 0);
  }
  ~Server() { stop(); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Server& run() {
    thread_ = std::thread([this] {
      context_.run();
      ended_.set_value();
    });
    return *this;
  }
  // Afterwards nothing of the server may be left that could still do something.
  void stop() {
    if (!thread_.joinable()) return;
    on_loop([this] {
      server_.stop();
      stage_.is_released = true;
      stage_.released.cancel();
    });
    EXPECT_EQ(ended_.get_future().wait_for(kPatience), std::future_status::ready)
        << "a connection or a handler goes on after stop()";
    context_.stop();
    thread_.join();
    EXPECT_EQ(server_.connections(), 0U);
  }
  void release() {
    on_loop([this] {
      stage_.is_released = true;
      stage_.released.cancel();
    });
  }
  void on_loop(const std::function<void()>& what) {
    std::promise<void> done;
    asio::post(context_, [&] {
      what();
      done.set_value();
    });
    done.get_future().wait();
  }
  std::size_t connections() {
    std::size_t count = 0;
    on_loop([&] { count = server_.connections(); });
    return count;
  }
  // For what follows from what a test did, but not at once.
  bool soon_has(std::size_t count) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (connections() != count) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  [[nodiscard]] std::string path() const { return folder_ / "socket"; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] RawClient connect() const { return RawClient::to_unix(path()); }
  Stage& stage() { return stage_; }
  HttpServer& server() { return server_; }
  [[nodiscard]] bool serves() const {
    RawClient client = connect();
    client.send("GET /well HTTP/1.1\r\n\r\n");
    const auto reply = client.response();
    return reply && reply->status == 200 && reply->body == "/well";
  }

 private:
  Folder folder_;
  asio::io_context context_{1};
  Stage stage_;
  HttpServer server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
  std::promise<void> ended_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  // The reply to one request on a connection of its own.
  static RawResponse ask(const Server& server, const std::string& request) {
    RawClient client = server.connect();
    client.send(request);
    std::optional<RawResponse> reply = client.response();
    if (!reply) {
      ADD_FAILURE() << "no reply to: " << request.substr(0, 200);
      return {};
    }
    return std::move(*reply);
  }
};

RawResponse next(RawClient& client, bool to_head = false) {
  std::optional<RawResponse> reply = client.response(to_head);
  if (!reply) {
    ADD_FAILURE() << "the connection ended without a reply";
    return {};
  }
  return std::move(*reply);
}

// ---- Requests and replies

TEST_F(HttpServerTest, AnswersManyRequestsOnOneConnection) {
  Server server;
  server.run();
  RawClient client = server.connect();
  for (int i = 0; i < 100; ++i) {
    const std::string path = "/request" + std::to_string(i);
    ASSERT_TRUE(client.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"));
    const RawResponse reply = next(client);
    ASSERT_EQ(reply.status, 200);
    ASSERT_EQ(reply.body, path);
    ASSERT_EQ(reply.header("connection"), "");
  }
  EXPECT_EQ(server.connections(), 1U);
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  Server server;
  server.run();
  RawClient client = server.connect();
  ASSERT_TRUE(
      client.send("GET /a HTTP/1.1\r\n\r\n"
                  "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
                  "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                  "GET /stream HTTP/1.1\r\n\r\n"
                  "GET /b HTTP/1.1\r\nConnection: close\r\n\r\n"));
  EXPECT_EQ(next(client).body, "/a");
  EXPECT_EQ(next(client).body, "hello");
  EXPECT_EQ(next(client).body, "abc");
  EXPECT_EQ(next(client).body, "onetwo");
  const RawResponse last = next(client);
  EXPECT_EQ(last.body, "/b");
  EXPECT_EQ(last.header("connection"), "close");
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsOfAPeerThatFinishedSending) {
  Server server;
  server.run();
  RawClient client = server.connect();
  ASSERT_TRUE(client.send("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n"));
  client.end_sending();
  EXPECT_EQ(next(client).body, "/a");
  EXPECT_EQ(next(client).body, "/b");
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, TakesARequestByteByByte) {
  Server server;
  server.run();
  RawClient client = server.connect();
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;extension=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
  for (const char c : request) ASSERT_TRUE(client.send({&c, 1}));
  EXPECT_EQ(next(client).body, "hello world");
}

TEST_F(HttpServerTest, TakesBodiesOfEverySizeUpToTheHandlersLimit) {
  Server server;
  server.run();
  RawClient client = server.connect();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{16 * 1024},
                                 std::size_t{16 * 1024 + 1}, std::size_t{1024 * 1024}}) {
    const std::string body(size, 'b');
    ASSERT_TRUE(client.send("POST /echo HTTP/1.1\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n"));
    ASSERT_TRUE(client.send(body));
    const RawResponse reply = next(client);
    ASSERT_EQ(reply.status, 200);
    ASSERT_TRUE(reply.body == body) << size;
  }
}

TEST_F(HttpServerTest, RefusesABodyOverTheHandlersLimitHoweverItIsSent) {
  Server server;
  server.run();
  {
    RawClient client = server.connect();  // declared: refused before it is sent
    client.send("POST /echo HTTP/1.1\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n");
    const RawResponse reply = next(client);
    EXPECT_EQ(reply.status, 413);
    EXPECT_EQ(reply.header("connection"), "close");
    EXPECT_TRUE(client.at_end());
  }
  {
    RawClient client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string piece = "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
    for (int i = 0; i < 17; ++i) client.send(piece);
    EXPECT_EQ(next(client).status, 413);
  }
  EXPECT_TRUE(server.serves());
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  Server server;
  server.run();
  RawClient client = server.connect();
  client.send("HEAD /12345 HTTP/1.1\r\n\r\n");
  RawResponse reply = next(client, true);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.header("content-length"), "6");
  client.send("HEAD /stream HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client, true).header("transfer-encoding"), "chunked");
  client.send("HEAD /throw/http HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client, true).status, 418);
  client.send("GET /after HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client).body, "/after");
}

TEST_F(HttpServerTest, SendsNoLengthWithNoContent) {
  Server server;
  server.run();
  RawClient client = server.connect();
  client.send("GET /none HTTP/1.1\r\n\r\n");
  const RawResponse reply = next(client);
  EXPECT_EQ(reply.status, 204);
  EXPECT_EQ(reply.headers.count("content-length"), 0U);
  client.send("GET /after HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client).body, "/after");
}

TEST_F(HttpServerTest, StreamsChunkedOrWithALength) {
  Server server;
  server.run();
  RawClient client = server.connect();
  client.send("GET /stream HTTP/1.1\r\n\r\nGET /sized HTTP/1.1\r\n\r\n");
  const RawResponse chunked = next(client);
  EXPECT_EQ(chunked.header("transfer-encoding"), "chunked");
  EXPECT_TRUE(chunked.complete);
  EXPECT_EQ(chunked.body, "onetwo");
  const RawResponse sized = next(client);
  EXPECT_EQ(sized.header("content-length"), "6");
  EXPECT_EQ(sized.body, "onetwo");
}

TEST_F(HttpServerTest, ClosesAfterAReplyToHttp10UnlessAskedNotTo) {
  Server server;
  server.run();
  {
    RawClient client = server.connect();
    client.send("GET /old HTTP/1.0\r\n\r\n");
    EXPECT_EQ(next(client).body, "/old");
    EXPECT_TRUE(client.at_end());
  }
  {
    RawClient client = server.connect();
    client.send("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const RawResponse reply = next(client);
    EXPECT_EQ(reply.body, "/old");
    EXPECT_EQ(reply.header("connection"), "keep-alive");
    // Nothing but the connection's end can end a stream for it.
    client.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const RawResponse stream = next(client);
    EXPECT_EQ(stream.header("transfer-encoding"), "");
    EXPECT_EQ(stream.header("connection"), "close");
    EXPECT_EQ(stream.body, "onetwo");
    EXPECT_TRUE(client.at_end());
  }
}

TEST_F(HttpServerTest, SendsContinueOnlyOnceTheBodyIsWanted) {
  Server server;
  server.run();
  RawClient client = server.connect();
  client.send("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(next(client).status, 100);
  client.send("hello");
  EXPECT_EQ(next(client).body, "hello");

  client.send("POST /ignore HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  const RawResponse reply = next(client);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.header("connection"), "close") << "who does not send the body cannot go on";
  EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServerTest, GivesMethodHeadersAndQuery) {
  Server server;
  server.run();
  EXPECT_EQ(ask(server, "PATCH /method HTTP/1.1\r\nX-SOME: value\r\n\r\n").body, "PATCH value");
  EXPECT_EQ(ask(server, "GET /query?a=1&q=x%20y+z%26&q=2 HTTP/1.1\r\n\r\n").body, "x y z&");
  EXPECT_EQ(ask(server, "GET /query?%71=coded HTTP/1.1\r\n\r\n").body, "coded");
  EXPECT_EQ(ask(server, "GET /query?q HTTP/1.1\r\n\r\n").body, "");
  EXPECT_EQ(ask(server, "GET /query?qq=1&&=2 HTTP/1.1\r\n\r\n").body, "(none)");
  EXPECT_EQ(ask(server, "GET /query HTTP/1.1\r\n\r\n").body, "(none)");
}

TEST_F(HttpServerTest, GivesTheTargetAsItCameAndEveryHeader) {
  Server server;
  server.run();
  EXPECT_EQ(
      ask(server,
          "GET /he%61ds?a=%2F&a=+ HTTP/1.1\r\nHost: one\r\nX-Twice: 1\r\nx-twice:  2 \r\nX-Empty:\r\n\r\n")
          .body,
      "/he%61ds?a=%2F&a=+\nHost=one\nX-Twice=1\nx-twice=2\nX-Empty=");
  EXPECT_EQ(ask(server, "GET http://other/heads HTTP/1.1\r\n\r\n").body, "http://other/heads");
}

TEST_F(HttpServerTest, HandsAnUpgradedConnectionToTheHandler) {
  Server server;
  server.run();
  RawClient client = server.connect();
  // What follows the request at once belongs to the new protocol as well.
  ASSERT_TRUE(client.send("GET /upgrade HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly"));
  std::string seen;
  std::array<char, 256> piece{};
  const auto receive_until = [&](std::string_view end) {
    while (!seen.ends_with(end)) {
      const ssize_t n = ::recv(client.fd(), piece.data(), piece.size(), 0);
      if (n <= 0) break;
      seen.append(piece.data(), static_cast<std::size_t>(n));
    }
  };
  receive_until("early");
  EXPECT_EQ(seen, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
  ASSERT_TRUE(client.send("late"));
  receive_until("late");
  client.end_sending();
  receive_until("bye");
  EXPECT_TRUE(seen.ends_with("earlylatebye")) << seen;
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(ask(server, "GET /upgrade HTTP/1.0\r\n\r\n").status, 400);
}

TEST_F(HttpServerTest, SendsTrailers) {
  Server server;
  server.run();
  RawClient client = server.connect();
  ASSERT_TRUE(client.send("GET /trailers HTTP/1.1\r\nConnection: close\r\n\r\n"));
  std::string seen;
  std::array<char, 256> piece{};
  ssize_t n = 1;
  while (n > 0) {
    n = ::recv(client.fd(), piece.data(), piece.size(), 0);
    if (n > 0) seen.append(piece.data(), static_cast<std::size_t>(n));
  }
  EXPECT_TRUE(seen.ends_with("1\r\nx\r\n0\r\nX-End: 1\r\n\r\n")) << seen;
}

TEST_F(HttpServerTest, DecodesThePath) {
  Server server;
  server.run();
  EXPECT_EQ(ask(server, "GET /a%20b+c%2Fd HTTP/1.1\r\n\r\n").body, "/a b+c/d");
  EXPECT_EQ(ask(server, "GET http://host:1/full?x HTTP/1.1\r\n\r\n").body, "/full");
  EXPECT_EQ(ask(server, "GET http://host HTTP/1.1\r\n\r\n").body, "/");
}

TEST_F(HttpServerTest, RefusesBadEscapes) {
  Server server;
  server.run();
  for (const char* target : {"/%", "/%4", "/%zz", "/%-1", "/a%4", "/%+1", "/query?q=%", "/query?q=%q1"}) {
    EXPECT_EQ(ask(server, std::string("GET ") + target + " HTTP/1.1\r\n\r\n").status, 400) << target;
  }
  EXPECT_TRUE(server.serves());
}

// ---- Bad requests

TEST_F(HttpServerTest, RefusesWhatIsNotHttp) {
  Server server;
  server.run();
  const std::vector<std::string> garbage{
      std::string("\x00\x01\x02\x03\r\n\r\n", 8),
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11),  // TLS
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "SSH-2.0-OpenSSH_9.2\r\n\r\n",
      "GET\r\n\r\n",
      "GET /\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      "GET / FTP/1.1\r\n\r\n",
      "GET /with space HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nno colon\r\n\r\n",
      "GET / HTTP/1.1\r\nspace : x\r\n\r\n",
      "GET / HTTP/1.1\r\nControl: a\x01z\r\n\r\n",
      "POST /echo HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
      "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
      // Two ways to tell a body's end let requests be smuggled past a proxy.
      "POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
      "POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
  };
  for (const std::string& bytes : garbage) {
    SCOPED_TRACE(::testing::PrintToString(bytes));
    RawClient client = server.connect();
    ASSERT_TRUE(client.send(bytes));
    const auto reply = client.response();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 400);
    EXPECT_EQ(reply->header("content-type"), "application/json");
    EXPECT_EQ(reply->header("connection"), "close");
    EXPECT_THAT(reply->body, HasSubstr("{\"detail\":\""));
    client.end_sending();
    EXPECT_TRUE(client.at_end());
    EXPECT_TRUE(server.serves());
  }
}

TEST_F(HttpServerTest, RefusesAHeadThatIsTooLarge) {
  HttpServerOptions options;
  options.max_header_bytes = 4096;
  Server server(options);
  server.run();
  const std::string big(5000, 'x');
  EXPECT_EQ(ask(server, "GET / HTTP/1.1\r\nBig: " + big + "\r\n\r\n").status, 431);
  EXPECT_EQ(ask(server, "GET /" + big + " HTTP/1.1\r\n\r\n").status, 431);
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 1000; ++i) many += "H" + std::to_string(i) + ": 1\r\n";
  EXPECT_EQ(ask(server, many + "\r\n").status, 431);
  // One that never ends either.
  RawClient client = server.connect();
  client.send("GET / HTTP/1.1\r\nEndless: ");
  const std::string piece(1024, 'e');
  for (int i = 0; i < 64 && !client.readable(0ms); ++i) client.send(piece);
  EXPECT_EQ(next(client).status, 431);
  EXPECT_TRUE(server.serves());
}

TEST_F(HttpServerTest, TellsAPeerWhoseHeadDripsInTooSlowly) {
  HttpServerOptions options;
  options.header_timeout = 200ms;
  Server server(options);
  server.run();
  RawClient client = server.connect();
  ASSERT_TRUE(client.send("GET / HTTP/1.1\r\nSlow: "));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!client.readable(20ms) && std::chrono::steady_clock::now() < deadline) client.send("x");
  EXPECT_EQ(next(client).status, 408);
  client.end_sending();
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(server.serves());
  EXPECT_TRUE(server.soon_has(0));
}

TEST_F(HttpServerTest, TellsAPeerWhoseBodyStops) {
  HttpServerOptions options;
  options.transfer_timeout = 200ms;
  Server server(options);
  server.run();
  for (const char* head : {"Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"}) {
    RawClient client = server.connect();
    ASSERT_TRUE(client.send(std::string("POST /hold HTTP/1.1\r\n") + head));
    EXPECT_EQ(server.stage().read_failed.get_future().get(), 408);
    EXPECT_EQ(next(client).status, 408);
    client.end_sending();
    EXPECT_TRUE(client.at_end());
    server.stage().read_failed = {};
    server.stage().waiting = {};
  }
  EXPECT_TRUE(server.serves());
}

TEST_F(HttpServerTest, SurvivesPeersThatHangUpAnywhere) {
  Server server;
  server.run();
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n01234567890123456789";
  for (std::size_t size = 0; size <= request.size(); ++size) {
    RawClient client = server.connect();
    ASSERT_TRUE(client.send(request.substr(0, size)));
    client.hang_up();
  }
  EXPECT_TRUE(server.serves());
  EXPECT_TRUE(server.soon_has(0));
}

TEST_F(HttpServerTest, TellsTheHandlerThatHalfABodyIsAllThereIs) {
  Server server;
  server.run();
  RawClient client = server.connect();
  ASSERT_TRUE(client.send("POST /hold HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"));
  client.end_sending();
  EXPECT_EQ(server.stage().read_failed.get_future().get(), 400);
  EXPECT_EQ(next(client).status, 400);
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(server.serves());
}

// ---- Handlers

TEST_F(HttpServerTest, TurnsWhatAHandlerThrowsIntoAReply) {
  Server server;
  server.run();
  RawClient client = server.connect();
  client.send("GET /throw/http HTTP/1.1\r\n\r\n");
  RawResponse reply = next(client);
  EXPECT_EQ(reply.status, 418);
  EXPECT_EQ(reply.body, "{\"detail\":\"I am a \\\"teapot\\\" \xEF\xBF\xBD.\"}")
      << "valid UTF-8, whatever was thrown";
  client.send("GET /throw/std HTTP/1.1\r\n\r\n");
  reply = next(client);
  EXPECT_EQ(reply.status, 500);
  EXPECT_THAT(reply.body, Not(HasSubstr("secret")));
  client.send("GET /silent HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client).status, 500);
  client.send("GET /after HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client).body, "/after") << "and the connection goes on";
}

TEST_F(HttpServerTest, BreaksOffAReplyWhoseHandlerFailsHalfWay) {
  Server server;
  server.run();
  for (const char* path : {"/throw/late", "/throw/sized", "/abort"}) {
    SCOPED_TRACE(path);
    const RawResponse reply = ask(server, std::string("GET ") + path + " HTTP/1.1\r\n\r\n");
    EXPECT_EQ(reply.status, 200);
    EXPECT_FALSE(reply.complete);
  }
  EXPECT_TRUE(server.serves());
  EXPECT_TRUE(server.soon_has(0));
}

TEST_F(HttpServerTest, KeepsAConnectionWhoseSmallBodyWasNotRead) {
  Server server;
  server.run();
  RawClient client = server.connect();
  for (const char* path : {"/ignore", "/throw/http", "/stream", "/silent"}) {
    SCOPED_TRACE(path);
    const std::string body(100'000, 'u');
    ASSERT_TRUE(client.send(std::string("POST ") + path + " HTTP/1.1\r\nContent-Length: " +
                            std::to_string(body.size()) + "\r\n\r\n" + body));
    EXPECT_TRUE(next(client).complete);
  }
  client.send("GET /after HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client).body, "/after");
}

TEST_F(HttpServerTest, RepliesBeforeItClosesOnALargeBodyThatWasNotRead) {
  Server server;
  server.run();
  const std::string body(4 * 1024 * 1024, 'u');
  for (const bool tcp : {false, true}) {
    for (const char* path : {"/ignore", "/throw/http"}) {
      SCOPED_TRACE(path);
      RawClient client = tcp ? RawClient::to_tcp(server.port()) : server.connect();
      client.send(std::string("POST ") + path +
                  " HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
      client.send(body);
      const RawResponse reply = next(client);
      EXPECT_TRUE(reply.complete);
      EXPECT_EQ(reply.header("connection"), "close");
      client.end_sending();
      EXPECT_TRUE(client.at_end());
    }
  }
  EXPECT_TRUE(server.serves());
}

TEST_F(HttpServerTest, KnowsThatAClientHasLeftWhileNothingIsSent) {
  for (const bool only_stops : {false, true}) {
    Server server;
    server.run();
    RawClient client = server.connect();
    ASSERT_TRUE(client.send("GET /think HTTP/1.1\r\n\r\n"));
    ASSERT_EQ(server.stage().waiting.get_future().wait_for(kPatience), std::future_status::ready);
    std::future<void> over = server.stage().flood_over.get_future();
    EXPECT_EQ(over.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
    if (only_stops) {
      client.end_sending();
    } else {
      client.hang_up();
    }
    EXPECT_EQ(over.wait_for(kPatience), std::future_status::ready);
  }
}

TEST_F(HttpServerTest, GivesUpOnAReaderThatStops) {
  HttpServerOptions options;
  options.transfer_timeout = 200ms;
  Server server(options);
  server.run();
  RawClient client = server.connect();
  ASSERT_TRUE(client.send("GET /flood HTTP/1.1\r\n\r\n"));
  ASSERT_EQ(server.stage().flooding.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(server.serves()) << "also while the writer waits";
  EXPECT_EQ(server.stage().flood_over.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(server.serves());
  const RawResponse reply = next(client);
  EXPECT_FALSE(reply.complete);
}

TEST_F(HttpServerTest, TellsTheHandlerThatItsReaderHungUp) {
  Server server;
  server.run();
  RawClient client = server.connect();
  ASSERT_TRUE(client.send("GET /flood HTTP/1.1\r\n\r\n"));
  ASSERT_EQ(server.stage().flooding.get_future().wait_for(kPatience), std::future_status::ready);
  client.hang_up();
  EXPECT_EQ(server.stage().flood_over.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_TRUE(server.serves());
}

TEST_F(HttpServerTest, LetsAHandlerFinishWhosePeerHungUp) {
  Server server;
  server.run();
  RawClient client = server.connect();
  client.send("GET /wait HTTP/1.1\r\n\r\n");
  server.stage().waiting.get_future().wait();
  client.hang_up();
  EXPECT_TRUE(server.serves());
  server.release();
  EXPECT_TRUE(server.soon_has(0));
}

// ---- Many connections

TEST_F(HttpServerTest, ServesAgainWhenConnectionsBecomeFree) {
  HttpServerOptions options;
  options.max_connections = 3;
  Server server(options);
  server.run();
  std::vector<RawClient> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(server.connect());
    held.back().send("GET /held HTTP/1.1\r\n\r\n");
    ASSERT_EQ(next(held.back()).body, "/held");
  }
  RawClient extra = server.connect();
  EXPECT_TRUE(extra.at_end()) << "one too many is closed";
  held[0].send("GET /held HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(held[0]).body, "/held") << "the others are not disturbed";

  held.pop_back();
  ASSERT_TRUE(server.soon_has(2));
  // The first may still meet the pause after the refusal, and no more than that.
  EXPECT_TRUE(server.serves());
}

std::size_t resident_bytes() {
  std::ifstream status("/proc/self/statm");
  std::size_t size = 0;
  std::size_t resident = 0;
  status >> size >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// In a process of its own, since both ends would need more descriptors than many systems allow. Ends when
// the pipe does. Only system calls between fork and _exit.
[[noreturn]] void hold_connections(int commands, int reports, const std::string& path, int count) {
  char go = 0;
  if (::read(commands, &go, 1) != 1) ::_exit(1);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  for (int i = 0; i < count; ++i) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) ::_exit(2);
    if (i % 2 != 0) continue;  // half of them have been used
    const std::string_view request = "GET /x HTTP/1.1\r\n\r\n";
    char reply[256];
    if (::write(fd, request.data(), request.size()) < 0 || ::read(fd, reply, sizeof reply) <= 0) ::_exit(3);
  }
  (void)!::write(reports, "k", 1);
  while (::read(commands, &go, 1) > 0) {
  }
  ::_exit(0);
}

TEST_F(HttpServerTest, ServesOthersBesideTenThousandIdleConnections) {
  constexpr int kCount = 10'000;
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_max < kCount + 100) {
    GTEST_SKIP() << "the hard limit of open files is " << files.rlim_max << "; this needs " << kCount + 100;
  }
  const rlimit raised{files.rlim_max, files.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &raised), 0);

  Server server;  // not running yet: no thread is there while we fork
  std::array<int, 2> commands{};
  std::array<int, 2> reports{};
  ASSERT_EQ(::pipe2(commands.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(reports.data(), O_CLOEXEC), 0);
  const std::string path = server.path();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::close(commands[1]);
    ::close(reports[0]);
    hold_connections(commands[0], reports[1], path, kCount);
  }
  UniqueFd say(commands[1]);
  const UniqueFd hear(reports[0]);
  ::close(commands[0]);
  ::close(reports[1]);

  server.run();
  ASSERT_TRUE(server.serves());
  ASSERT_TRUE(server.soon_has(0));
  const std::size_t before = resident_bytes();
  ASSERT_EQ(::write(say.get(), "g", 1), 1);
  char report = 0;
  ASSERT_EQ(::read(hear.get(), &report, 1), 1) << "the other side could not connect";
  ASSERT_TRUE(server.soon_has(kCount));
  const std::size_t each = (std::max(resident_bytes(), before) - before) / kCount;
  std::printf("memory per idle connection: %zu bytes\n", each);
  RecordProperty("bytes_per_idle_connection", static_cast<int>(each));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(each, 8U * 1024U);
#endif
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(server.serves());

  say.reset();
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(server.soon_has(0));
  EXPECT_TRUE(server.serves());
}

TEST_F(HttpServerTest, ClosesIdleConnectionsButNotBusyOnes) {
  HttpServerOptions options;
  options.idle_timeout = 100ms;
  Server server(options);
  server.run();
  RawClient busy = server.connect();
  busy.send("GET /wait HTTP/1.1\r\n\r\n");
  server.stage().waiting.get_future().wait();

  RawClient fresh = server.connect();  // never says anything
  RawClient used = server.connect();
  used.send("GET /used HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(used).body, "/used");
  EXPECT_TRUE(fresh.at_end());
  EXPECT_TRUE(used.at_end());

  server.release();
  EXPECT_EQ(next(busy).body, "released");
}

// ---- Beginning and end

TEST_F(HttpServerTest, StopEndsIdleConnectionsAndRunningHandlers) {
  Server server;
  server.run();
  RawClient idle = server.connect();
  idle.send("GET /idle HTTP/1.1\r\n\r\n");
  ASSERT_EQ(next(idle).body, "/idle");
  RawClient writer = server.connect();
  writer.send("GET /flood HTTP/1.1\r\n\r\n");
  server.stage().flooding.get_future().wait();
  RawClient reader = server.connect();
  reader.send("POST /hold HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  server.stage().waiting.get_future().wait();
  server.stage().waiting = {};
  RawClient waiter = server.connect();
  waiter.send("GET /wait HTTP/1.1\r\n\r\n");
  server.stage().waiting.get_future().wait();

  server.stop();  // also checks that nothing goes on
  EXPECT_NE(server.stage().read_failed.get_future().get(), 0);
  server.stage().flood_over.get_future().get();
  EXPECT_TRUE(idle.at_end());
  EXPECT_FALSE(waiter.response());
  EXPECT_FALSE(RawClient::try_unix(server.path()));
  EXPECT_FALSE(std::filesystem::exists(server.path())) << "its socket file goes with it";
}

TEST_F(HttpServerTest, LetsOnlyTheOwnerUseItsSocket) {
  const Server server;
  struct stat info {};
  ASSERT_EQ(::lstat(server.path().c_str(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

int bind_unix(const std::string& path, int backlog) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  if (backlog >= 0) {
    EXPECT_EQ(::listen(fd, backlog), 0);
  }
  return fd;
}

class Listening : public ::testing::Test {
 protected:
  Listening()
      : server(context.get_executor(), [](HttpExchange& exchange) { return exchange.reply(200, "{}"); }) {}

  // The error of listening there.
  std::string refusal(const std::string& path) {
    try {
      server.listen_unix(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "(none)";
  }

  Folder folder;
  asio::io_context context;
  HttpServer server;
};

TEST_F(Listening, ReplacesAStaleSocket) {
  const std::string path = folder / "stale";
  ::close(bind_unix(path, 1));
  EXPECT_EQ(refusal(path), "(none)");
  EXPECT_TRUE(RawClient::try_unix(path));
}

TEST_F(Listening, RefusesTheSocketOfALiveServer) {
  const std::string path = folder / "live";
  const UniqueFd live(bind_unix(path, 1));
  EXPECT_THAT(refusal(path), HasSubstr("another process listens there"));
  EXPECT_TRUE(RawClient::try_unix(path)) << "which is not disturbed";
}

TEST_F(Listening, RefusesTheSocketOfALiveServerWhoseQueueIsFull) {
  const std::string path = folder / "full";
  const UniqueFd live(bind_unix(path, 0));
  const auto first = RawClient::try_unix(path);
  EXPECT_THAT(refusal(path), HasSubstr("another process listens there"));
}

TEST_F(Listening, RefusesWhatIsNoSocketAndLeavesIt) {
  const std::string path = folder / "file";
  std::ofstream(path) << "precious";
  EXPECT_THAT(refusal(path), HasSubstr("something that is not a socket is there"));
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "precious");

  const std::string link = folder / "link";
  std::filesystem::create_symlink(path, link);
  EXPECT_THAT(refusal(link), HasSubstr("something that is not a socket is there"));
}

TEST_F(Listening, RefusesPathsThatCannotBeSockets) {
  EXPECT_THAT(refusal(""), HasSubstr("the path must have 1 to 107 bytes"));
  EXPECT_THAT(refusal("/tmp/" + std::string(120, 'x')), HasSubstr("the path must have 1 to 107 bytes"));
  EXPECT_THAT(refusal(folder / "missing/socket"), HasSubstr("No such file or directory"));
}

TEST_F(Listening, TakesNumericHostsOnly) {
  EXPECT_GT(server.listen_tcp("localhost", 0), 0);
  EXPECT_GT(server.listen_tcp("0.0.0.0", 0), 0);
  EXPECT_THROW(server.listen_tcp("example.com", 0), Error);
  EXPECT_THROW(server.listen_tcp("", 0), Error);
  EXPECT_THROW(server.listen_tcp("300.0.0.1", 0), Error);
  const std::uint16_t taken = server.listen_tcp("127.0.0.1", 0);
  EXPECT_THROW(server.listen_tcp("127.0.0.1", taken), Error);
}

TEST_F(Listening, TakesOverAListeningDescriptor) {
  const std::string path = folder / "given";
  server.listen_descriptor(bind_unix(path, 1));
  std::thread loop([this] { context.run(); });
  RawClient client = RawClient::to_unix(path);
  client.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(next(client).body, "{}");
  asio::post(context, [this] { server.stop(); });
  loop.join();
  EXPECT_THROW(server.listen_descriptor(-1), Error);
}

TEST(ReasonPhrase, KnowsWhatWeSend) {
  EXPECT_EQ(reason_phrase(200), "OK");
  EXPECT_EQ(reason_phrase(431), "Request Header Fields Too Large");
  EXPECT_NE(reason_phrase(299), "");
}

}  // namespace
}  // namespace sandkey::net
