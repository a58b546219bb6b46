// The bubblewrap process of a sandbox.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/confinement/control_group.h"
#include "sandkey/sandbox/keeper/identity.h"
#include "sandkey/sandbox/sandbox.h"

#include <string>

namespace sandkey::sandbox {

struct Container {
  pid_t pid = -1;
  UniqueFd pidfd;
  // bubblewrap writes here which process is process 1 inside, which waits until a byte is written to `block`.
  UniqueFd info;
  UniqueFd block;
  UniqueFd ready;   // a byte comes when the program is ready
  UniqueFd output;  // both streams of bubblewrap and of the program
};

// `listener` becomes descriptor 3 of the program. In the group from its first moment. Dies with us. Throws
// Error.
[[nodiscard]] Container start_container(const Spec& spec, const std::string& bubblewrap,
                                        const Identity& identity, ControlGroup& group, UniqueFd listener);

// Limits the processes of a sandbox that has just been made, counted for it alone. False if this kernel
// cannot.
[[nodiscard]] bool limit_processes(pid_t init, const Identity& identity, unsigned processes);

// Kills all processes that are children of ours and waits for them.
void end_children() noexcept;

}  // namespace sandkey::sandbox
