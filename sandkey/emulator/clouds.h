// The clouds this program emulates; a table written by CMake.
#pragma once

#include "sandkey/emulator/cloud.h"

#include <span>

namespace sandkey::emulator {

[[nodiscard]] std::span<const CloudEntry> clouds() noexcept;

}  // namespace sandkey::emulator
