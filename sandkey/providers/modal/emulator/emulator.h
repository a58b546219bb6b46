// What the emulator's host knows of Modal: how to keep a program from reaching the real one.
#pragma once

#include "sandkey/emulator/cloud.h"

namespace sandkey::modal::emulator {

[[nodiscard]] sandkey::emulator::Mask mask();

inline constexpr sandkey::emulator::CloudEntry kEntry{.name = "modal", .mask = mask, .make = nullptr};

}  // namespace sandkey::modal::emulator
