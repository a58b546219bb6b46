#include "sandkey/net/connect_envelope.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"

#include <limits>

namespace sandkey {

namespace {

constexpr std::size_t kHeaderSize = 5;
constexpr std::uint8_t kCompressed = 1;
constexpr std::uint8_t kEndOfStream = 2;

Error malformed(const std::string& how) {
  return Error(ErrorCode::protocol, "read a stream of messages: " + how);
}

}  // namespace

std::string connect_envelope(std::string_view payload, bool end_of_stream) {
  if (payload.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorCode::invalid_argument,
                "a message of " + std::to_string(payload.size()) + " bytes does not fit into an envelope");
  }
  std::string envelope;
  envelope.reserve(kHeaderSize + payload.size());
  envelope += static_cast<char>(end_of_stream ? kEndOfStream : 0);
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    envelope += static_cast<char>((payload.size() >> shift) & 0xffU);
  }
  envelope += payload;
  return envelope;
}

std::optional<ConnectFailure> parse_connect_end(std::string_view payload) {
  const json::value end = parse_json(payload, "the end of the stream");
  const json::object* const object = end.if_object();
  if (object == nullptr) throw malformed("its end is not a JSON object");
  const json::value* const error = find(*object, "error");
  if (error == nullptr || error->is_null()) return std::nullopt;
  if (!error->is_object()) throw malformed("its end has an error that is not a JSON object");
  ConnectFailure failure;
  failure.code = find_string(error->get_object(), "code").value_or("unknown");
  failure.message = find_string(error->get_object(), "message").value_or("");
  return failure;
}

void ConnectDecoder::feed(std::string_view bytes) {
  buffer_.erase(0, begin_);
  begin_ = 0;
  buffer_ += bytes;
}

std::optional<ConnectMessage> ConnectDecoder::next() {
  const std::string_view rest = std::string_view(buffer_).substr(begin_);
  if (last_seen_ && !rest.empty()) throw malformed("it goes on after its last message");
  if (!rest.empty()) {
    const auto flags = static_cast<std::uint8_t>(rest[0]);
    if ((flags & ~(kCompressed | kEndOfStream)) != 0) {
      throw malformed("a message has unknown flags (" + std::to_string(flags) + ")");
    }
    if ((flags & kCompressed) != 0) {
      throw Error(ErrorCode::unsupported, "read a stream of messages: a message is compressed");
    }
  }
  if (rest.size() >= kHeaderSize) {
    std::uint32_t length = 0;
    for (std::size_t i = 1; i < kHeaderSize; ++i) {
      length = (length << 8U) | static_cast<std::uint8_t>(rest[i]);
    }
    if (length > max_message_) {
      throw malformed("a message of " + std::to_string(length) + " bytes is longer than " +
                      std::to_string(max_message_));
    }
    if (rest.size() - kHeaderSize >= length) {
      ConnectMessage message;
      message.end_of_stream = last_seen_ = (static_cast<std::uint8_t>(rest[0]) & kEndOfStream) != 0;
      message.payload = rest.substr(kHeaderSize, length);
      begin_ += kHeaderSize + length;
      return message;
    }
  }
  if (finished_ && !last_seen_) {
    throw Error(ErrorCode::unavailable, "read a stream of messages: it ended before its last message");
  }
  return std::nullopt;
}

}  // namespace sandkey
