// What a Python cell printed: collected within a bound, then made into the text of its observation.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey::agent {

// Bytes, of which the first half and the last half of `limit` are kept; the middle gives way to a line that
// says how much is missing. Holds at most 1.5 times the limit.
class CellOutput {
 public:
  explicit CellOutput(std::size_t limit) : limit_(limit) {}

  void append(std::string_view bytes);
  [[nodiscard]] bool empty() const noexcept { return head_.empty(); }

  // As UTF-8, malformed bytes replaced, without ANSI colours. Leaves this empty.
  [[nodiscard]] std::string take_text();

 private:
  std::size_t limit_;
  std::string head_;
  std::string tail_;
  std::size_t dropped_ = 0;  // from the front of the tail
};

// Without the escape sequences that OpenHands strips: ESC [ one to three numbers m.
[[nodiscard]] std::string strip_ansi_colors(std::string text);

}  // namespace sandkey::agent
