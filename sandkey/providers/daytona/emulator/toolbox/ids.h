// Names: those that are made up, and those in subprotocols.
#pragma once

#include "sandkey/base/engine.h"

#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

// 32 digits.
[[nodiscard]] std::string random_hex(Engine& engine);
// "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"
[[nodiscard]] std::string random_uuid(Engine& engine);

// Whether a subprotocol is of the form NAME~VALUE; names compare without case.
[[nodiscard]] bool is_token(std::string_view subprotocol, std::string_view name) noexcept;

// Nothing that is not base64url without padding (RFC 4648, 5) gives anything.
[[nodiscard]] std::string base64url_decode(std::string_view text);

}  // namespace sandkey::daytona_toolbox
