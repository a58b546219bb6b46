// When a sandbox is ready, as its probe says.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/providers/modal/emulator/sandbox.h"

namespace sandkey::modal::emulator {

// Tries the probe until it succeeds, and gives the time of that. Throws CallError: failed_precondition
// without a probe, deadline_exceeded, not_found when the sandbox ends.
asio::awaitable<double> become_ready(sandkey::emulator::World& world, SandboxPtr sandbox, Deadline deadline);

}  // namespace sandkey::modal::emulator
