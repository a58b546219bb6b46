// Which system calls a sandboxed process may not make.
#pragma once

#include "sandkey/base/unique_fd.h"

namespace sandkey::sandbox {

// The filter as bubblewrap takes it: a memory file with BPF instructions, to be read from its beginning.
// Refused calls fail (EPERM, or ENOSYS and the like where programs know how to do without); calls of another
// architecture, such as 32-bit ones, end the process. Takes microseconds.
[[nodiscard]] UniqueFd make_seccomp_filter();

}  // namespace sandkey::sandbox
