// What the emulator's host knows of Runloop: how to keep a program from reaching the real one.
#pragma once

#include "sandkey/emulator/cloud.h"

namespace sandkey::runloop::emulator {

[[nodiscard]] sandkey::emulator::Mask mask();

inline constexpr sandkey::emulator::CloudEntry kEntry{.name = "runloop", .mask = mask, .make = nullptr};

}  // namespace sandkey::runloop::emulator
