// Modal, emulated: its control plane and the command router, both by gRPC, and the tunnels into its
// sandboxes.
#pragma once

#include "sandkey/emulator/cloud.h"

#include <memory>

namespace sandkey::modal::emulator {

[[nodiscard]] sandkey::emulator::Mask mask();
[[nodiscard]] std::unique_ptr<sandkey::emulator::Cloud> make(sandkey::emulator::World& world);

inline constexpr sandkey::emulator::CloudEntry kEntry{.name = "modal", .mask = mask, .make = make};

}  // namespace sandkey::modal::emulator
