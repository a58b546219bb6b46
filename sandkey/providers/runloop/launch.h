// What a devbox is launched with: of what a session wants, and of the account's settings.
#pragma once

#include "sandkey/credentials/credential.h"
#include "sandkey/providers/runloop/devboxes.h"
#include "sandkey/runtime/provider.h"

#include <chrono>

namespace sandkey::runloop {

// Memory and disk, in the steps that Runloop sells, come before the setting `size`. The settings are
// `launch_command`, and for one that is kept `idle_action`: what comes of a lease that ran out. Throws
// Error(invalid_argument), saying what there is, for what is none of Runloop's.
[[nodiscard]] LaunchParameters launch_of(const SandboxIntent& intent, const Credential& credential,
                                         std::chrono::seconds lease);

}  // namespace sandkey::runloop
