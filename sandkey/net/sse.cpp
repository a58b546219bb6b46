#include "sandkey/net/sse.h"

#include "sandkey/base/error.h"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace sandkey {

void SseDecoder::feed(std::string_view bytes) {
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  buffer_ += bytes;
}

std::optional<std::string_view> SseDecoder::next_line() {
  if (after_cr_ && begin_ < buffer_.size()) {
    after_cr_ = false;
    if (buffer_[begin_] == '\n') ++begin_;
    scanned_ = std::max(scanned_, begin_);
  }
  const std::size_t end = buffer_.find_first_of("\r\n", scanned_);
  if (std::min(end, buffer_.size()) - begin_ > max_line_) {
    throw Error(ErrorCode::protocol,
                "read an event stream: a line is longer than " + std::to_string(max_line_) + " bytes");
  }
  if (end == buffer_.npos) {
    scanned_ = buffer_.size();
    return std::nullopt;
  }
  const std::string_view line = std::string_view(buffer_).substr(begin_, end - begin_);
  after_cr_ = buffer_[end] == '\r';
  begin_ = scanned_ = end + 1;
  return line;
}

std::optional<SseEvent> SseDecoder::next() {
  while (std::optional<std::string_view> line = next_line()) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (std::exchange(first_line_, false) && line->starts_with(kByteOrderMark)) {
      line->remove_prefix(kByteOrderMark.size());
    }
    if (!line->empty()) {
      take_field(*line);
    } else if (auto event = take_event()) {
      return event;
    }
  }
  return std::nullopt;
}

void SseDecoder::take_field(std::string_view line) {
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  std::string_view value = colon == line.npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "data") {
    if (data_.size() + value.size() > max_data_) {
      throw Error(ErrorCode::protocol, "read an event stream: an event has more than " +
                                           std::to_string(max_data_) + " bytes of data");
    }
    data_ += value;
    data_ += '\n';
  } else if (name == "event") {
    type_ = value;
  } else if (name == "id") {
    if (value.find('\0') == value.npos) id_ = value;
  } else if (name == "retry") {
    const bool digits = std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    std::chrono::milliseconds::rep milliseconds = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), milliseconds);
    if (digits && error == std::errc()) retry_ = std::chrono::milliseconds(milliseconds);
  }
}

std::optional<SseEvent> SseDecoder::take_event() {
  SseEvent event;
  std::string type = std::exchange(type_, {});
  last_event_id_ = id_;
  if (data_.empty()) return std::nullopt;
  data_.pop_back();
  event.data = std::exchange(data_, {});
  if (!type.empty()) event.type = std::move(type);
  event.id = id_;
  return event;
}

}  // namespace sandkey
