#include "sandkey/sandbox/confinement/seccomp_filter.h"

#include "sandkey/base/error.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asm/ioctls.h>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace sandkey::sandbox {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_RISCV64;
#else
#error "Name the AUDIT_ARCH of this machine, and check which argument of clone() has the flags"
#endif
static_assert(std::endian::native == std::endian::little, "low_half() would read the wrong half");

// Newer than the kernel headers we build with; the numbers are the same everywhere.
constexpr int kOpenTreeAttr = 467;
constexpr int kFchmodat2 = 452;

using Program = std::vector<sock_filter>;

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t refuse(int error) {
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
}

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
// The kernel takes these arguments as 32-bit values and ignores the upper half of the register, so must we.
sock_filter low_half(unsigned argument) {
  return load(offsetof(seccomp_data, args) + sizeof(std::uint64_t) * argument);
}
sock_filter answer(std::uint32_t action) {
  return BPF_STMT(BPF_RET | BPF_K, action);
}
// Skips so many instructions if the loaded value does (not) compare as wanted.
sock_filter skip_unless_equal(std::uint32_t value, std::uint8_t instructions = 1) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, instructions);
}
sock_filter skip_if_equal(std::uint32_t value, std::uint8_t instructions = 1) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, instructions, 0);
}
sock_filter skip_unless_any_bit(std::uint32_t bits, std::uint8_t instructions = 1) {
  return BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, instructions);
}

// Files that run as their owner or group, which in a workspace folder is somebody outside.
constexpr std::uint32_t kSetId = S_ISUID | S_ISGID;
constexpr std::uint32_t kCreates = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);

// One system call and what becomes of it; the program always answers.
struct Rule {
  std::uint32_t number;
  Program program;
};

void refuse_all(std::vector<Rule>& rules, int error, std::initializer_list<int> numbers) {
  for (const int number : numbers) {
    rules.push_back({static_cast<std::uint32_t>(number), {answer(refuse(error))}});
  }
}

std::vector<Rule> make_rules() {
  std::vector<Rule> rules;
  refuse_all(
      rules, EPERM,
      {// Mounting: with a mount namespace of one's own, a large attack surface.
       SYS_mount, SYS_umount2, SYS_move_mount, SYS_open_tree, SYS_fsopen, SYS_fsconfig, SYS_fsmount,
       SYS_fspick, SYS_mount_setattr, SYS_pivot_root, kOpenTreeAttr, SYS_setns,
       // The machine's, not the sandbox's.
       SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_reboot, SYS_swapon,
       SYS_swapoff, SYS_acct, SYS_quotactl, SYS_quotactl_fd, SYS_syslog, SYS_settimeofday, SYS_clock_settime,
       SYS_adjtimex, SYS_clock_adjtime, SYS_vhangup, SYS_nfsservctl, SYS_lookup_dcookie,
#ifdef SYS_kexec_file_load
       SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
       SYS_iopl, SYS_ioperm, SYS_modify_ldt,
#endif
       // Not divided into namespaces, or often the way into the kernel.
       SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_add_key, SYS_request_key, SYS_keyctl,
       SYS_fanotify_init, SYS_open_by_handle_at, SYS_kcmp});
  // What libuv and others probe before they use it, and clone3, whose flags no filter can see: C libraries
  // then take clone.
  refuse_all(rules, ENOSYS, {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_clone3});

  constexpr std::uint32_t kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                        CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  rules.push_back(
      {SYS_clone, {low_half(0), skip_unless_any_bit(kNamespaces), answer(refuse(EPERM)), answer(kAllow)}});
  rules.push_back({SYS_unshare,
                   {low_half(0), skip_unless_any_bit(kNamespaces | CLONE_NEWTIME), answer(refuse(EPERM)),
                    answer(kAllow)}});

  // Typing into, and pasting on, a terminal that may be the user's.
  rules.push_back({SYS_ioctl,
                   {low_half(1), skip_unless_equal(TIOCSTI), answer(refuse(EPERM)),
                    skip_unless_equal(TIOCLINUX), answer(refuse(EPERM)), answer(kAllow)}});

  // The argument that holds the new mode. openat2 keeps its own in memory, where no filter can look.
  const auto refuse_set_id = [&](int number, unsigned mode) {
    rules.push_back({static_cast<std::uint32_t>(number),
                     {low_half(mode), skip_unless_any_bit(kSetId), answer(refuse(EPERM)), answer(kAllow)}});
  };
  // Without these flags there need not be such an argument.
  const auto refuse_set_id_when_creating = [&](int number, unsigned flags, unsigned mode) {
    rules.push_back({static_cast<std::uint32_t>(number),
                     {low_half(flags), skip_unless_any_bit(kCreates, 3), low_half(mode),
                      skip_unless_any_bit(kSetId), answer(refuse(EPERM)), answer(kAllow)}});
  };
  refuse_set_id(SYS_fchmod, 1);
  refuse_set_id(SYS_fchmodat, 2);
  refuse_set_id(kFchmodat2, 2);
  refuse_set_id(SYS_mknodat, 2);
  refuse_set_id_when_creating(SYS_openat, 2, 3);
#ifdef SYS_chmod
  refuse_set_id(SYS_chmod, 1);
  refuse_set_id(SYS_creat, 1);
  refuse_set_id(SYS_mknod, 1);
  refuse_set_id_when_creating(SYS_open, 1, 2);
#endif
  refuse_all(rules, ENOSYS, {SYS_openat2});

  // Debuggers switch address randomisation off; other personalities weaken the protection of memory.
  rules.push_back(
      {SYS_personality,
       {low_half(0), skip_unless_equal(PER_LINUX), answer(kAllow), skip_unless_equal(ADDR_NO_RANDOMIZE),
        answer(kAllow), skip_unless_equal(0xffffffff), answer(kAllow), answer(refuse(EPERM))}});

  // The errors are those of a kernel built without the family or protocol: sudo and PAM want to hear exactly
  // that of audit, and Go of multipath TCP. SCTP, DCCP and their like are loaded on demand, and seldom
  // looked at.
  constexpr std::array<std::uint32_t, 5> kProtocols{IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP,
                                                    IPPROTO_ICMPV6};
  Program socket{low_half(0),
                 skip_unless_equal(AF_UNIX),
                 answer(kAllow),
                 skip_unless_equal(AF_NETLINK, 4),
                 low_half(2),
                 skip_unless_equal(NETLINK_ROUTE),
                 answer(kAllow),
                 answer(refuse(EPROTONOSUPPORT)),
                 skip_if_equal(AF_INET, 2),
                 skip_if_equal(AF_INET6),
                 answer(refuse(EAFNOSUPPORT)),
                 low_half(2)};
  for (const std::uint32_t protocol : kProtocols) {
    socket.push_back(skip_unless_equal(protocol));
    socket.push_back(answer(kAllow));
  }
  socket.push_back(answer(refuse(EPROTONOSUPPORT)));
  rules.push_back({SYS_socket, std::move(socket)});

  std::sort(rules.begin(), rules.end(), [](const Rule& a, const Rule& b) { return a.number < b.number; });
  return rules;
}

// Finds the rule by halving: few comparisons for a call without a rule, which is nearly every call.
Program choose(std::span<const Rule> rules) {
  Program out;
  if (rules.size() <= 2) {
    for (const Rule& rule : rules) {
      out.push_back(skip_unless_equal(rule.number, static_cast<std::uint8_t>(rule.program.size())));
      out.insert(out.end(), rule.program.begin(), rule.program.end());
    }
    out.push_back(answer(kAllow));
    return out;
  }
  const std::size_t half = rules.size() / 2;
  const Program below = choose(rules.first(half));
  const Program above = choose(rules.subspan(half));
  // The distance may be more than a conditional jump can go.
  out.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, rules[half].number, 0, 1));
  out.push_back(BPF_JUMP(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(below.size()), 0, 0));
  out.insert(out.end(), below.begin(), below.end());
  out.insert(out.end(), above.begin(), above.end());
  return out;
}

Program make_program() {
  const std::vector<Rule> rules = make_rules();
  Program out = {load(offsetof(seccomp_data, arch)), skip_unless_equal(kArchitecture, 1)};
  out.push_back(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
  out.push_back(answer(SECCOMP_RET_KILL_PROCESS));
  out.push_back(load(offsetof(seccomp_data, nr)));
#if defined(__x86_64__)
  // x32 has the same architecture, but numbers of its own. -1 is a call that a debugger has taken out.
  out.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 3));
  out.push_back(skip_unless_equal(0xffffffff));
  out.push_back(answer(kAllow));
  out.push_back(answer(SECCOMP_RET_KILL_PROCESS));
#endif
  const Program chosen = choose(rules);
  out.insert(out.end(), chosen.begin(), chosen.end());
  return out;
}

}  // namespace

UniqueFd make_seccomp_filter() {
  const Program program = make_program();
  UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) throw system_error("making the system call filter: a file in memory", errno);
  const std::size_t size = program.size() * sizeof(sock_filter);
  const ssize_t written = ::write(file.get(), program.data(), size);
  if (written != static_cast<ssize_t>(size)) {
    throw system_error("making the system call filter: writing it to memory", written < 0 ? errno : ENOSPC);
  }
  if (::lseek(file.get(), 0, SEEK_SET) != 0) {
    throw system_error("making the system call filter: rewinding it", errno);
  }
  return file;
}

}  // namespace sandkey::sandbox
