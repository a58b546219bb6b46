// Server-sent events (text/event-stream), as the WHATWG's HTML standard has them.
#pragma once

#include "sandkey/net/frame_reader.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

inline constexpr std::size_t kMaxSseLine = std::size_t{1024} * 1024;
inline constexpr std::size_t kMaxSseData = std::size_t{4} * 1024 * 1024;

struct SseEvent {
  std::string type = "message";
  std::string data;
  std::string id;  // the last one given, with this event or before
  bool operator==(const SseEvent&) const = default;
};

// Lines that are longer than `max_line` and events with more than `max_data` of data are Error(protocol).
// An event that is not complete at the end is none, as the standard wants it.
class SseDecoder {
 public:
  using Frame = SseEvent;

  explicit SseDecoder(std::size_t max_line = kMaxSseLine, std::size_t max_data = kMaxSseData)
      : max_line_(max_line), max_data_(max_data) {}

  void feed(std::string_view bytes);
  void finish() {}
  [[nodiscard]] std::optional<SseEvent> next();

  // What to send as Last-Event-ID, and how long to wait, when connecting again.
  [[nodiscard]] const std::string& last_event_id() const noexcept { return last_event_id_; }
  [[nodiscard]] std::optional<std::chrono::milliseconds> reconnect_after() const noexcept { return retry_; }

 private:
  std::optional<std::string_view> next_line();
  void take_field(std::string_view line);
  std::optional<SseEvent> take_event();

  std::size_t max_line_;
  std::size_t max_data_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of the next line
  std::size_t scanned_ = 0;  // up to here it has no end
  bool first_line_ = true;
  bool after_cr_ = false;  // a line feed that comes now belongs to the line before

  std::string type_;
  std::string data_;
  std::string id_;
  std::string last_event_id_;  // of the last complete event
  std::optional<std::chrono::milliseconds> retry_;
};

using SseReader = FrameReader<SseDecoder>;

}  // namespace sandkey
