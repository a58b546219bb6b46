// Random ids, keys and tokens.
#pragma once

#include "sandkey/base/engine.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey::emulator {

// Of these characters, 256 at most, each equally likely.
[[nodiscard]] std::string random_text(const Engine& engine, std::size_t length, std::string_view alphabet);
[[nodiscard]] std::string random_hex(const Engine& engine, std::size_t digits);
// As in 123e4567-e89b-42d3-a456-426614174000.
[[nodiscard]] std::string random_uuid(const Engine& engine);

}  // namespace sandkey::emulator
