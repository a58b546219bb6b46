#include "sandkey/net/websocket.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/utf8.h"
#include "sandkey/net/ascii.h"

#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <openssl/sha.h>
#include <span>
#include <utility>

namespace sandkey::net {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kPiece = std::size_t{16} * 1024;
constexpr std::size_t kMaxControl = 125;
constexpr unsigned kFinal = 0x80;
constexpr unsigned kMasked = 0x80;
constexpr std::uint16_t kProtocolError = 1002;
constexpr std::uint16_t kTooBig = 1009;
constexpr std::uint16_t kNoStatus = 1005;

unsigned byte_at(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

std::uint64_t number_at(std::string_view text, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8U | byte_at(text, at + i);
  return value;
}

void append_number(std::string& out, std::uint64_t value, unsigned size) {
  while (size > 0) out += static_cast<char>(value >> (--size * 8) & 0xFFU);
}

void apply_mask(std::string& data, std::uint32_t mask) {
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<char>(static_cast<unsigned char>(data[i]) ^ (mask >> (24 - i % 4 * 8) & 0xFFU));
}

bool is_control(unsigned code) {
  return code >= 8;
}

bool is_known(unsigned code) {
  return code <= 2 || (code >= 8 && code <= 10);
}

// Of a comma-separated header, without blanks.
std::vector<std::string> elements_of(std::string_view text) {
  std::vector<std::string> elements;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    std::string_view element = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (element.starts_with(' ') || element.starts_with('\t')) element.remove_prefix(1);
    while (element.ends_with(' ') || element.ends_with('\t')) element.remove_suffix(1);
    if (!element.empty()) elements.emplace_back(element);
  }
  return elements;
}

// Breaks the connection off when the time comes, unless it is gone before.
class Patience {
 public:
  Patience(const asio::any_io_executor& executor, std::chrono::steady_clock::time_point limit,
           HttpExchange& exchange)
      : timer_(executor, limit), exchange_(std::make_shared<HttpExchange*>(&exchange)) {
    timer_.async_wait([exchange = exchange_](boost::system::error_code error) {
      if (!error && *exchange != nullptr) (*exchange)->abort();
    });
  }
  ~Patience() { *exchange_ = nullptr; }
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

 private:
  asio::steady_timer timer_;
  std::shared_ptr<HttpExchange*> exchange_;  // null when it does not matter any more
};

}  // namespace

// ---- Frames

std::optional<WebSocketFrame> WebSocketReader::next() {
  while (true) {
    if (buffer_.size() < 2) return std::nullopt;
    const unsigned code = byte_at(buffer_, 0) & 0x0FU;
    const bool final = (byte_at(buffer_, 0) & kFinal) != 0;
    const bool masked = (byte_at(buffer_, 1) & kMasked) != 0;
    if ((byte_at(buffer_, 0) & 0x70U) != 0) throw WebSocketError(kProtocolError, "reserved bits are set");
    if (!is_known(code)) throw WebSocketError(kProtocolError, "unknown opcode");
    if (masked != masked_) throw WebSocketError(kProtocolError, masked_ ? "no mask" : "a mask");
    std::uint64_t size = byte_at(buffer_, 1) & 0x7FU;
    if (is_control(code) && (!final || size > kMaxControl))
      throw WebSocketError(kProtocolError, "a control frame is too long or in pieces");
    const std::size_t size_bytes = size == 126 ? 2 : size == 127 ? 8 : 0;
    const std::size_t head = 2 + size_bytes + (masked ? 4 : 0);
    if (buffer_.size() < head) return std::nullopt;
    if (size_bytes > 0) size = number_at(buffer_, 2, size_bytes);
    const bool continues = code == 0;
    if (!is_control(code) && continues != begun_.has_value())
      throw WebSocketError(kProtocolError, continues ? "nothing to continue" : "a message is not finished");
    const std::size_t before = continues ? begun_->data.size() : 0;
    if (size > max_message_ || before + size > max_message_)
      throw WebSocketError(kTooBig, "the message is too long");
    if (buffer_.size() - head < size) return std::nullopt;
    std::string data = buffer_.substr(head, static_cast<std::size_t>(size));
    if (masked) apply_mask(data, static_cast<std::uint32_t>(number_at(buffer_, head - 4, 4)));
    buffer_.erase(0, head + static_cast<std::size_t>(size));
    if (is_control(code))
      return WebSocketFrame{.kind = static_cast<WebSocketFrame::Kind>(code), .data = std::move(data)};
    if (continues) {
      begun_->data += data;
    } else {
      begun_ = WebSocketFrame{.kind = static_cast<WebSocketFrame::Kind>(code), .data = std::move(data)};
    }
    if (final) return std::exchange(begun_, std::nullopt);
  }
}

std::string websocket_frame(WebSocketFrame::Kind kind, std::string_view data,
                            std::optional<std::uint32_t> mask) {
  std::string frame(1, static_cast<char>(kFinal | static_cast<unsigned>(kind)));
  const unsigned bit = mask ? kMasked : 0;
  if (data.size() <= kMaxControl) {
    frame += static_cast<char>(bit | static_cast<unsigned>(data.size()));
  } else if (data.size() <= 0xFFFF) {
    frame += static_cast<char>(bit | 126U);
    append_number(frame, data.size(), 2);
  } else {
    frame += static_cast<char>(bit | 127U);
    append_number(frame, data.size(), 8);
  }
  if (!mask) return frame.append(data);
  append_number(frame, *mask, 4);
  std::string hidden(data);
  apply_mask(hidden, *mask);
  return frame.append(hidden);
}

std::string websocket_close_frame(const WebSocketClose& close, std::optional<std::uint32_t> mask) {
  std::string payload;
  if (close.code != kNoStatus) {
    append_number(payload, close.code, 2);
    // A letter that does not fit whole is left out whole.
    std::string_view reason = std::string_view(close.reason).substr(0, kMaxControl - 2);
    reason.remove_suffix(utf8::incomplete_tail(reason));
    payload += reason;
  }
  return websocket_frame(WebSocketFrame::Kind::close, payload, mask);
}

WebSocketClose parse_websocket_close(std::string_view payload) {
  if (payload.empty()) return {};
  if (payload.size() == 1) throw WebSocketError(kProtocolError, "a close frame of one byte");
  return {.code = static_cast<std::uint16_t>(number_at(payload, 0, 2)),
          .reason = std::string(payload.substr(2))};
}

// ---- The handshake

std::string websocket_accept(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
  ::SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return base64_encode({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::vector<std::string> offered_subprotocols(const HttpExchange& exchange) {
  std::vector<std::string> offered;
  for (const auto& [name, value] : exchange.headers()) {
    if (!same_ignoring_case(name, "sec-websocket-protocol")) continue;
    for (std::string& element : elements_of(value)) offered.push_back(std::move(element));
  }
  return offered;
}

bool asks_for_websocket(const HttpExchange& exchange) {
  const std::vector<std::string> options = elements_of(exchange.header("connection"));
  const bool upgrades = std::ranges::any_of(
      options, [](const std::string& option) { return same_ignoring_case(option, "upgrade"); });
  return exchange.method() == "GET" && upgrades &&
         same_ignoring_case(exchange.header("upgrade"), "websocket");
}

asio::awaitable<std::unique_ptr<WebSocket>> accept_websocket(HttpExchange& exchange,
                                                             asio::any_io_executor executor,
                                                             WebSocketOptions options) {
  const std::string_view key = exchange.header("sec-websocket-key");
  const bool good =
      asks_for_websocket(exchange) && exchange.header("sec-websocket-version") == "13" && !key.empty();
  bool upgraded = false;
  if (good) {
    const std::string accept = websocket_accept(key);
    std::vector<HttpExchange::Header> headers{
        {"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Accept", accept}};
    if (!options.subprotocol.empty()) headers.emplace_back("Sec-WebSocket-Protocol", options.subprotocol);
    upgraded = co_await exchange.upgrade(headers);
  }
  if (upgraded) co_return std::make_unique<WebSocket>(exchange, std::move(executor), std::move(options));
  if (exchange.replied()) co_return nullptr;  // the peer left meanwhile
  std::string body = "Bad Request\n";
  const std::array<HttpExchange::Header, 1> headers{{{"Sec-WebSocket-Version", "13"}}};
  co_await exchange.reply(400, std::move(body), "text/plain; charset=utf-8", headers);
  co_return nullptr;
}

// ---- The connection

WebSocket::WebSocket(HttpExchange& exchange, asio::any_io_executor executor, WebSocketOptions options)
    : exchange_(exchange),
      executor_(executor),
      reader_(true, options.max_message),
      sending_(executor),
      changed_(executor) {}

void WebSocket::end() {
  over_ = true;
  changed_.notify_all();
}

asio::awaitable<bool> WebSocket::send(std::string frame, bool last) {
  const Turnstile::Pass pass = co_await sending_.enter();
  if (close_sent_) co_return false;
  close_sent_ = last;
  const bool sent = co_await exchange_.write(std::span<const char>(frame));
  if (!sent) end();
  co_return sent;
}

asio::awaitable<bool> WebSocket::send_text(std::string text) {
  std::string frame = websocket_frame(WebSocketFrame::Kind::text, text);
  co_return co_await send(std::move(frame), false);
}

asio::awaitable<bool> WebSocket::send_binary(std::string bytes) {
  std::string frame = websocket_frame(WebSocketFrame::Kind::binary, bytes);
  co_return co_await send(std::move(frame), false);
}

asio::awaitable<std::optional<WebSocketFrame>> WebSocket::receive_frame() {
  std::vector<char> piece(kPiece);
  while (true) {
    std::optional<WebSocketFrame> frame = reader_.next();
    if (frame) co_return frame;
    const std::size_t size = co_await exchange_.read_some(piece);
    if (size == 0) co_return std::nullopt;
    reader_.feed({piece.data(), size});
  }
}

asio::awaitable<std::optional<WebSocketFrame>> WebSocket::receive() {
  struct Receiving {
    explicit Receiving(bool& on) : flag(on) { flag = true; }
    ~Receiving() { flag = false; }
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;
    bool& flag;
  };
  const Receiving receiving(receiving_);
  WebSocketClose answer;
  while (!over_) {
    std::optional<WebSocketFrame> frame;
    try {
      frame = co_await receive_frame();
      if (!frame) break;
      if (frame->kind == WebSocketFrame::Kind::close) {
        answer = parse_websocket_close(frame->data);
        frame.reset();
      }
    } catch (const WebSocketError& error) {
      answer = {.code = error.code(), .reason = error.what()};
    } catch (const HttpError&) {  // it broke off
      break;
    }
    if (!frame) {
      std::string told = websocket_close_frame(answer);
      (void)co_await send(std::move(told), true);
      break;
    }
    if (frame->kind == WebSocketFrame::Kind::text || frame->kind == WebSocketFrame::Kind::binary)
      co_return frame;
    if (frame->kind == WebSocketFrame::Kind::ping) {
      std::string pong = websocket_frame(WebSocketFrame::Kind::pong, frame->data);
      (void)co_await send(std::move(pong), false);
    }
  }
  end();
  co_return std::nullopt;
}

asio::awaitable<void> WebSocket::drain() {
  while (!over_) (void)co_await receive();
}

asio::awaitable<void> WebSocket::close(std::uint16_t code, std::string reason) {
  const WebSocketClose told{.code = code, .reason = std::move(reason)};
  std::string frame = websocket_close_frame(told);
  const bool sent = co_await send(std::move(frame), true);
  if (sent && !over_) {
    // A connection that is closed with something unread in it may lose what was sent.
    const auto limit = std::chrono::steady_clock::now() + kClosePatience;
    const Patience patience(executor_, limit, exchange_);
    while (receiving_ && !over_ && std::chrono::steady_clock::now() < limit)
      (void)co_await changed_.wait_until(limit);
    while (!receiving_ && !over_) (void)co_await receive();
  }
  exchange_.abort();
}

}  // namespace sandkey::net
