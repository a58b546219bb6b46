#include "sandkey/providers/runloop/emulator/output.h"

#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"

#include <boost/json/serialize.hpp>

#include <algorithm>

namespace sandkey::runloop::emulator {
namespace {

constexpr std::size_t kMaxChunk = std::size_t{32} * 1024;

}  // namespace

void Output::append(std::string_view more) {
  const std::size_t room = kMaxOutput - std::min(bytes.size(), kMaxOutput);
  cut = cut || more.size() > room;
  bytes += more.substr(0, room);
}

Tail last_lines(std::string_view text, std::size_t lines) {
  if (lines == 0) return {.text = {}, .truncated = !text.empty()};
  std::size_t begin = text.ends_with('\n') ? text.size() - 1 : text.size();
  while (begin > 0) {
    const std::size_t line_break = text.rfind('\n', begin - 1);
    if (line_break == std::string_view::npos) return {.text = text, .truncated = false};
    if (--lines == 0) return {.text = text.substr(line_break + 1), .truncated = true};
    begin = line_break;
  }
  return {.text = text, .truncated = false};
}

std::optional<Chunk> next_chunk(std::string_view stream, std::uint64_t from, bool ended) {
  if (from >= stream.size()) return std::nullopt;
  const std::string_view rest = stream.substr(static_cast<std::size_t>(from));
  std::string_view piece = rest.substr(0, kMaxChunk);
  const bool last = ended && piece.size() == rest.size();
  if (!last) piece.remove_suffix(utf8::incomplete_tail(piece));
  if (piece.empty()) return std::nullopt;
  return Chunk{.bytes = piece, .end = from + piece.size()};
}

std::string to_event(const Chunk& chunk) {
  json::object data;
  data["output"] = utf8::sanitize(chunk.bytes);
  data["offset"] = chunk.end;
  return "data: " + json::serialize(data) + "\n\n";
}

std::string to_error_event(int code, std::string_view message) {
  json::object data;
  data["code"] = code;
  data["message"] = message;
  return "event: error\ndata: " + json::serialize(data) + "\n\n";
}

}  // namespace sandkey::runloop::emulator
