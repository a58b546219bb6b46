#include "sandkey/net/ndjson.h"

#include "sandkey/base/error.h"

#include <algorithm>

namespace sandkey {

void NdjsonDecoder::feed(std::string_view bytes) {
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  buffer_ += bytes;
}

std::optional<json::value> NdjsonDecoder::next() {
  while (begin_ < buffer_.size()) {
    const std::size_t end = std::min(buffer_.find('\n', scanned_), buffer_.size());
    const std::string name = "line " + std::to_string(lines_ + 1) + " of the answer";
    if (end - begin_ > max_line_) {
      throw Error(ErrorCode::protocol, name + " is longer than " + std::to_string(max_line_) + " bytes");
    }
    scanned_ = end;
    if (end == buffer_.size() && !finished_) return std::nullopt;
    std::string_view line = std::string_view(buffer_).substr(begin_, end - begin_);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool blank = line.find_first_not_of(" \t") == line.npos;
    std::optional<json::value> value;
    if (!blank) value = parse_json(line, name);
    begin_ = scanned_ = std::min(end + 1, buffer_.size());
    ++lines_;
    if (value) return value;
  }
  return std::nullopt;
}

}  // namespace sandkey
