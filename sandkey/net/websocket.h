// A server's side of WebSocket (RFC 6455), on a connection that an HttpExchange gave up for it.
//
//   WebSocketOptions options;
//   const std::unique_ptr<WebSocket> socket = co_await accept_websocket(exchange, executor,
//   std::move(options)); if (!socket) co_return; std::optional<WebSocketFrame> message = co_await
//   socket->receive();
//   ...
//   co_await socket->close(1000, std::move(reason));
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::net {

// What a close frame says.
struct WebSocketClose {
  std::uint16_t code = 1005;  // "no status" in a frame without one
  std::string reason = {};
  bool operator==(const WebSocketClose&) const = default;
};

struct WebSocketFrame {
  enum class Kind : std::uint8_t { text = 1, binary = 2, close = 8, ping = 9, pong = 10 };
  Kind kind = Kind::binary;
  std::string data = {};
  bool operator==(const WebSocketFrame&) const = default;
};

// A peer that breaks the protocol, with the close code it is told.
class WebSocketError : public std::runtime_error {
 public:
  WebSocketError(std::uint16_t code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] std::uint16_t code() const noexcept { return code_; }

 private:
  std::uint16_t code_;
};

// Frames in any pieces to whole messages and control frames. Throws WebSocketError; is of no use afterwards.
class WebSocketReader {
 public:
  // What clients send is masked, what servers send is not: anything else is an error.
  WebSocketReader(bool masked, std::size_t max_message) : masked_(masked), max_message_(max_message) {}

  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // Nothing when more is needed.
  [[nodiscard]] std::optional<WebSocketFrame> next();

 private:
  bool masked_;
  std::size_t max_message_;
  std::string buffer_;
  std::optional<WebSocketFrame> begun_;  // a message of which more frames follow
};

// One unfragmented frame; with a mask as clients send it.
[[nodiscard]] std::string websocket_frame(WebSocketFrame::Kind kind, std::string_view data,
                                          std::optional<std::uint32_t> mask = std::nullopt);
[[nodiscard]] std::string websocket_close_frame(const WebSocketClose& close,
                                                std::optional<std::uint32_t> mask = std::nullopt);
// Throws WebSocketError for what is none.
[[nodiscard]] WebSocketClose parse_websocket_close(std::string_view payload);

// What a server answers a key with.
[[nodiscard]] std::string websocket_accept(std::string_view key);
// The subprotocols a client offers, in its order.
[[nodiscard]] std::vector<std::string> offered_subprotocols(const HttpExchange& exchange);

[[nodiscard]] bool asks_for_websocket(const HttpExchange& exchange);

struct WebSocketOptions {
  std::string subprotocol = {};  // which of those offered it is to be, if any
  std::size_t max_message = std::size_t{16} * 1024 * 1024;
};

// All on one executor. One receives at a time; any number may send.
class WebSocket {
 public:
  // How long a peer has to answer a close frame.
  static constexpr std::chrono::seconds kClosePatience{2};

  WebSocket(HttpExchange& exchange, boost::asio::any_io_executor executor, WebSocketOptions options);
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  // The next text or binary message; pings are answered. Nothing once the peer has closed, broke off, or
  // broke the protocol, which it is told.
  [[nodiscard]] boost::asio::awaitable<std::optional<WebSocketFrame>> receive();
  // Drops what comes until nothing can: for those who only send, so that pings are answered and the end is
  // seen.
  [[nodiscard]] boost::asio::awaitable<void> drain();
  // Whether nothing can be received any more.
  [[nodiscard]] bool over() const noexcept { return over_; }
  // Notified when it is over.
  [[nodiscard]] AsyncEvent& changed() noexcept { return changed_; }

  // False: the peer is gone, or the close frame was sent.
  [[nodiscard]] boost::asio::awaitable<bool> send_text(std::string text);
  [[nodiscard]] boost::asio::awaitable<bool> send_binary(std::string bytes);
  // Sends the close frame, waits for the peer's while there is hope, and ends the connection: some clients
  // wait for that. A second time does nothing.
  [[nodiscard]] boost::asio::awaitable<void> close(std::uint16_t code, std::string reason);

 private:
  boost::asio::awaitable<bool> send(std::string frame, bool last);
  boost::asio::awaitable<std::optional<WebSocketFrame>> receive_frame();
  void end();

  HttpExchange& exchange_;
  boost::asio::any_io_executor executor_;
  WebSocketReader reader_;
  Turnstile sending_;
  AsyncEvent changed_;
  bool receiving_ = false;
  bool over_ = false;
  bool close_sent_ = false;
};

// Answers 101; where the request asks for no WebSocket that can be had, 400, and gives none. Valid as long as
// the exchange.
[[nodiscard]] boost::asio::awaitable<std::unique_ptr<WebSocket>> accept_websocket(
    HttpExchange& exchange, boost::asio::any_io_executor executor, WebSocketOptions options);

}  // namespace sandkey::net
