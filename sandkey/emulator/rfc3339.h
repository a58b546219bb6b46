// Times as clouds write and read them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::emulator {

using Time = std::chrono::system_clock::time_point;

// 2026-11-28T02:37:00.123456789Z: as many digits as there are, none if there are none.
[[nodiscard]] std::string to_rfc3339(Time time);
// With any offset; nothing if it is no time.
[[nodiscard]] std::optional<Time> parse_rfc3339(std::string_view text);

}  // namespace sandkey::emulator
