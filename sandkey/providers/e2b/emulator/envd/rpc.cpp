#include "sandkey/providers/e2b/emulator/envd/rpc.h"

#include "sandkey/base/json.h"
#include "sandkey/emulator/machine/gzip.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/connect_envelope.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <utility>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

using google::protobuf::Message;
using net::HttpExchange;

constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr std::size_t kEnvelopeHead = 5;
constexpr unsigned char kCompressed = 1;
constexpr std::chrono::seconds kDefaultKeepalive{90};
constexpr std::size_t kTimeoutDigits = 10;

struct CodeEntry {
  std::string_view name;
  int status;
};

// In the order of RpcCode.
constexpr std::array<CodeEntry, 16> kCodes{{
    {"canceled", 499},
    {"unknown", 500},
    {"invalid_argument", 400},
    {"deadline_exceeded", 504},
    {"not_found", 404},
    {"already_exists", 409},
    {"permission_denied", 403},
    {"resource_exhausted", 429},
    {"failed_precondition", 400},
    {"aborted", 409},
    {"out_of_range", 400},
    {"unimplemented", 501},
    {"internal", 500},
    {"unavailable", 503},
    {"data_loss", 500},
    {"unauthenticated", 401},
}};

std::string failure_json(const RpcError& error) {
  json::object failure;
  failure["code"] = to_string(error.code());
  failure["message"] = error.what();
  return write_json(failure);
}

}  // namespace

std::string_view to_string(RpcCode code) noexcept {
  return kCodes[static_cast<std::size_t>(code)].name;
}

int http_status(RpcCode code) noexcept {
  return kCodes[static_cast<std::size_t>(code)].status;
}

std::optional<RpcFormat> rpc_format(std::string_view content_type) noexcept {
  content_type = content_type.substr(0, content_type.find(';'));
  while (content_type.ends_with(' ')) content_type.remove_suffix(1);
  for (const RpcFormat format :
       {RpcFormat{false, false}, RpcFormat{true, false}, RpcFormat{false, true}, RpcFormat{true, true}}) {
    if (content_type == e2b_envd::content_type(format)) return format;
  }
  return std::nullopt;
}

std::string_view content_type(RpcFormat format) noexcept {
  if (format.streaming) return format.binary ? "application/connect+proto" : "application/connect+json";
  return format.binary ? "application/proto" : "application/json";
}

std::string encode(const Message& message, bool binary) {
  if (binary) return message.SerializeAsString();
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (!status.ok()) throw RpcError(RpcCode::internal, "marshal message: " + status.ToString());
  return text;
}

void decode(std::string_view bytes, bool binary, Message& message) {
  if (binary) {
    if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    throw RpcError(RpcCode::invalid_argument,
                   "unmarshal message: proto: cannot parse invalid wire-format data");
  }
  if (bytes.empty())
    throw RpcError(RpcCode::invalid_argument,
                   "unmarshal message: zero-length payload is not a valid JSON object");
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(bytes.data(), bytes.size()), &message, options);
  if (!status.ok())
    throw RpcError(RpcCode::invalid_argument, "unmarshal message: " + std::string(status.message()));
}

std::optional<std::chrono::milliseconds> parse_timeout(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || text.size() > kTimeoutDigits) {
    throw RpcError(RpcCode::invalid_argument,
                   "protocol error: invalid Connect-Timeout-Ms: " + std::string(text));
  }
  return std::chrono::milliseconds(value);
}

std::chrono::seconds parse_keepalive(std::string_view text) noexcept {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  constexpr std::int64_t kDay = 24 * 60 * 60;
  return whole && value > 0 ? std::chrono::seconds(std::min(value, kDay)) : kDefaultKeepalive;
}

void EnvelopeReader::feed(std::string_view bytes) {
  buffer_.erase(0, std::exchange(begin_, 0));
  buffer_ += bytes;
}

std::optional<std::string> EnvelopeReader::next() {
  const std::string_view left = std::string_view(buffer_).substr(begin_);
  if (left.size() < kEnvelopeHead) {
    if (finished_ && !left.empty())
      throw RpcError(RpcCode::invalid_argument, "protocol error: incomplete envelope: unexpected EOF");
    return std::nullopt;
  }
  const auto byte = [left](std::size_t i) { return static_cast<unsigned char>(left[i]); };
  if (byte(0) == kCompressed)
    throw RpcError(RpcCode::unimplemented, "compressed messages are not supported; send them plain");
  if (byte(0) != 0)
    throw RpcError(RpcCode::invalid_argument,
                   "protocol error: invalid envelope flags " + std::to_string(byte(0)));
  std::uint32_t size = 0;
  for (std::size_t i = 1; i < kEnvelopeHead; ++i) size = (size << 8U) | byte(i);
  if (size > kMaxRpcMessage) {
    throw RpcError(RpcCode::resource_exhausted, "message size " + std::to_string(size) +
                                                    " is larger than configured max " +
                                                    std::to_string(kMaxRpcMessage));
  }
  if (left.size() < kEnvelopeHead + size) {
    if (finished_) {
      throw RpcError(RpcCode::invalid_argument, "protocol error: promised " + std::to_string(size) +
                                                    " bytes in enveloped message, got " +
                                                    std::to_string(left.size() - kEnvelopeHead) + " bytes");
    }
    return std::nullopt;
  }
  begin_ += kEnvelopeHead + size;
  return std::string(left.substr(kEnvelopeHead, size));
}

RpcCall::RpcCall(Engine& engine, HttpExchange& exchange, RpcFormat format)
    : engine_(engine), exchange_(exchange), format_(format) {}

Deadline RpcCall::deadline() const {
  const auto timeout = parse_timeout(exchange_.header("connect-timeout-ms"));
  return timeout ? engine_.in(*timeout) : kNoDeadline;
}

std::chrono::seconds RpcCall::keepalive() const noexcept {
  return parse_keepalive(exchange_.header("keepalive-ping-interval"));
}

asio::awaitable<void> RpcCall::read(Message& message) {
  if (format_.streaming) {
    const bool found = co_await next(message);
    if (!found) throw RpcError(RpcCode::invalid_argument, "protocol error: the request has no message");
    co_return;
  }
  std::string body = co_await exchange_.read_body(kMaxRpcMessage);
  const std::string_view encoding = exchange_.header("content-encoding");
  if (encoding == "gzip") {
    auto plain = machine::gunzip(body, kMaxRpcMessage);
    if (!plain) throw RpcError(RpcCode::invalid_argument, "decompress: gzip: invalid data");
    body = std::move(*plain);
  } else if (!encoding.empty() && encoding != "identity") {
    throw RpcError(RpcCode::unimplemented,
                   "unknown compression \"" + std::string(encoding) + "\": supported encodings are gzip");
  }
  decode(body, format_.binary, message);
}

asio::awaitable<bool> RpcCall::next(Message& message) {
  std::vector<char> buffer(kPiece);
  for (bool more = true; more;) {
    const std::optional<std::string> found = envelopes_.next();
    if (found) {
      message.Clear();
      decode(*found, format_.binary, message);
      co_return true;
    }
    const std::size_t size = co_await exchange_.read_some(buffer);
    if (size == 0) {
      envelopes_.finish();
      more = false;
    } else {
      envelopes_.feed({buffer.data(), size});
    }
  }
  (void)envelopes_.next();  // throws if the last one broke off
  co_return false;
}

asio::awaitable<void> RpcCall::reply(const Message& message) {
  if (format_.streaming) {
    const bool alive = co_await send(message);
    if (alive) co_await finish();
    co_return;
  }
  std::string body = encode(message, format_.binary);
  co_await exchange_.reply(200, std::move(body), content_type(format_));
}

asio::awaitable<bool> RpcCall::start() {
  if (started_) co_return true;
  started_ = true;
  co_return co_await exchange_.start(200, content_type(format_));
}

asio::awaitable<bool> RpcCall::send(const Message& message) {
  const std::string envelope = connect_envelope(encode(message, format_.binary));
  bool alive = co_await start();
  if (alive) alive = co_await exchange_.write(envelope);
  co_return alive;
}

asio::awaitable<void> RpcCall::finish() {
  return end_stream("{}");
}

asio::awaitable<void> RpcCall::end_stream(std::string last) {
  const std::string envelope = connect_envelope(last, true);
  bool alive = co_await start();
  if (alive) alive = co_await exchange_.write(envelope);
  if (alive) (void)co_await exchange_.finish();
}

asio::awaitable<void> RpcCall::fail(RpcError error) {
  if (format_.streaming) {
    std::string last = "{\"error\":" + failure_json(error) + "}";
    co_await end_stream(std::move(last));
    co_return;
  }
  if (exchange_.replied()) {
    exchange_.abort();
    co_return;
  }
  std::string body = failure_json(error);
  co_await exchange_.reply(http_status(error.code()), std::move(body));
}

}  // namespace sandkey::e2b_envd
