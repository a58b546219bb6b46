// Percent-encoding, as URLs have it (RFC 3986).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

// Everything but RFC 3986's unreserved characters becomes %XX: right for one path segment, a query name or
// value.
[[nodiscard]] std::string percent_encode(std::string_view text);

// `plus_is_space` for query strings. Nothing if an escape is malformed.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

}  // namespace sandkey
