// What a command wrote, and the parts of it that are told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::runloop::emulator {

// More than this of one stream is not kept.
inline constexpr std::size_t kMaxOutput = std::size_t{64} * 1024 * 1024;

struct Output {
  std::string bytes = {};
  bool cut = false;  // there was more

  // As far as there is room.
  void append(std::string_view more);
};

// The last lines of a text, with whether there are others before them. A line break at the very end begins no
// line of its own.
struct Tail {
  std::string_view text;
  bool truncated = false;
};
[[nodiscard]] Tail last_lines(std::string_view text, std::size_t lines);

// The piece of a stream that begins at byte `from`: whole characters, and not more than fits in an event.
// Nothing if there is none yet; `ended` says that no more will come, and what is left of a character with it.
struct Chunk {
  std::string_view bytes;
  std::uint64_t end = 0;  // how many bytes of the stream there are up to the chunk's end
};
[[nodiscard]] std::optional<Chunk> next_chunk(std::string_view stream, std::uint64_t from, bool ended);

// The event that carries it. Its `offset` is the number of bytes up to its end, so that a stream which is
// asked for again from there goes on without a gap.
[[nodiscard]] std::string to_event(const Chunk& chunk);
// The event by which a stream ends that is to be asked for again, or that failed.
[[nodiscard]] std::string to_error_event(int code, std::string_view message);

}  // namespace sandkey::runloop::emulator
