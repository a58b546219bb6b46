#include "sandkey/sandbox/keeper/identity.h"

#include "sandkey/base/error.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace sandkey::sandbox {
namespace {

// systemd's table of user numbers has this range as unused by anybody.
constexpr std::uint32_t kFirstUid = 0x70000000;
constexpr std::uint32_t kUidMask = 0x00ffffff;

constexpr std::size_t kStackBytes = 64 * 1024;

struct Work {
  const Identity* identity;
  const std::function<int()>* work;
  volatile int error;
};

int run_work(void* argument) {
  Work& work = *static_cast<Work*>(argument);
  const int error = become(*work.identity);
  work.error = error != 0 ? error : (*work.work)();
  ::_exit(0);
}

}  // namespace

Identity Identity::choose() {
  if (::geteuid() != 0) return {.uid = ::geteuid(), .gid = ::getegid(), .differs_from_ours = false};
  std::uint32_t bits = 0;
  if (::getrandom(&bits, sizeof bits, 0) != sizeof bits) throw system_error("reading random bits", errno);
  const std::uint32_t number = kFirstUid + (bits & kUidMask);
  return {.uid = number, .gid = number, .differs_from_ours = true};
}

bool may_mount() noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  return ::syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1U << CAP_SYS_ADMIN)) != 0;
}

int become(const Identity& identity) noexcept {
  if (!identity.differs_from_ours) return 0;
  // The C library's own functions would tell this to all threads of a process that is not ours alone.
  if (::syscall(SYS_setgroups, 0, nullptr) != 0 ||
      ::syscall(SYS_setresgid, identity.gid, identity.gid, identity.gid) != 0 ||
      ::syscall(SYS_setresuid, identity.uid, identity.uid, identity.uid) != 0) {
    return errno;
  }
  return 0;
}

int run_as(const Identity& identity, const std::function<int()>& work) {
  const auto stack = std::make_unique<std::byte[]>(kStackBytes);
  Work arguments{.identity = &identity, .work = &work, .error = 0};
  const pid_t pid = ::clone(run_work, stack.get() + kStackBytes,
                            CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &arguments);
  if (pid < 0) return errno;
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return arguments.error;
}

}  // namespace sandkey::sandbox
