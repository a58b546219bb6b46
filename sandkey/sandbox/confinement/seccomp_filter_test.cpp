#include "sandkey/sandbox/confinement/seccomp_filter.h"

#include <gtest/gtest.h>

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asm/ioctls.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace sandkey::sandbox {
namespace {

std::vector<sock_filter> read_program() {
  const UniqueFd file = make_seccomp_filter();
  std::vector<sock_filter> program(4096);
  const ssize_t size = ::read(file.get(), program.data(), program.size() * sizeof(sock_filter));
  program.resize(size < 0 ? 0 : static_cast<std::size_t>(size) / sizeof(sock_filter));
  return program;
}

// The wait status of a child that does this under the filter. Its complaints reach our standard error.
int under_filter(const std::function<int()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::vector<sock_filter> program = read_program();
    sock_fprog loaded{.len = static_cast<unsigned short>(program.size()), .filter = program.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &loaded) != 0) {
      std::perror("loading the filter");
      ::_exit(99);
    }
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

// 0, or the errno a system call failed with.
template <typename... Arguments>
int error_of(long number, Arguments... arguments) {
  return ::syscall(number, arguments...) < 0 ? errno : 0;
}

// How many of these differ from what is expected.
struct Expected {
  const char* what;
  int error;
  std::function<int()> call;
};
int differences(const std::vector<Expected>& all) {
  int count = 0;
  for (const Expected& one : all) {
    const int error = one.call();
    if (error == one.error) continue;
    std::fprintf(stderr, "%s: %s instead of %s\n", one.what, std::strerror(error), std::strerror(one.error));
    ++count;
  }
  return count;
}

int cloned_with(unsigned long flags) {
  const long pid = ::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) ::_exit(0);
  if (pid < 0) return errno;
  ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return 0;
}

// Arguments are chosen so that the call is harmless should it come through.
TEST(SeccompFilter, RefusesWhatReachesTheMachine) {
  const std::vector<Expected> calls = {
      {"mount", EPERM, [] { return error_of(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr); }},
      {"umount2", EPERM, [] { return error_of(SYS_umount2, nullptr, 0); }},
      {"fsopen", EPERM, [] { return error_of(SYS_fsopen, nullptr, 0); }},
      {"open_tree", EPERM, [] { return error_of(SYS_open_tree, -1, nullptr, 0); }},
      {"move_mount", EPERM, [] { return error_of(SYS_move_mount, -1, nullptr, -1, nullptr, 0); }},
      {"mount_setattr", EPERM, [] { return error_of(SYS_mount_setattr, -1, nullptr, 0, nullptr, 0); }},
      {"pivot_root", EPERM, [] { return error_of(SYS_pivot_root, nullptr, nullptr); }},
      {"setns", EPERM, [] { return error_of(SYS_setns, -1, 0); }},
      {"kexec_load", EPERM, [] { return error_of(SYS_kexec_load, 0, 0, nullptr, ~0UL); }},
      {"finit_module", EPERM, [] { return error_of(SYS_finit_module, -1, nullptr, 0); }},
      {"delete_module", EPERM, [] { return error_of(SYS_delete_module, nullptr, 0); }},
      {"reboot", EPERM, [] { return error_of(SYS_reboot, 0, 0, 0, nullptr); }},
      {"swapon", EPERM, [] { return error_of(SYS_swapon, nullptr, 0); }},
      {"acct", EPERM, [] { return error_of(SYS_acct, "/no/such/file"); }},
      {"quotactl", EPERM, [] { return error_of(SYS_quotactl, -1, nullptr, 0, nullptr); }},
      {"syslog", EPERM, [] { return error_of(SYS_syslog, -1, nullptr, 0); }},
      {"settimeofday", EPERM, [] { return error_of(SYS_settimeofday, nullptr, nullptr); }},
      {"clock_settime", EPERM, [] { return error_of(SYS_clock_settime, -1, nullptr); }},
      {"adjtimex", EPERM, [] { return error_of(SYS_adjtimex, nullptr); }},
      {"bpf", EPERM, [] { return error_of(SYS_bpf, -1, nullptr, 0); }},
      {"perf_event_open", EPERM, [] { return error_of(SYS_perf_event_open, nullptr, 0, 0, -1, 0); }},
      {"userfaultfd", EPERM, [] { return error_of(SYS_userfaultfd, -1); }},
      {"add_key", EPERM, [] { return error_of(SYS_add_key, nullptr, nullptr, nullptr, 0, 0); }},
      {"keyctl", EPERM, [] { return error_of(SYS_keyctl, -1); }},
      {"fanotify_init", EPERM, [] { return error_of(SYS_fanotify_init, ~0U, 0); }},
      {"open_by_handle_at", EPERM, [] { return error_of(SYS_open_by_handle_at, -1, nullptr, 0); }},
      {"io_uring_setup", ENOSYS, [] { return error_of(SYS_io_uring_setup, 0, nullptr); }},
      {"clone3", ENOSYS, [] { return error_of(SYS_clone3, nullptr, 0); }},
#ifdef SYS_iopl
      {"iopl", EPERM, [] { return error_of(SYS_iopl, 0); }},
#endif
  };
  const int status = under_filter([&] { return differences(calls); });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(SeccompFilter, RefusesNewNamespacesButNotOtherClones) {
  std::vector<Expected> calls = {
      {"clone: fork", 0, [] { return cloned_with(0); }},
      {"clone: sharing files", 0, [] { return cloned_with(CLONE_FILES | CLONE_FS); }},
      {"unshare: files", 0, [] { return error_of(SYS_unshare, CLONE_FILES | CLONE_FS); }},
      {"unshare: time", EPERM, [] { return error_of(SYS_unshare, CLONE_NEWTIME); }},
      {"unshare: upper half set", EPERM, [] { return error_of(SYS_unshare, CLONE_NEWUTS | 1UL << 40U); }}};
  for (const unsigned long flag :
       {0UL | CLONE_NEWNS, 0UL | CLONE_NEWCGROUP, 0UL | CLONE_NEWUTS, 0UL | CLONE_NEWIPC, 0UL | CLONE_NEWUSER,
        0UL | CLONE_NEWPID, 0UL | CLONE_NEWNET}) {
    calls.push_back({"clone: a namespace", EPERM, [flag] { return cloned_with(flag); }});
    calls.push_back({"unshare: a namespace", EPERM, [flag] { return error_of(SYS_unshare, flag); }});
  }
  EXPECT_EQ(under_filter([&] { return differences(calls); }), 0);
}

TEST(SeccompFilter, LooksAtTheArgumentAsTheKernelDoes) {
  constexpr unsigned long kUpper = 1UL << 32U;
  char x = 'x';
  int available = 0;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const std::vector<Expected> calls = {
      {"TIOCSTI", EPERM, [&] { return error_of(SYS_ioctl, 0, TIOCSTI, &x); }},
      {"TIOCSTI, upper half set", EPERM, [&] { return error_of(SYS_ioctl, 0, TIOCSTI | kUpper, &x); }},
      {"TIOCLINUX", EPERM, [&] { return error_of(SYS_ioctl, 0, TIOCLINUX, &x); }},
      {"another ioctl", 0, [&] { return error_of(SYS_ioctl, pipe_ends[0], FIONREAD, &available); }},
      {"personality: asked", 0, [] { return error_of(SYS_personality, 0xffffffffUL); }},
      {"personality: for debuggers", 0, [] { return error_of(SYS_personality, ADDR_NO_RANDOMIZE); }},
      {"personality: back", 0, [] { return error_of(SYS_personality, PER_LINUX); }},
      {"personality: executable data", EPERM, [] { return error_of(SYS_personality, READ_IMPLIES_EXEC); }},
      {"personality: both", EPERM,
       [] { return error_of(SYS_personality, READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE); }},
      {"unix", 0, [] { return error_of(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }},
      {"IPv4", 0, [] { return error_of(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"IPv6", 0, [] { return error_of(SYS_socket, AF_INET6, SOCK_DGRAM, 0); }},
      {"TCP", 0, [] { return error_of(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_TCP); }},
      {"UDP", 0, [] { return error_of(SYS_socket, AF_INET6, SOCK_DGRAM, IPPROTO_UDP); }},
      {"multipath TCP", EPROTONOSUPPORT,
       [] { return error_of(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_MPTCP); }},
      {"SCTP", EPROTONOSUPPORT, [] { return error_of(SYS_socket, AF_INET6, SOCK_STREAM, IPPROTO_SCTP); }},
      {"SCTP, upper half set", EPROTONOSUPPORT,
       [] { return error_of(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_SCTP | kUpper); }},
      {"UDP-Lite", EPROTONOSUPPORT,
       [] { return error_of(SYS_socket, AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE); }},
      {"routes", 0, [] { return error_of(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); }},
      {"netfilter", EPROTONOSUPPORT,
       [] { return error_of(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); }},
      {"packets", EAFNOSUPPORT, [] { return error_of(SYS_socket, AF_PACKET, SOCK_RAW, 0); }},
      {"packets, upper half set", EAFNOSUPPORT,
       [] { return error_of(SYS_socket, AF_PACKET | kUpper, SOCK_RAW, 0); }},
      {"vsock", EAFNOSUPPORT, [] { return error_of(SYS_socket, AF_VSOCK, SOCK_STREAM, 0); }},
      {"alg", EAFNOSUPPORT, [] { return error_of(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0); }}};
  EXPECT_EQ(under_filter([&] { return differences(calls); }), 0);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

#if defined(__x86_64__)
TEST(SeccompFilter, EndsCallersOfOtherArchitectures) {
  const int x32 = under_filter([] {
    ::syscall(0x40000000 | SYS_getpid);
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(x32) && WTERMSIG(x32) == SIGSYS);
  // A kernel without 32-bit support has no such interrupt.
  const int i386 = under_filter([] {
    long result = 20;  // getpid
    asm volatile("int $0x80" : "+a"(result) : : "memory");
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(i386) && (WTERMSIG(i386) == SIGSYS || WTERMSIG(i386) == SIGSEGV));
}
#endif

TEST(SeccompFilter, LeavesOrdinaryProgramsAlone) {
  EXPECT_EQ(under_filter([] {
              bool ran = false;
              std::thread([&ran] { ran = true; }).join();
              return ran ? 0 : 1;
            }),
            0);
  EXPECT_EQ(under_filter([] { return std::system("seq 1000 | sort -n | tail -n 1 | grep -qx 1000"); }), 0);
  EXPECT_EQ(under_filter([] {
              const pid_t pid = ::fork();
              if (pid == 0) {
                ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
                ::raise(SIGSTOP);
                ::_exit(0);
              }
              int status = 0;
              ::waitpid(pid, &status, 0);
              const bool traced = WIFSTOPPED(status) && ::ptrace(PTRACE_CONT, pid, nullptr, nullptr) == 0;
              ::waitpid(pid, &status, 0);
              return traced && status == 0 ? 0 : 1;
            }),
            0);
}

TEST(SeccompFilter, LeavesPythonAndGitAlone) {
  if (std::system("python3 -c '' >/dev/null 2>&1 && git --version >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "python3 or git is missing";
  }
  EXPECT_EQ(
      under_filter([] {
        return WEXITSTATUS(std::system(
            "python3 -c 'import asyncio, subprocess, threading, socket, tempfile, multiprocessing as m\n"
            "asyncio.run(asyncio.sleep(0)); t = threading.Thread(target=print); t.start(); t.join()\n"
            "assert subprocess.check_output([\"echo\", \"x\"]) == b\"x\\n\"\n"
            "p = m.Process(target=int); p.start(); p.join(); assert p.exitcode == 0' >/dev/null"));
      }),
      0);
  EXPECT_EQ(under_filter([] {
              return WEXITSTATUS(
                  std::system("d=$(mktemp -d) && cd $d && git init -q . && echo x > f && git add f && "
                              "git -c user.name=a -c user.email=a@b commit -qm x && git gc -q && rm -rf $d"));
            }),
            0);
}

}  // namespace
}  // namespace sandkey::sandbox
