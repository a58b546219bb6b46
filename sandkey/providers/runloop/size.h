// How large a devbox is to be, in the steps that Runloop sells.
#pragma once

#include "sandkey/providers/runloop/devboxes.h"

#include <cstdint>
#include <optional>

namespace sandkey::runloop {

// Sets the custom size for these bytes, where any are given. Throws Error(invalid_argument), saying what
// there is, for what is none of Runloop's sizes.
void set_size(std::optional<std::uint64_t> memory, std::optional<std::uint64_t> disk,
              LaunchParameters& launch);

}  // namespace sandkey::runloop
