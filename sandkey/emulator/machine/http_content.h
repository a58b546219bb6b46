// What HTTP says of a file: its type, a part of it, when it changed, how it is encoded.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::machine {

// By the name's extension, else by its first bytes.
[[nodiscard]] std::string content_type_of(std::string_view path, std::string_view beginning);

// The one range of a Range header, within a file of this size. `bytes` is nothing for a header that is to be
// ignored: none, not in bytes, malformed, or of several ranges.
struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t length = 0;
  bool operator==(const ByteRange&) const = default;
};
struct RangeChoice {
  std::optional<ByteRange> bytes;
  bool unsatisfiable = false;  // then the answer is 416
};
[[nodiscard]] RangeChoice choose_range(std::string_view header, std::uint64_t size);

// "Sun, 06 Nov 1994 08:49:37 GMT"; parse gives nothing for anything else.
[[nodiscard]] std::string http_date(std::chrono::sys_seconds time);
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_http_date(std::string_view text);

enum class Encoding { identity, gzip };

// What an Accept-Encoding header likes best of the two; nothing if it takes neither.
[[nodiscard]] std::optional<Encoding> choose_encoding(std::string_view accept);

}  // namespace sandkey::machine
