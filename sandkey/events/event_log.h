// The file behind an event stream: one JSON line per event, only ever appended to. Internal to this folder.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/events/event.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::events_detail {

class EventLog {
 public:
  // Opens or creates the file, locks it against other logs, and loads it into `events`; errors and the
  // mending of a torn last line as EventStream's constructor documents them.
  EventLog(const std::filesystem::path& file, std::vector<Event>& events);

  // Appends `line`, which ends in a newline, or throws and leaves the file as it was.
  void append(std::string_view line);

 private:
  void load(std::vector<Event>& events);
  void truncate(std::int64_t size);

  UniqueFd fd_;
  std::string name_;
  std::int64_t size_ = 0;  // of the whole lines
  bool broken_ = false;    // a torn line could not be removed, so nothing may follow it
};

}  // namespace sandkey::events_detail
