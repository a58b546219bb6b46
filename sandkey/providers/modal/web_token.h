// Modal's short-lived tokens (JSON web tokens): until when they are good. They are not verified, which is the
// server's business.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace sandkey::modal {

// The claim `exp`; nothing for what is no such token, or has none.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> expiry_of(std::string_view web_token);

}  // namespace sandkey::modal
