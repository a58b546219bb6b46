// Times as Daytona writes them.
#pragma once

#include "sandkey/emulator/rfc3339.h"

#include <string>

namespace sandkey::daytona::emulator {

// 2026-11-28T02:37:00.120Z: three digits always.
[[nodiscard]] std::string to_iso(sandkey::emulator::Time time);

}  // namespace sandkey::daytona::emulator
