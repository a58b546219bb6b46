// Unpacks what gzip made, in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sandkey {

// Throws Error(invalid_argument) for what is damaged, ends in the middle or is larger than `limit` bytes.
[[nodiscard]] std::string gunzip(std::string_view compressed, std::uint64_t limit);

}  // namespace sandkey
