// The server's side of one Connect call: what E2B's SDKs speak to a sandbox's processes and files.
//
// A unary call has one message each way as the bodies of a plain request. A streaming one has envelopes: a
// byte of flags, four bytes of length, the message; always status 200, and a last envelope that says how it
// ended. Messages are JSON or the binary form, as the request's Content-Type says.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace google::protobuf {
class Message;
}

namespace sandkey::e2b_envd {

inline constexpr std::size_t kMaxRpcMessage = std::size_t{64} * 1024 * 1024;

enum class RpcCode {
  canceled,
  unknown,
  invalid_argument,
  deadline_exceeded,
  not_found,
  already_exists,
  permission_denied,
  resource_exhausted,
  failed_precondition,
  aborted,
  out_of_range,
  unimplemented,
  internal,
  unavailable,
  data_loss,
  unauthenticated,
};

[[nodiscard]] std::string_view to_string(RpcCode code) noexcept;
[[nodiscard]] int http_status(RpcCode code) noexcept;  // of a unary call

// How a call failed, for its caller.
class RpcError : public std::runtime_error {
 public:
  RpcError(RpcCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] RpcCode code() const noexcept { return code_; }

 private:
  RpcCode code_;
};

struct RpcFormat {
  bool binary = false;
  bool streaming = false;
  bool operator==(const RpcFormat&) const = default;
};

// Parameters (charset) are ignored. Nothing for what is not Connect's.
[[nodiscard]] std::optional<RpcFormat> rpc_format(std::string_view content_type) noexcept;
[[nodiscard]] std::string_view content_type(RpcFormat format) noexcept;

[[nodiscard]] std::string encode(const google::protobuf::Message& message, bool binary);
// Unknown fields are ignored. Throws RpcError(invalid_argument) for what is no such message.
void decode(std::string_view bytes, bool binary, google::protobuf::Message& message);

// The value of Connect-Timeout-Ms; nothing if it is empty. Throws RpcError(invalid_argument) for what is not
// a number of at most ten digits.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_timeout(std::string_view text);
// The value of Keepalive-Ping-Interval, in seconds; 90 where it is none, or not positive.
[[nodiscard]] std::chrono::seconds parse_keepalive(std::string_view text) noexcept;

// Takes the envelopes of a request apart. Throws RpcError: invalid_argument for one that breaks off or has
// unknown flags, resource_exhausted for one that is too long, unimplemented for a compressed one.
class EnvelopeReader {
 public:
  void feed(std::string_view bytes);
  // There are no more bytes.
  void finish() { finished_ = true; }
  // The next message of what was fed.
  [[nodiscard]] std::optional<std::string> next();

 private:
  std::string buffer_;
  std::size_t begin_ = 0;
  bool finished_ = false;
};

// One call. Valid as long as its exchange; one operation at a time.
class RpcCall {
 public:
  RpcCall(Engine& engine, net::HttpExchange& exchange, RpcFormat format);

  [[nodiscard]] net::HttpExchange& exchange() noexcept { return exchange_; }
  [[nodiscard]] RpcFormat format() const noexcept { return format_; }
  // By its Connect-Timeout-Ms; kNoDeadline without one. Throws RpcError(invalid_argument).
  [[nodiscard]] Deadline deadline() const;
  [[nodiscard]] std::chrono::seconds keepalive() const noexcept;

  // The request's only message.
  asio::awaitable<void> read(google::protobuf::Message& message);
  // The next message of a streaming request; false at its end.
  asio::awaitable<bool> next(google::protobuf::Message& message);

  // The only message of a unary or client-streaming reply.
  asio::awaitable<void> reply(const google::protobuf::Message& message);
  // One of a streaming reply. False: the client is gone.
  asio::awaitable<bool> send(const google::protobuf::Message& message);
  // Sends the headers, and what follows when it is there.
  asio::awaitable<bool> start();
  asio::awaitable<void> finish();
  // Instead of reply() or finish(), whatever was sent before.
  asio::awaitable<void> fail(RpcError error);

 private:
  asio::awaitable<void> end_stream(std::string last);

  Engine& engine_;
  net::HttpExchange& exchange_;
  RpcFormat format_;
  EnvelopeReader envelopes_;
  bool started_ = false;
};

}  // namespace sandkey::e2b_envd
