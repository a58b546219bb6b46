#include "sandkey/base/utf8.h"

#include <algorithm>

namespace sandkey::utf8 {
namespace {

constexpr unsigned char byte(char c) noexcept {
  return static_cast<unsigned char>(c);
}
constexpr bool is_continuation(char c) noexcept {
  return (byte(c) & 0xC0U) == 0x80U;
}

// Expected length of a sequence by its first byte, and the range allowed for its second (Unicode table 3-7).
struct Lead {
  std::size_t length;
  unsigned char low, high;
};

constexpr Lead lead(unsigned char b) noexcept {
  if (b < 0x80) return {1, 0, 0};
  if (b >= 0xC2 && b <= 0xDF) return {2, 0x80, 0xBF};
  if (b == 0xE0) return {3, 0xA0, 0xBF};
  if (b == 0xED) return {3, 0x80, 0x9F};
  if (b >= 0xE1 && b <= 0xEF) return {3, 0x80, 0xBF};
  if (b == 0xF0) return {4, 0x90, 0xBF};
  if (b >= 0xF1 && b <= 0xF3) return {4, 0x80, 0xBF};
  if (b == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Decoded decode(std::string_view text) noexcept {
  const unsigned char first = byte(text[0]);
  const Lead info = lead(first);
  if (info.length == 1) return {first, 1, true};
  if (info.length == 0) return {kReplacement, 1, false};
  if (text.size() < 2 || byte(text[1]) < info.low || byte(text[1]) > info.high)
    return {kReplacement, 1, false};
  char32_t code_point = first & (0x7FU >> info.length);
  for (std::size_t i = 1; i < info.length; ++i) {
    if (i >= text.size() || !is_continuation(text[i])) return {kReplacement, i, false};
    code_point = (code_point << 6U) | (byte(text[i]) & 0x3FU);
  }
  return {code_point, info.length, true};
}

void append(std::string& out, char32_t c) {
  const auto put = [&out](char32_t bits) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(bits)));
  };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

bool is_valid(std::string_view text) noexcept {
  while (!text.empty()) {
    const Decoded step = decode(text);
    if (!step.valid) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

std::string sanitize(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded step = decode(text);
    if (step.valid) {
      out.append(text.substr(0, step.length));
    } else {
      append(out, kReplacement);
    }
    text.remove_prefix(step.length);
  }
  return out;
}

std::size_t length(std::string_view text) noexcept {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

std::size_t offset_of(std::string_view text, std::size_t n) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_continuation(text[i])) continue;
    if (n == 0) return i;
    --n;
  }
  return text.size();
}

std::size_t incomplete_tail(std::string_view text) noexcept {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const char c = text[text.size() - back];
    if (is_continuation(c)) continue;
    const Lead info = lead(byte(c));
    if (info.length <= back) return 0;
    // The bytes there are must themselves be a possible beginning.
    if (back >= 2) {
      const unsigned char second = byte(text[text.size() - back + 1]);
      if (second < info.low || second > info.high) return 0;
    }
    return back;
  }
  return 0;
}

}  // namespace sandkey::utf8
