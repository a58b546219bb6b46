// Base64 (RFC 4648), the standard alphabet.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

// With padding.
[[nodiscard]] std::string base64_encode(std::string_view bytes);

// Nothing for what is not base64. Padding may be missing; blanks and line breaks are not allowed.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace sandkey
