#include "sandkey/net/websocket.h"

#include "sandkey/base/engine.h"
#include "sandkey/net/websocket_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::net {
namespace {

using Kind = WebSocketFrame::Kind;

constexpr std::uint32_t kMask = test::WebSocketClient::kMask;

std::string masked(Kind kind, const std::string& data) {
  return websocket_frame(kind, data, kMask);
}

// The first byte without the "final" bit, for messages in pieces.
std::string unfinished(std::string frame, bool first) {
  frame[0] = static_cast<char>(static_cast<unsigned char>(frame[0]) & (first ? 0x0FU : 0U));
  return frame;
}

std::uint16_t error_of(const std::string& bytes, std::size_t max_message = 1000) {
  WebSocketReader reader(true, max_message);
  reader.feed(bytes);
  try {
    while (reader.next()) {
    }
  } catch (const WebSocketError& error) {
    return error.code();
  }
  return 0;
}

TEST(WebSocketFrames, AreReadAsTheyAreWrittenInAnyPieces) {
  for (const std::size_t size : {0U, 1U, 125U, 126U, 65'535U, 65'536U}) {
    const std::string data(size, 'x');
    const std::string bytes = masked(Kind::text, data) + masked(Kind::ping, "p");
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, bytes.size()}) {
      WebSocketReader reader(true, 100'000);
      std::vector<WebSocketFrame> frames;
      for (std::size_t at = 0; at < bytes.size(); at += piece) {
        reader.feed(std::string_view(bytes).substr(at, piece));
        while (auto frame = reader.next()) frames.push_back(std::move(*frame));
      }
      ASSERT_EQ(frames.size(), 2U) << size;
      EXPECT_EQ(frames[0], (WebSocketFrame{Kind::text, data}));
      EXPECT_EQ(frames[1], (WebSocketFrame{Kind::ping, "p"}));
    }
  }
}

TEST(WebSocketFrames, TheExampleOfTheStandard) {
  WebSocketReader reader(true, 100);
  reader.feed("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
  EXPECT_EQ(reader.next(), (WebSocketFrame{Kind::text, "Hello"}));
  EXPECT_EQ(websocket_frame(Kind::text, "Hello"), "\x81\x05Hello");
  EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(WebSocketFrames, AMessageMayComeInPiecesWithControlFramesBetween) {
  WebSocketReader reader(true, 100);
  reader.feed(unfinished(masked(Kind::binary, "one "), true) + masked(Kind::ping, "") +
              unfinished(masked(Kind::binary, "two "), false));
  EXPECT_EQ(reader.next(), (WebSocketFrame{Kind::ping, ""}));
  EXPECT_EQ(reader.next(), std::nullopt);
  std::string last = masked(Kind::binary, "three");
  last[0] = '\x80';
  reader.feed(last);
  EXPECT_EQ(reader.next(), (WebSocketFrame{Kind::binary, "one two three"}));
}

TEST(WebSocketFrames, WhatBreaksTheProtocolIsToldByItsCode) {
  EXPECT_EQ(error_of(websocket_frame(Kind::text, "x")), 1002) << "no mask";
  EXPECT_EQ(error_of("\xC1\x80"), 1002) << "a reserved bit";
  EXPECT_EQ(error_of("\x83\x80"), 1002) << "an unknown opcode";
  EXPECT_EQ(error_of(std::string("\x80\x80\0\0\0\0", 6)), 1002) << "nothing to continue";
  EXPECT_EQ(error_of(unfinished(masked(Kind::text, "a"), true) + masked(Kind::text, "b")), 1002);
  EXPECT_EQ(error_of("\x09\x80"), 1002) << "a ping in pieces";
  EXPECT_EQ(error_of(masked(Kind::ping, std::string(126, 'x'))), 1002) << "a long ping";
  EXPECT_EQ(error_of(masked(Kind::text, std::string(1000, 'x'))), 0);
  EXPECT_EQ(error_of(masked(Kind::text, std::string(1001, 'x'))), 1009);
  EXPECT_EQ(error_of(unfinished(masked(Kind::text, std::string(600, 'x')), true) +
                     unfinished(masked(Kind::text, std::string(401, 'x')), false)),
            1009);
  EXPECT_EQ(error_of("\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF" + std::string(4, 'm')), 1009);
}

TEST(WebSocketFrames, ACloseFrameHasACodeAndAReasonThatFits) {
  const auto read = [](const WebSocketClose& close) {
    WebSocketReader reader(false, 1000);
    reader.feed(websocket_close_frame(close));
    return parse_websocket_close(reader.next()->data);
  };
  EXPECT_EQ(read({1000, "bye"}), (WebSocketClose{1000, "bye"}));
  EXPECT_EQ(read({}), WebSocketClose{});
  EXPECT_EQ(read({4008, std::string(200, 'x')}).reason, std::string(123, 'x'));
  EXPECT_EQ(read({1000, std::string(122, 'x') + "\xC3\xA9"}).reason, std::string(122, 'x'));
  EXPECT_THROW((void)parse_websocket_close("x"), WebSocketError);
}

// A server that does with each socket what the test says.
class WebSocketServer : public ::testing::Test {
 protected:
  using Work = std::function<boost::asio::awaitable<void>(WebSocket&)>;

  void serve(Work work, WebSocketOptions options = {}) {
    work_ = std::move(work);
    options_ = std::move(options);
    engine_.wait(start());
  }
  void TearDown() override { engine_.wait(stop()); }

  boost::asio::awaitable<void> start() {
    server_.emplace(engine_.executor(0), [this](HttpExchange& exchange) { return answer(exchange); });
    port_ = server_->listen_tcp("127.0.0.1", 0);
    co_return;
  }
  boost::asio::awaitable<void> stop() {
    server_.reset();
    co_return;
  }
  boost::asio::awaitable<void> answer(HttpExchange& exchange) {
    offered = offered_subprotocols(exchange);
    WebSocketOptions options = options_;
    const std::unique_ptr<WebSocket> socket =
        co_await accept_websocket(exchange, engine_.executor(0), std::move(options));
    if (socket) co_await work_(*socket);
  }

  std::vector<std::string> offered;
  Engine engine_;
  Work work_;
  WebSocketOptions options_;
  std::optional<HttpServer> server_;
  std::uint16_t port_ = 0;
};

boost::asio::awaitable<void> echo(WebSocket& socket) {
  bool alive = true;
  while (alive) {
    const std::optional<WebSocketFrame> message = co_await socket.receive();
    if (!message) break;
    if (message->kind == Kind::text) {
      alive = co_await socket.send_text(message->data);
    } else {
      alive = co_await socket.send_binary(message->data);
    }
  }
}

TEST_F(WebSocketServer, AnswersTheHandshakeAndCarriesMessages) {
  serve(echo);
  test::WebSocketClient client(port_, "/");
  EXPECT_EQ(client.head().status, 101);
  EXPECT_EQ(client.head().header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_EQ(client.head().header("sec-websocket-protocol"), "");
  client.text("hello");
  client.send(Kind::ping, "?");
  client.binary(std::string(3, '\0'));
  EXPECT_EQ(client.next(), (WebSocketFrame{Kind::text, "hello"}));
  EXPECT_EQ(client.next(), (WebSocketFrame{Kind::pong, "?"}));
  EXPECT_EQ(client.next(), (WebSocketFrame{Kind::binary, std::string(3, '\0')}));
  client.close(3000);
  EXPECT_EQ(client.next(), (WebSocketFrame{Kind::close, "\x0B\xB8"})) << "the same code";
  EXPECT_TRUE(client.at_end()) << "the connection ends after the close frames";
}

TEST_F(WebSocketServer, EchoesTheSubprotocolItIsTold) {
  WebSocketOptions options;
  options.subprotocol = "two~2";
  serve(echo, std::move(options));
  const test::WebSocketClient client(
      port_, "/", "Sec-WebSocket-Protocol: one, two~2\r\nSec-WebSocket-Protocol: three\r\n");
  EXPECT_EQ(client.head().header("sec-websocket-protocol"), "two~2");
  EXPECT_THAT(offered, ::testing::ElementsAre("one", "two~2", "three"));
}

TEST_F(WebSocketServer, ClosesAndEndsTheConnectionOnceTheClientHasAnswered) {
  serve([](WebSocket& socket) { return socket.close(4008, "too late"); });
  test::WebSocketClient client(port_, "/");
  client.text("not read");
  EXPECT_EQ(client.rest(), (WebSocketClose{4008, "too late"}));
}

TEST_F(WebSocketServer, EndsTheConnectionOfAClientThatDoesNotAnswer) {
  serve([](WebSocket& socket) { return socket.close(1000, ""); });
  test::WebSocketClient client(port_, "/");
  EXPECT_EQ(parse_websocket_close(client.next()->data).code, 1000);
  EXPECT_TRUE(client.at_end());
}

TEST_F(WebSocketServer, TellsAClientThatBreaksTheProtocol) {
  WebSocketOptions options;
  options.max_message = 10;
  serve(echo, std::move(options));
  test::WebSocketClient client(port_, "/");
  client.text("eleven char");
  EXPECT_EQ(client.rest().code, 1009);
}

TEST_F(WebSocketServer, RefusesWhatAsksForNone) {
  serve(echo);
  test::RawClient client = test::RawClient::to_tcp(port_);
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.response()->status, 400);
}

}  // namespace
}  // namespace sandkey::net
