// E2B, emulated: its control plane (REST, v1 and v2), and the traffic into its sandboxes.
#pragma once

#include "sandkey/emulator/cloud.h"

#include <memory>

namespace sandkey::e2b::emulator {

[[nodiscard]] sandkey::emulator::Mask mask();
[[nodiscard]] std::unique_ptr<sandkey::emulator::Cloud> make(sandkey::emulator::World& world);

inline constexpr sandkey::emulator::CloudEntry kEntry{.name = "e2b", .mask = mask, .make = make};

}  // namespace sandkey::e2b::emulator
