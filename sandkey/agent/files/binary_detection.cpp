#include "sandkey/agent/files/binary_detection.h"

#include "sandkey/agent/files/file_io.h"
#include "sandkey/agent/files/text_encoding.h"
#include "sandkey/base/utf8.h"

#include <algorithm>

namespace sandkey::agent::files {
namespace {

// The probe may end within a character.
bool is_utf8_beginning(std::string_view text) {
  return utf8::is_valid(text.substr(0, text.size() - utf8::incomplete_tail(text)));
}

bool is_utf16_beginning(std::string_view text) {
  const std::optional<Encoding> mark = byte_order_mark(text);
  if (mark != Encoding::utf16_le && mark != Encoding::utf16_be) return false;
  const auto unit_at = [&](std::size_t i) {
    const auto first = static_cast<unsigned char>(text[i]);
    const auto second = static_cast<unsigned char>(text[i + 1]);
    return mark == Encoding::utf16_le ? first | (second << 8U) : second | (first << 8U);
  };
  bool expects_low = false;
  for (std::size_t i = 2; i + 1 < text.size(); i += 2) {
    const int unit = unit_at(i);
    const bool is_low = unit >= 0xDC00 && unit <= 0xDFFF;
    if (unit == 0 || is_low != expects_low) return false;  // a zero: UTF-32 begins with the same mark
    expects_low = unit >= 0xD800 && unit <= 0xDBFF;
  }
  return true;
}

}  // namespace

bool looks_binary(std::string_view beginning) noexcept {
  if (beginning.empty() || is_utf16_beginning(beginning)) return false;
  const auto share = [&](auto&& predicate) {
    return static_cast<double>(std::count_if(beginning.begin(), beginning.end(), predicate)) /
           static_cast<double>(beginning.size());
  };
  const bool has_nul = beginning.find('\0') != std::string_view::npos;
  const bool has_high = share([](char c) { return static_cast<unsigned char>(c) >= 0x80; }) > 0;
  if (has_high && !has_nul && is_utf8_beginning(beginning)) return false;
  const double unprintable = share([](char c) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_layout = c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == '\b';
    return !is_layout && (byte < 32 || byte > 126);
  });
  const double low = share([](char c) { return static_cast<unsigned char>(c) < 127; });
  if ((unprintable > 0.3 && low < 0.05) || (unprintable > 0.8 && low > 0.8)) return true;
  return has_nul || beginning.find('\xFF') != std::string_view::npos;
}

bool is_binary_file(const std::string& path) {
  if (path.ends_with(".pyc")) return true;
  const FileBytes probe = read_bytes(path, kBinaryProbeBytes);
  return looks_binary(std::string_view(probe.bytes).substr(0, kBinaryProbeBytes));
}

}  // namespace sandkey::agent::files
