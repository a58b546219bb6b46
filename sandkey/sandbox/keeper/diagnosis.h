// What went wrong, told from what bubblewrap and the program said.
#pragma once

#include "sandkey/base/error.h"

#include <string_view>

namespace sandkey::sandbox {

// `said` is the end of what came on the error stream. `wait_status` is bubblewrap's.
[[nodiscard]] Error diagnose_failed_start(std::string_view said, int wait_status);

}  // namespace sandkey::sandbox
