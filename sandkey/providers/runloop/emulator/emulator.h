// Runloop, emulated: its REST API, and the traffic through its devboxes' tunnels.
#pragma once

#include "sandkey/emulator/cloud.h"

#include <memory>

namespace sandkey::runloop::emulator {

[[nodiscard]] sandkey::emulator::Mask mask();
[[nodiscard]] std::unique_ptr<sandkey::emulator::Cloud> make(sandkey::emulator::World& world);

inline constexpr sandkey::emulator::CloudEntry kEntry{.name = "runloop", .mask = mask, .make = make};

}  // namespace sandkey::runloop::emulator
