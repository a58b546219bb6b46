// The envelopes in which the Connect protocol streams messages: a byte of flags, the length in four bytes,
// most significant first, and the message. The last one has a flag of its own and says how the call ended.
#pragma once

#include "sandkey/net/frame_reader.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

inline constexpr std::size_t kMaxConnectMessage = std::size_t{16} * 1024 * 1024;

struct ConnectMessage {
  bool end_of_stream = false;  // then the payload is what parse_connect_end() reads
  std::string payload;
  bool operator==(const ConnectMessage&) const = default;
};

// Throws Error(invalid_argument) for a payload whose length does not fit.
[[nodiscard]] std::string connect_envelope(std::string_view payload, bool end_of_stream = false);

// How the server says that a call failed: "not_found", and its text.
struct ConnectFailure {
  std::string code;
  std::string message;
  bool operator==(const ConnectFailure&) const = default;
};

// Nothing if the call went well. Throws Error(protocol) for what is not a last message.
[[nodiscard]] std::optional<ConnectFailure> parse_connect_end(std::string_view payload);

// Error(protocol): a message longer than `max_message`, unknown flags, bytes after the last message.
// Error(unsupported): a compressed message, which no server sends unless it is told that it may.
// Error(unavailable): the stream ended before its last message.
class ConnectDecoder {
 public:
  using Frame = ConnectMessage;

  explicit ConnectDecoder(std::size_t max_message = kMaxConnectMessage) : max_message_(max_message) {}

  void feed(std::string_view bytes);
  void finish() { finished_ = true; }
  [[nodiscard]] std::optional<ConnectMessage> next();

 private:
  std::size_t max_message_;
  std::string buffer_;
  std::size_t begin_ = 0;  // of the next envelope
  bool last_seen_ = false;
  bool finished_ = false;
};

using ConnectReader = FrameReader<ConnectDecoder>;

}  // namespace sandkey
