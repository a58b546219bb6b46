// What a WebSocket's peer sends: frames in any pieces, masked and not.
#include "sandkey/net/websocket.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sandkey::net;

constexpr std::size_t kMaxMessage = 300;

struct Outcome {
  std::vector<WebSocketFrame> frames;
  std::optional<std::uint16_t> error;
  bool operator==(const Outcome&) const = default;
};

Outcome take_apart(std::string_view bytes, std::size_t piece, bool masked) {
  Outcome outcome;
  WebSocketReader reader(masked, kMaxMessage);
  try {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
      reader.feed(bytes.substr(0, piece));
      while (auto frame = reader.next()) outcome.frames.push_back(std::move(*frame));
    }
  } catch (const WebSocketError& error) {
    outcome.error = error.code();
  }
  return outcome;
}

void check_close(const std::string& payload) {
  try {
    const WebSocketClose close = parse_websocket_close(payload);
    const std::string frame = websocket_close_frame(close);
    if (frame.size() > 127) std::abort();
  } catch (const WebSocketError&) {  // is none
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const void* const rest = data + 1;
  const std::string_view bytes(static_cast<const char*>(rest), size - 1);
  for (const bool masked : {false, true}) {
    const Outcome whole = take_apart(bytes, bytes.size() + 1, masked);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{data[0]} + 2}) {
      if (take_apart(bytes, piece, masked) != whole) std::abort();
    }
    std::string again;
    Outcome same{.frames = whole.frames, .error = std::nullopt};
    for (const WebSocketFrame& frame : whole.frames) {
      if (frame.data.size() > kMaxMessage) std::abort();
      if (frame.kind == WebSocketFrame::Kind::close) check_close(frame.data);
      again +=
          websocket_frame(frame.kind, frame.data,
                          masked ? std::optional<std::uint32_t>(data[0] * 0x01'01'01'01U) : std::nullopt);
    }
    if (take_apart(again, again.size() + 1, masked) != same) std::abort();
  }
  return 0;
}
