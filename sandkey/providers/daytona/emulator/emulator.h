// What the emulator's host knows of Daytona: how to keep a program from reaching the real one.
#pragma once

#include "sandkey/emulator/cloud.h"

namespace sandkey::daytona::emulator {

[[nodiscard]] sandkey::emulator::Mask mask();

inline constexpr sandkey::emulator::CloudEntry kEntry{.name = "daytona", .mask = mask, .make = nullptr};

}  // namespace sandkey::daytona::emulator
