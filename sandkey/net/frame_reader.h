// Streams of messages within an HTTP body, taken apart as they arrive:
//
//   SseReader events(source_of(co_await http.open(std::move(request))));
//   while (const auto event = co_await events.next()) ...
//
// A decoder does the work without any waiting. It has a Frame type and
//   void feed(std::string_view bytes);      the next piece
//   void finish();                          there are no more
//   std::optional<Frame> next();            the next frame of what was fed; throws Error(protocol) for good
//                                           when a bound is exceeded or the bytes make no sense
// and gives the same frames, or the same error, in whatever pieces the bytes come.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_client.h"

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace sandkey {

// Fills the buffer with the next bytes and gives their number; 0 is the end.
using ByteSource = std::function<asio::awaitable<std::size_t>(std::span<std::byte>)>;

// The body of a stream, which it keeps.
[[nodiscard]] inline ByteSource source_of(HttpStream stream) {
  return [kept = std::make_shared<HttpStream>(std::move(stream))](std::span<std::byte> buffer) {
    return kept->read_some(buffer);
  };
}

// For one reader at a time.
template <typename Decoder>
class FrameReader {
 public:
  explicit FrameReader(ByteSource source, Decoder decoder = Decoder())
      : source_(std::move(source)), decoder_(std::move(decoder)) {}

  // Nothing at the end. Throws what the source and the decoder throw. Cancelling it loses nothing if it loses
  // nothing of the source's, as with an HttpStream.
  asio::awaitable<std::optional<typename Decoder::Frame>> next() {
    for (;;) {
      std::optional<typename Decoder::Frame> frame = decoder_.next();
      if (frame || ended_) co_return frame;
      const std::size_t count = co_await source_(buffer_);
      if (count == 0) {
        ended_ = true;
        decoder_.finish();
      } else {
        const void* const bytes = buffer_.data();
        decoder_.feed({static_cast<const char*>(bytes), count});
      }
    }
  }

  [[nodiscard]] const Decoder& decoder() const noexcept { return decoder_; }

 private:
  ByteSource source_;
  Decoder decoder_;
  bool ended_ = false;
  std::array<std::byte, 16 * 1024> buffer_;
};

}  // namespace sandkey
