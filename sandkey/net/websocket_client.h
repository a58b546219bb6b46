// A blocking WebSocket client of a few lines, for tests.
#pragma once

#include "sandkey/net/websocket.h"
#include "tests/agent/raw_http.h"

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace sandkey::test {

class WebSocketClient {
 public:
  // `headers` are whole lines.
  WebSocketClient(std::uint16_t port, const std::string& target, const std::string& headers = {})
      : client_(RawClient::to_tcp(port)) {
    client_.send("GET " + target +
                 " HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
                 headers + "\r\n");
    auto head = client_.response(true);
    if (!head) throw std::runtime_error("no answer to the handshake");
    head_ = std::move(*head);
  }

  // Of the handshake.
  [[nodiscard]] const RawResponse& head() const noexcept { return head_; }

  void send(net::WebSocketFrame::Kind kind, const std::string& data) {
    send_raw(net::websocket_frame(kind, data, kMask));
  }
  void text(const std::string& data) { send(net::WebSocketFrame::Kind::text, data); }
  void binary(const std::string& data) { send(net::WebSocketFrame::Kind::binary, data); }
  void close(std::uint16_t code = 1000) { send_raw(net::websocket_close_frame({code, ""}, kMask)); }
  void send_raw(const std::string& bytes) { client_.send(bytes); }

  // The next message or control frame; nothing when the connection ended.
  std::optional<net::WebSocketFrame> next() {
    while (true) {
      if (auto frame = reader_.next()) return frame;
      const std::string bytes = client_.some();
      if (bytes.empty()) return std::nullopt;
      reader_.feed(bytes);
    }
  }
  // All messages up to the close frame, which is answered, and what it said. The connection must end then.
  net::WebSocketClose rest(std::string* data = nullptr) {
    while (const auto frame = next()) {
      if (frame->kind != net::WebSocketFrame::Kind::close) {
        if (data != nullptr) *data += frame->data;
        continue;
      }
      close();
      if (!client_.at_end()) throw std::runtime_error("the connection goes on after the close frame");
      return net::parse_websocket_close(frame->data);
    }
    throw std::runtime_error("the connection ended without a close frame");
  }
  [[nodiscard]] bool at_end() { return client_.at_end(); }
  void hang_up() { client_.hang_up(); }

  static constexpr std::uint32_t kMask = 0x12'34'AB'CD;

 private:
  RawClient client_;
  RawResponse head_;
  net::WebSocketReader reader_{false, std::size_t{16} * 1024 * 1024};
};

}  // namespace sandkey::test
