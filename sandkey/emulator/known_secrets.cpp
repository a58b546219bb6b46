#include "sandkey/emulator/known_secrets.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace sandkey::emulator {
namespace {

constexpr std::size_t kShortestWord = 12;

bool in_word(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

// Calls `visit` with each run of characters that are in words, or not, in turn.
template <class Visit>
void split(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const bool word = in_word(text.front());
    const auto end = std::ranges::find_if(text, [word](char c) { return in_word(c) != word; });
    const auto size = static_cast<std::size_t>(end - text.begin());
    visit(text.substr(0, size), word);
    text.remove_prefix(size);
  }
}

int base64_digit(char c) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// Whether this is "user:" without a password, in base64: it names somebody and proves nothing.
bool has_no_password(std::string_view encoded) noexcept {
  std::uint32_t bits = 0;
  int count = 0;
  char last = 0;
  bool colon_before = false;
  for (const char c : encoded) {
    const int digit = base64_digit(c);
    if (digit < 0) break;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    if (last == ':') colon_before = true;
    last = static_cast<char>(bits >> count & 0xFF);
  }
  return last == ':' && !colon_before;
}

}  // namespace

void KnownSecrets::add(std::string_view secret, const std::string& label) {
  split(secret, [&](std::string_view word, bool is_word) {
    if (is_word && word.size() >= kShortestWord) words_[std::string(word)] = label;
  });
}

std::string KnownSecrets::mask(std::string_view text) const {
  std::string masked;
  masked.reserve(text.size());
  split(text, [&](std::string_view piece, bool is_word) {
    const auto found = is_word && piece.size() >= kShortestWord ? words_.find(piece) : words_.end();
    if (found == words_.end()) {
      masked += piece;
    } else {
      masked.append("[").append(found->second).append("]");
    }
  });
  return masked;
}

std::string KnownSecrets::mask_header(std::string_view name, std::string_view value) const {
  std::string masked = mask(value);
  if (!names_credential(name) || value.empty() || masked != value) return masked;
  std::string scheme;
  for (const std::string_view each : {"Bearer ", "Basic ", "bearer ", "basic "}) {
    if (!value.starts_with(each)) continue;
    scheme = each;
    value.remove_prefix(each.size());
  }
  if ((scheme == "Basic " || scheme == "basic ") && has_no_password(value)) return masked;
  return scheme + "[not an account]";
}

bool names_credential(std::string_view header) noexcept {
  return std::ranges::any_of(
      std::array<std::string_view, 5>{"key", "token", "authorization", "secret", "cookie"},
      [&](std::string_view part) { return header.find(part) != std::string_view::npos; });
}

}  // namespace sandkey::emulator
