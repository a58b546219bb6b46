// What GET /metrics tells.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/emulator/machine/usage.h"

#include <chrono>

namespace sandkey::e2b_envd {

[[nodiscard]] json::object metrics_of(const machine::Usage& usage, std::chrono::system_clock::time_point now);

}  // namespace sandkey::e2b_envd
