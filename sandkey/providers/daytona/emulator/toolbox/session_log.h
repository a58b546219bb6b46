// The log of a session's command: two outputs in one text, each line with three bytes in front that say of
// which it is. And who gets it in what form.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

inline constexpr std::array<std::string_view, 2> kMarks{"\x01\x01\x01", "\x02\x02\x02"};  // stdout, stderr

// Takes a log apart as it comes: bytes belong to the output whose mark was last, those before the first to
// none.
class LogSplitter {
 public:
  void feed(std::string_view bytes);
  // What is held back, since it may begin a mark, is none.
  void finish();

  // Of stdout and stderr; for the caller to take away.
  std::array<std::string, 2> outputs;
  // Both, in their order.
  std::string merged;

 private:
  void append(std::string_view bytes);

  std::string held_;
  int current_ = -1;
};

// The whole log at once.
[[nodiscard]] LogSplitter split_log(std::string_view log);

enum class LogShape {
  merged,  // without marks
  marked,  // as it is
  split,   // as it is, and taken apart
};
// By the headers X-Daytona-SDK-Version (empty: absent) and X-Daytona-Split-Output.
[[nodiscard]] LogShape log_shape(std::string_view sdk_version, bool split_output);

}  // namespace sandkey::daytona_toolbox
