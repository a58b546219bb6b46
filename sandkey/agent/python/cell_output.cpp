#include "sandkey/agent/python/cell_output.h"

#include "sandkey/base/utf8.h"

#include <algorithm>

namespace sandkey::agent {
namespace {

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

// The length of the colour sequence that `text` begins with; 0 if it does not.
std::size_t color_sequence(std::string_view text) {
  if (!text.starts_with("\x1B[")) return 0;
  std::size_t i = 2;
  for (int number = 0; number < 3; ++number) {
    const std::size_t first = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    if (i == first || i == text.size()) return 0;
    if (text[i] == 'm') return i + 1;
    if (text[i] != ';') return 0;
    ++i;
  }
  return 0;
}

}  // namespace

void CellOutput::append(std::string_view bytes) {
  const std::size_t half = limit_ / 2;
  if (head_.size() < half) {
    const std::size_t n = std::min(half - head_.size(), bytes.size());
    head_.append(bytes.substr(0, n));
    bytes.remove_prefix(n);
  }
  if (bytes.size() > half) {
    dropped_ += tail_.size() + bytes.size() - half;
    tail_.clear();
    bytes.remove_prefix(bytes.size() - half);
  }
  // Cut back only when twice full, so that each byte is moved once.
  if (tail_.size() + bytes.size() > 2 * half) {
    const std::size_t surplus = tail_.size() + bytes.size() - half;
    tail_.erase(0, surplus);
    dropped_ += surplus;
  }
  tail_.append(bytes);
}

std::string CellOutput::take_text() {
  const std::size_t half = limit_ / 2;
  std::string text = std::move(head_);
  if (tail_.size() > half) {
    dropped_ += tail_.size() - half;
    tail_.erase(0, tail_.size() - half);
  }
  if (dropped_ > 0) {
    // Not through the middle of a character.
    const std::size_t begun = utf8::incomplete_tail(text);
    text.resize(text.size() - begun);
    std::size_t rest = 0;
    while (rest < tail_.size() && rest < 3 && is_continuation(tail_[rest])) ++rest;
    tail_.erase(0, rest);
    text += "\n[... " + std::to_string(dropped_ + begun + rest) + " bytes of output were dropped here ...]\n";
  }
  text += tail_;
  head_ = {};
  tail_ = {};
  dropped_ = 0;
  if (!utf8::is_valid(text)) text = utf8::sanitize(text);
  return strip_ansi_colors(std::move(text));
}

std::string strip_ansi_colors(std::string text) {
  std::size_t from = text.find('\x1B');
  if (from == std::string::npos) return text;
  std::size_t to = from;
  while (from < text.size()) {
    if (const std::size_t length = color_sequence(std::string_view(text).substr(from)); length > 0) {
      from += length;
    } else {
      text[to++] = text[from++];
    }
  }
  text.resize(to);
  return text;
}

}  // namespace sandkey::agent
