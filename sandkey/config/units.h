// Sizes and durations as people write them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sandkey {

// "30", "30s", "1500ms", "2m", "1h", "7d"; nothing for anything else, and for less than 1 ms.
[[nodiscard]] std::optional<std::chrono::milliseconds> duration_from_text(std::string_view text);

// "1048576", "64k", "512M", "1.5G", "2GiB": bytes, in powers of 1024; nothing for anything else, and for
// less than one.
[[nodiscard]] std::optional<std::uint64_t> size_from_text(std::string_view text);

}  // namespace sandkey
