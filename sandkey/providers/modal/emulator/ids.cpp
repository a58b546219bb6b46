#include "sandkey/providers/modal/emulator/ids.h"

#include "sandkey/emulator/random_text.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kBase62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kBase32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";  // Crockford's
constexpr std::size_t kShort = 22;
constexpr std::size_t kUlidTime = 10;
constexpr std::size_t kUlidRandom = 16;
constexpr std::size_t kLongestName = 64;
constexpr std::size_t kLongestTag = 63;

std::string make_ulid(const Engine& engine, emu::Time now) {
  auto milliseconds = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count());
  std::string ulid(kUlidTime, '0');
  for (std::size_t i = kUlidTime; i-- > 0; milliseconds >>= 5) ulid[i] = kBase32[milliseconds & 31];
  return ulid + emu::random_text(engine, kUlidRandom, kBase32);
}

bool is_plain(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char c) {
    return kBase62.find(c) != std::string_view::npos || c == '-' || c == '_' || c == '.';
  });
}

bool is_app_id(std::string_view text) noexcept {
  return text.size() == 3 + kShort && text.starts_with("ap-") &&
         text.find_first_not_of(kBase62, 3) == std::string_view::npos;
}

}  // namespace

std::string make_id(const Engine& engine, std::string_view prefix) {
  return std::string(prefix) + "-" + emu::random_text(engine, kShort, kBase62);
}

std::string make_sandbox_id(const Engine& engine, Backend backend, emu::Time now) {
  return backend == Backend::v1 ? make_id(engine, "sb") : "sb-" + make_ulid(engine, now);
}

std::string make_task_id(const Engine& engine, Backend backend, emu::Time now) {
  return backend == Backend::v1 ? make_id(engine, "ta") : "ta-" + make_ulid(engine, now) + "V";
}

bool is_name(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kLongestName && is_plain(text) && !is_app_id(text);
}

bool is_tag_name(std::string_view text) noexcept {
  return !text.empty() && is_tag_value(text);
}

bool is_tag_value(std::string_view text) noexcept {
  return text.size() <= kLongestTag && is_plain(text);
}

}  // namespace sandkey::modal::emulator
