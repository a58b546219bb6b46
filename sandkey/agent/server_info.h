// What /server_info tells.
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <string>

namespace sandkey::agent {

// The shape of OpenHands' own: {"uptime", "idle_time", "resources": {"cpu_percent", "memory", "disk", "io"}}.
// Memory and io are the agent's; disk is the file system of `folder`.
[[nodiscard]] json::object server_info(std::chrono::steady_clock::time_point started,
                                       std::chrono::steady_clock::time_point last_action,
                                       const std::string& folder);

}  // namespace sandkey::agent
