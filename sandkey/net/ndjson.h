// Newline-delimited JSON: one value a line.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/net/frame_reader.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

inline constexpr std::size_t kMaxNdjsonLine = std::size_t{4} * 1024 * 1024;

// Lines end with LF or CRLF, the last one perhaps with nothing; blank ones are skipped. A line longer than
// `max_line`, and one that is not JSON, is Error(protocol) that gives its number and nothing of it.
class NdjsonDecoder {
 public:
  using Frame = json::value;

  explicit NdjsonDecoder(std::size_t max_line = kMaxNdjsonLine) : max_line_(max_line) {}

  void feed(std::string_view bytes);
  void finish() { finished_ = true; }
  [[nodiscard]] std::optional<json::value> next();

 private:
  std::size_t max_line_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of the next line
  std::size_t scanned_ = 0;  // up to here it has no end
  std::size_t lines_ = 0;
  bool finished_ = false;
};

using NdjsonReader = FrameReader<NdjsonDecoder>;

}  // namespace sandkey
