#include "sandkey/runtime/provider.h"

namespace sandkey {

std::string_view to_string(SandboxState state) noexcept {
  switch (state) {
    case SandboxState::starting:
      return "starting";
    case SandboxState::running:
      return "running";
    case SandboxState::paused:
      return "paused";
    case SandboxState::ended:
      return "ended";
  }
  return "ended";
}

}  // namespace sandkey
