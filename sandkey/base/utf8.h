// UTF-8: everything that goes into JSON must be valid, and truncation counts code points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sandkey::utf8 {

inline constexpr char32_t kReplacement = 0xFFFD;

// One decoding step: the code point and how many bytes it took. Malformed input gives kReplacement, `valid`
// false, and the length of the maximal ill-formed prefix (at least 1), as Unicode and Python's "replace" do.
struct Decoded {
  char32_t code_point;
  std::size_t length;
  bool valid;
};

// `text` must not be empty.
[[nodiscard]] Decoded decode(std::string_view text) noexcept;

void append(std::string& out, char32_t code_point);

[[nodiscard]] bool is_valid(std::string_view text) noexcept;

// Replaces each malformed sequence by U+FFFD.
[[nodiscard]] std::string sanitize(std::string_view text);

// Code points in valid UTF-8.
[[nodiscard]] std::size_t length(std::string_view text) noexcept;

// Byte offset of the n-th code point of valid UTF-8 (its size if there are fewer).
[[nodiscard]] std::size_t offset_of(std::string_view text, std::size_t n) noexcept;

// How many bytes at the end are the beginning of a sequence that more input may complete (0 to 3).
[[nodiscard]] std::size_t incomplete_tail(std::string_view text) noexcept;

}  // namespace sandkey::utf8
