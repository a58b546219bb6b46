// Daytona, emulated: its control plane (REST), and the traffic into its sandboxes.
#pragma once

#include "sandkey/emulator/cloud.h"

#include <memory>

namespace sandkey::daytona::emulator {

[[nodiscard]] sandkey::emulator::Mask mask();
[[nodiscard]] std::unique_ptr<sandkey::emulator::Cloud> make(sandkey::emulator::World& world);

inline constexpr sandkey::emulator::CloudEntry kEntry{.name = "daytona", .mask = mask, .make = make};

}  // namespace sandkey::daytona::emulator
