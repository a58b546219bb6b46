// Whether a text can be a part of a credential at all.
#pragma once

#include "sandkey/base/secret.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey {

// Longer ones do not fit in a request's header.
inline constexpr std::size_t kMaxCredentialPart = 8192;

struct CheckedPart {
  Secret value;  // without blanks and line breaks around it; empty: blank, which counts as not set
  std::string problem = {};  // why it cannot be one: "has a blank within"; else empty
  bool trimmed = false;
  bool quoted = false;  // within quotes, as an env file read by hand leaves them
};
[[nodiscard]] CheckedPart check_part(std::string_view text);

}  // namespace sandkey
