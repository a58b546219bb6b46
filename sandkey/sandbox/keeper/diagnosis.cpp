#include "sandkey/sandbox/keeper/diagnosis.h"

#include "sandkey/base/utf8.h"

#include <sys/wait.h>

#include <array>
#include <string>

namespace sandkey::sandbox {
namespace {

struct Known {
  std::string_view said;
  ErrorCode code;
  std::string_view advice;
};

constexpr std::array kKnown{
    Known{"No space left on device", ErrorCode::capacity_unavailable,
          "a limit of this machine is reached: see the sysctls user.max_user_namespaces, "
          "user.max_net_namespaces and "
          "user.max_mnt_namespaces, and free memory"},
    Known{"Cannot allocate memory", ErrorCode::capacity_unavailable, "free memory, or end other sandboxes"},
    Known{"Resource temporarily unavailable", ErrorCode::capacity_unavailable,
          "this user may have no more processes: end some, or raise `ulimit -u`"},
    Known{"Too many open files", ErrorCode::capacity_unavailable,
          "raise fs.file-max, or end other sandboxes"},
    Known{"No permissions to creat", ErrorCode::unsupported,
          "user namespaces are not allowed here: as root set the sysctl kernel.unprivileged_userns_clone=1, "
          "and where "
          "this is inside a container, let that have them"},
    Known{"Creating new namespace failed", ErrorCode::unsupported,
          "this kernel, or the container this runs in, gives no namespaces"},
    Known{"setting up uid map", ErrorCode::unsupported,
          "user namespaces are restricted here: on Ubuntu set the sysctl "
          "kernel.apparmor_restrict_unprivileged_userns=0"
          " or install an AppArmor profile for bwrap"},
    Known{"loopback", ErrorCode::unsupported,
          "user namespaces are restricted here: on Ubuntu set the sysctl "
          "kernel.apparmor_restrict_unprivileged_userns=0"
          " or install an AppArmor profile for bwrap"},
    Known{"max_user_namespaces", ErrorCode::unsupported,
          "/proc/sys must be writable: a container needs it so, too"},
    Known{"mount proc", ErrorCode::unsupported,
          "where this runs in a container, its /proc must not be masked (for Docker: --security-opt "
          "systempaths=unconfined)"},
    Known{"Can't find source path", ErrorCode::invalid_argument,
          "the program, the image or the workspace is not there or may not be read by the sandbox's user"},
    Known{"execvp", ErrorCode::invalid_argument,
          "the program must be a static executable that everybody may read and execute"},
    Known{"Can't create file", ErrorCode::invalid_argument, "the image lacks a folder that is needed"},
    Known{"Can't mkdir", ErrorCode::invalid_argument,
          "the image lacks a folder that is needed, such as that of the working directory"},
    Known{"Unknown option", ErrorCode::unsupported, "install bubblewrap 0.8.0 or newer"},
    Known{"seccomp", ErrorCode::unsupported, "this kernel has no seccomp filters"},
};

std::string one_line(std::string_view text) {
  std::string line = utf8::sanitize(text);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

}  // namespace

Error diagnose_failed_start(std::string_view said, int wait_status) {
  const std::string heard = one_line(said);
  for (const Known& known : kKnown) {
    if (said.find("bwrap: ") == std::string_view::npos || said.find(known.said) == std::string_view::npos) {
      continue;
    }
    return Error(known.code, "starting a sandbox: " + heard + "; " + std::string(known.advice));
  }
  const std::string how =
      WIFSIGNALED(wait_status) ? "was killed by signal " + std::to_string(WTERMSIG(wait_status))
      : WIFEXITED(wait_status) ? "ended with exit code " + std::to_string(WEXITSTATUS(wait_status))
                               : "did not start";
  return Error(ErrorCode::sandbox_dead, "starting a sandbox: it " + how +
                                            (heard.empty() ? " and said nothing" : ", saying: " + heard));
}

}  // namespace sandkey::sandbox
