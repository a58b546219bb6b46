#include "sandkey/providers/daytona/emulator/toolbox/session_log.h"

#include <algorithm>
#include <charconv>
#include <compare>
#include <optional>

namespace sandkey::daytona_toolbox {
namespace {

constexpr std::size_t kMark = 3;

struct Version {
  std::array<unsigned, 3> numbers{};
  bool release = true;  // a pre-release comes before it
  auto operator<=>(const Version&) const = default;
};
constexpr Version kSplit{.numbers = {0, 167, 0}};
constexpr Version kMarked{.numbers = {0, 27, 0}};

// "1.2.3", "v1.2.3-beta.1+x".
std::optional<Version> parse_version(std::string_view text) {
  if (text.starts_with('v')) text.remove_prefix(1);
  Version version;
  for (std::size_t i = 0; i < version.numbers.size(); ++i) {
    if (i > 0) {
      if (!text.starts_with('.')) return std::nullopt;
      text.remove_prefix(1);
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version.numbers[i]);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  }
  if (!text.empty() && text.front() != '-' && text.front() != '+') return std::nullopt;
  version.release = !text.starts_with('-');
  return version;
}

// Which mark the text begins with, if any.
int mark_at(std::string_view text) {
  for (std::size_t i = 0; i < kMarks.size(); ++i) {
    if (text.starts_with(kMarks[i])) return static_cast<int>(i);
  }
  return -1;
}

// How many bytes at the end may begin a mark that is not complete.
std::size_t incomplete_mark(std::string_view text) {
  for (std::size_t size = std::min(kMark - 1, text.size()); size > 0; --size) {
    const std::string_view tail = text.substr(text.size() - size);
    for (const std::string_view mark : kMarks) {
      if (mark.starts_with(tail)) return size;
    }
  }
  return 0;
}

}  // namespace

void LogSplitter::append(std::string_view bytes) {
  if (current_ < 0) return;
  outputs[static_cast<std::size_t>(current_)] += bytes;
  merged += bytes;
}

void LogSplitter::feed(std::string_view bytes) {
  held_ += bytes;
  std::string_view text = held_;
  std::size_t plain = 0;  // bytes at the beginning that are no mark
  while (plain < text.size()) {
    const int mark = mark_at(text.substr(plain));
    if (mark < 0) {
      ++plain;
      continue;
    }
    append(text.substr(0, plain));
    current_ = mark;
    text.remove_prefix(plain + kMark);
    plain = 0;
  }
  const std::size_t held = incomplete_mark(text);
  append(text.substr(0, text.size() - held));
  held_ = std::string(text.substr(text.size() - held));
}

void LogSplitter::finish() {
  append(held_);
  held_.clear();
}

LogSplitter split_log(std::string_view log) {
  LogSplitter splitter;
  splitter.feed(log);
  splitter.finish();
  return splitter;
}

LogShape log_shape(std::string_view sdk_version, bool split_output) {
  if (sdk_version.empty()) return split_output ? LogShape::marked : LogShape::merged;
  if (sdk_version.find("dev") != std::string_view::npos) return LogShape::split;
  const std::optional<Version> version = parse_version(sdk_version);
  if (!version) return LogShape::marked;
  if (*version >= kSplit) return LogShape::split;
  return *version >= kMarked ? LogShape::marked : LogShape::merged;
}

}  // namespace sandkey::daytona_toolbox
