#include "sandkey/sandbox/keeper/container.h"

#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"
#include "sandkey/sandbox/confinement/seccomp_filter.h"
#include "sandkey/sandbox/keeper/bubblewrap_arguments.h"
#include "sandkey/sandbox/keeper/mounts.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <new>
#include <vector>

namespace sandkey::sandbox {
namespace {

constexpr rlim_t kOpenFiles = 1024;  // of a program, until it asks for more

// Where the child says why it could not go on: in memory that it shares with us, be it a copy of us or not.
struct Failure {
  int error = 0;
  const char* step = "";
  std::size_t mount = 0;
};
class SharedFailure {
 public:
  SharedFailure() {
    void* memory =
        ::mmap(nullptr, sizeof(Failure), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw system_error("starting a sandbox", errno);
    failure_ = new (memory) Failure();
  }
  ~SharedFailure() { ::munmap(failure_, sizeof(Failure)); }
  SharedFailure(const SharedFailure&) = delete;
  SharedFailure& operator=(const SharedFailure&) = delete;
  [[nodiscard]] volatile Failure* get() const noexcept { return failure_; }

 private:
  Failure* failure_;
};

// All that the child needs, made ready before it exists: it only makes system calls.
struct Launch {
  const Identity* identity;
  Mounts* mounts;
  const ControlGroup::Entrances* entrances;
  pid_t parent;
  int program;
  char* const* argv;
  const int* sources;
  const int* targets;
  std::size_t descriptors;
  volatile Failure* failure;
};

[[noreturn]] void fail(Launch& launch, const char* step, int error) {
  launch.failure->step = step;
  launch.failure->mount = launch.mounts->reached();
  launch.failure->error = error;
  ::_exit(127);
}

[[noreturn]] void become_bubblewrap(Launch& launch) {
  struct sigaction defaults {};
  defaults.sa_handler = SIG_DFL;
  for (int s = 1; s < 65; ++s) ::sigaction(s, &defaults, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const UniqueFd& tasks : launch.entrances->tasks) {
    if (::write(tasks.get(), "0", 1) != 1) fail(launch, "entering its control group", errno);
  }
  if (const int error = launch.mounts->lay_out(); error != 0) fail(launch, "laying out its files", error);
  const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max < kOpenFiles ? files.rlim_max : kOpenFiles;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  if (const int error = become(*launch.identity); error != 0) {
    fail(launch, "becoming an unprivileged user", error);
  }
  // bubblewrap says so itself, but only after a while.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launch.parent) ::_exit(127);
  ::umask(022);
  for (std::size_t i = 0; i < launch.descriptors; ++i) {
    if (::dup2(launch.sources[i], launch.targets[i]) < 0) fail(launch, "passing descriptors", errno);
  }
  char* const no_environment[] = {nullptr};
  ::syscall(SYS_execveat, launch.program, "", launch.argv, no_environment, AT_EMPTY_PATH);
  fail(launch, "starting bubblewrap", errno);
}

// A frame of its own: the child runs on its parent's stack.
[[gnu::noinline]] pid_t start_sharing_memory(Launch& launch) {
  const pid_t pid = ::vfork();
  if (pid == 0) become_bubblewrap(launch);
  return pid;
}

// Born into the group, as a copy of us: glibc has no way to start a child that shares our memory there.
pid_t start_in_group(Launch& launch, int group) {
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP | CLONE_VFORK;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(group);
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
  if (pid == 0) become_bubblewrap(launch);
  return pid;
}

// Returns when it runs, or has failed.
pid_t start(Launch& launch, ControlGroup& group) {
  const UniqueFd& birth = launch.entrances->birth;
  if (birth) {
    const pid_t pid = start_in_group(launch, birth.get());
    if (pid >= 0) return pid;
  }
  const pid_t pid = start_sharing_memory(launch);
  // A kernel before 5.7, or one that does not want it: then it is moved.
  if (birth && pid > 0 && launch.failure->error == 0) group.add(pid);
  return pid;
}

std::string nul_separated(const std::vector<std::string>& arguments) {
  std::string text;
  for (const std::string& argument : arguments) {
    text += argument;
    text += '\0';
  }
  return text;
}

// Before Linux 5.14 the limit counts what its user runs anywhere on this machine.
bool counts_by_namespace() {
  utsname name{};
  int major = 0;
  int minor = 0;
  return ::uname(&name) == 0 && std::sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
         (major > 5 || (major == 5 && minor >= 14));
}

}  // namespace

Container start_container(const Spec& spec, const std::string& bubblewrap, const Identity& identity,
                          ControlGroup& group, UniqueFd listener) {
  Mounts mounts(identity);
  const ControlGroup::Entrances entrances = group.entrances();
  const SharedFailure shared;
  BubblewrapArguments inside = bubblewrap_arguments(spec, mounts);
  const auto split = std::ranges::find(inside.arguments, std::string("--"));
  const std::vector<std::string> options(inside.arguments.begin(), split);
  const UniqueFd option_file = memory_file("arguments", nul_separated(options), "making a file in memory");
  const UniqueFd seccomp = make_seccomp_filter();
  const UniqueFd nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nowhere) throw system_error("opening /dev/null", errno);
  // Opened here, since the child may not see its path any more.
  const UniqueFd program(::open(bubblewrap.c_str(), O_PATH | O_CLOEXEC));
  if (!program) throw system_error("starting " + bubblewrap, errno);
  Pipe info = make_pipe("making a pipe for a sandbox");
  Pipe block = make_pipe("making a pipe for a sandbox");
  Pipe ready = make_pipe("making a pipe for a sandbox");
  Pipe output = make_pipe("making a pipe for a sandbox");

  std::vector<std::pair<int, int>> wanted{
      {nowhere.get(), 0},          {output.write.get(), 1},       {output.write.get(), 2},
      {listener.get(), kListenFd}, {ready.write.get(), kReadyFd}, {option_file.get(), kArgumentsFd},
      {seccomp.get(), kSeccompFd}, {info.write.get(), kInfoFd},   {block.read.get(), kBlockFd},
  };
  for (const auto& [ours, theirs] : inside.files) wanted.emplace_back(ours.get(), theirs);
  // Copies above every number the child wants, so that none is overwritten before it is passed.
  const int first_copy = kBlockFd + static_cast<int>(inside.files.size()) + 1;
  std::vector<UniqueFd> copies;
  std::vector<int> sources;
  std::vector<int> targets;
  for (const auto& [ours, theirs] : wanted) {
    copies.emplace_back(::fcntl(ours, F_DUPFD_CLOEXEC, first_copy));
    if (!copies.back()) throw system_error("starting a sandbox: copying a descriptor", errno);
    sources.push_back(copies.back().get());
    targets.push_back(theirs);
  }

  std::vector<std::string> command{bubblewrap, "--args", std::to_string(kArgumentsFd)};
  command.insert(command.end(), split, inside.arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);

  Launch launch{.identity = &identity,
                .mounts = &mounts,
                .entrances = &entrances,
                .parent = ::getpid(),
                .program = program.get(),
                .argv = argv.data(),
                .sources = sources.data(),
                .targets = targets.data(),
                .descriptors = sources.size(),
                .failure = shared.get()};
  const pid_t pid = start(launch, group);
  if (pid < 0) throw system_error("starting a sandbox", errno);
  if (launch.failure->error != 0) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    std::string what = "starting a sandbox: " + std::string(launch.failure->step);
    if (what.ends_with("files")) what += " (" + mounts.path_of(launch.failure->mount) + ")";
    throw system_error(what, launch.failure->error);
  }
  Container container;
  container.pid = pid;
  container.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!container.pidfd) throw system_error("watching a sandbox", errno);
  container.info = std::move(info.read);
  container.block = std::move(block.write);
  container.ready = std::move(ready.read);
  container.output = std::move(output.read);
  return container;
}

bool limit_processes(pid_t init, const Identity& identity, unsigned processes) {
  if (!identity.differs_from_ours && !counts_by_namespace()) return false;
  // As the sandbox's user, who may set limits of its own processes without any capability.
  return run_as(identity, [&] {
           const rlimit limit{.rlim_cur = processes, .rlim_max = processes};
           return ::prlimit(init, RLIMIT_NPROC, &limit, nullptr) == 0 ? 0 : errno;
         }) == 0;
}

void end_children() noexcept {
  while (true) {
    const pid_t reaped = ::waitpid(-1, nullptr, WNOHANG);
    if (reaped > 0) continue;
    if (reaped < 0 && errno != EINTR) return;
    const std::string self = std::to_string(::getpid());
    std::ifstream children("/proc/self/task/" + self + "/children");
    for (pid_t child = 0; children >> child;) ::kill(child, SIGKILL);
    if (::waitpid(-1, nullptr, 0) < 0 && errno != EINTR) return;
  }
}

}  // namespace sandkey::sandbox
