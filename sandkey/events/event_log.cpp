#include "sandkey/events/event_log.h"

#include "sandkey/base/error.h"
#include "sandkey/events/codec.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

namespace sandkey::events_detail {
namespace {

Event parse_line(std::string_view line, std::int64_t id) {
  Event event = parse_event(parse_json(line, "the line"));
  if (header(event).id != id) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("its id is {} where {} comes next", header(event).id, id));
  }
  return event;
}

// Nothing if the line is not an event, such as one cut short.
std::optional<Event> try_parse_line(std::string_view line, std::int64_t id) {
  try {
    return parse_line(line, id);
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

EventLog::EventLog(const std::filesystem::path& file, std::vector<Event>& events)
    : fd_(::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600)),
      name_("event file " + file.string()) {
  if (!fd_) throw system_error(name_ + ": cannot open", errno);
  struct stat info = {};
  if (::fstat(fd_.get(), &info) != 0) throw system_error(name_, errno);
  if (!S_ISREG(info.st_mode)) throw Error(ErrorCode::invalid_argument, name_ + " is not a regular file");
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) throw Error(ErrorCode::conflict, name_ + " is in use by another event stream");
    throw system_error(name_ + ": cannot lock", errno);
  }
  // It may have been made by others, and events hold what people said.
  if ((info.st_mode & 07777) != 0600 && ::fchmod(fd_.get(), 0600) != 0) {
    throw system_error(name_ + ": cannot make it private", errno);
  }
  load(events);
}

void EventLog::load(std::vector<Event>& events) {
  std::string pending;  // the line that has begun
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(name_ + ": cannot read", errno);
    if (got == 0) break;
    std::string_view rest(buffer.data(), static_cast<std::size_t>(got));
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      pending.append(rest.substr(0, end));
      rest.remove_prefix(end + 1);
      const auto id = static_cast<std::int64_t>(events.size());
      try {
        events.push_back(parse_line(pending, id));
      } catch (const Error& error) {
        throw Error(ErrorCode::protocol,
                    fmt::format("{}: line {} is corrupt: {}", name_, id + 1, error.what()));
      }
      size_ += static_cast<std::int64_t>(pending.size() + 1);
      pending.clear();
    }
    pending.append(rest);
  }
  if (pending.empty()) return;
  // The writer died in this line. If only its newline is missing, the event is all there.
  if (auto event = try_parse_line(pending, static_cast<std::int64_t>(events.size()))) {
    size_ += static_cast<std::int64_t>(pending.size());
    append("\n");
    events.push_back(std::move(*event));
  } else {
    truncate(size_);
  }
}

void EventLog::append(std::string_view line) {
  if (broken_)
    throw Error(ErrorCode::unavailable, name_ + " was left with a torn line by an earlier failure");
  std::string_view rest = line;
  while (!rest.empty()) {  // once, unless the disk is full or a signal comes
    const ssize_t written = ::write(fd_.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      if (rest.size() != line.size()) {
        broken_ = true;
        truncate(size_);
        broken_ = false;
      }
      throw system_error(name_ + ": cannot write", error);
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  size_ += static_cast<std::int64_t>(line.size());
}

void EventLog::truncate(std::int64_t size) {
  if (::ftruncate(fd_.get(), size) != 0) throw system_error(name_ + ": cannot remove a torn line", errno);
}

}  // namespace sandkey::events_detail
