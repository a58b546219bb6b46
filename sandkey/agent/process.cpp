#include "sandkey/agent/process.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <boost/asio/signal_set.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace sandkey::agent {
namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<char*> c_strings(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

bool is_executable_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

// All that the child needs, made ready before it exists.
struct Launch {
  const char* program;
  char* const* argv;
  char* const* envp;
  const char* working_dir;
  const int* sources;
  const int* targets;
  std::size_t descriptors;
  bool controlling_terminal;
  volatile int error;
};

// What the child does between vfork and execve. It shares our memory, so it only calls async-signal-safe
// functions, touches no heap, and leaves its errno where the parent can see it.
[[noreturn]] void become(Launch& launch) {
  struct sigaction defaults {};
  defaults.sa_handler = SIG_DFL;
  for (int s = 1; s < 65; ++s) ::sigaction(s, &defaults, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setsid();
  // Ours are close-on-exec already; what we inherited ourselves may not be. (Before Linux 5.11 that stays.)
  ::syscall(SYS_close_range, 3U, ~0U, 1U << 2U /* CLOSE_RANGE_CLOEXEC */);
  bool ready = true;
  for (std::size_t i = 0; i < launch.descriptors && ready; ++i) {
    ready = ::dup2(launch.sources[i], launch.targets[i]) >= 0;
  }
  if (ready && launch.controlling_terminal) ready = ::ioctl(0, TIOCSCTTY, 0) == 0;
  if (ready) ready = ::chdir(launch.working_dir) == 0;
  if (ready) ::execve(launch.program, launch.argv, launch.envp);
  launch.error = errno;
  ::_exit(127);
}

// A frame of its own: the child runs on its parent's stack.
[[gnu::noinline]] pid_t start(Launch& launch) {
  const pid_t pid = ::vfork();
  if (pid == 0) become(launch);
  return pid;
}

}  // namespace

std::string_view environment_value(const std::vector<std::string>& environment, std::string_view name) {
  for (const std::string& entry : environment) {
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name)) {
      return std::string_view(entry).substr(name.size() + 1);
    }
  }
  return {};
}

void set_environment_value(std::vector<std::string>& environment, std::string_view name,
                           std::string_view value) {
  std::string entry = std::string(name) + "=" + std::string(value);
  for (std::string& existing : environment) {
    if (existing.size() > name.size() && existing[name.size()] == '=' && existing.starts_with(name)) {
      existing = std::move(entry);
      return;
    }
  }
  environment.push_back(std::move(entry));
}

std::string find_program(std::string_view name, const std::vector<std::string>& environment) {
  if (name.empty()) return {};
  if (name.find('/') != std::string_view::npos) return std::string(name);
  std::string_view path = environment_value(environment, "PATH");
  if (path.empty()) path = kDefaultPath;
  while (true) {
    const std::size_t colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    if (!folder.empty()) {
      std::string candidate = std::string(folder) + "/" + std::string(name);
      if (is_executable_file(candidate)) return candidate;
    }
    if (colon == std::string_view::npos) return {};
    path.remove_prefix(colon + 1);
  }
}

pid_t spawn(const SpawnOptions& options) {
  if (options.argv.empty())
    throw Error(ErrorCode::invalid_argument, "starting a process: no program was named");
  const std::string program = find_program(options.argv[0], options.environment);
  if (program.empty()) {
    throw Error(ErrorCode::not_found,
                "starting a process: '" + options.argv[0] + "' is in no folder of PATH");
  }

  // Copies far above every target, so that no dup2 in the child overwrites a source still needed.
  std::vector<UniqueFd> copies;
  std::vector<int> sources;
  std::vector<int> targets;
  for (const auto& [ours, theirs] : options.descriptors) {
    copies.emplace_back(::fcntl(ours, F_DUPFD_CLOEXEC, 64));
    if (!copies.back()) throw system_error("starting '" + options.argv[0] + "': copying a descriptor", errno);
    sources.push_back(copies.back().get());
    targets.push_back(theirs);
  }
  const std::vector<char*> argv = c_strings(options.argv);
  const std::vector<char*> envp = c_strings(options.environment);
  Launch launch{.program = program.c_str(),
                .argv = argv.data(),
                .envp = envp.data(),
                .working_dir = options.working_dir.empty() ? "/" : options.working_dir.c_str(),
                .sources = sources.data(),
                .targets = targets.data(),
                .descriptors = sources.size(),
                .controlling_terminal = options.controlling_terminal,
                .error = 0};
  const pid_t pid = start(launch);
  const int error = pid < 0 ? errno : launch.error;
  if (error != 0) {
    int status = 0;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    struct stat info {};
    const bool no_folder = ::stat(launch.working_dir, &info) != 0;
    throw system_error("starting '" + options.argv[0] + "'" +
                           (no_folder ? " in the folder " + std::string(launch.working_dir) : std::string()),
                       error);
  }
  return pid;
}

void kill_session(pid_t leader, int signal) noexcept {
  if (leader <= 1) return;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) {
    ::kill(-leader, signal);
    return;
  }
  while (const dirent* entry = ::readdir(proc)) {
    char* end = nullptr;
    const long pid = std::strtol(entry->d_name, &end, 10);
    if (end == entry->d_name || *end != '\0' || pid <= 1) continue;
    if (::getsid(static_cast<pid_t>(pid)) == leader) ::kill(static_cast<pid_t>(pid), signal);
  }
  ::closedir(proc);
}

struct ChildReaper::Signals {
  explicit Signals(const boost::asio::any_io_executor& executor) : set(executor, SIGCHLD) {}
  boost::asio::signal_set set;
};

ChildReaper::ChildReaper(const boost::asio::any_io_executor& executor)
    : signals_(std::make_unique<Signals>(executor)) {
  wait_for_signal();
}

ChildReaper::~ChildReaper() = default;

void ChildReaper::wait_for_signal() {
  signals_->set.async_wait([this](const boost::system::error_code& error, int) {
    if (error) return;  // only when we are destroyed
    wait_for_signal();
    reap();
  });
}

void ChildReaper::reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
    const auto found = watched_.find(pid);
    if (found == watched_.end()) continue;  // an orphan of a sandboxed process
    const auto on_exit = std::move(found->second);
    watched_.erase(found);
    if (WIFSIGNALED(status)) {
      on_exit({.code = 128 + WTERMSIG(status), .signal = WTERMSIG(status)});
    } else {
      on_exit({.code = WEXITSTATUS(status), .signal = 0});
    }
  }
}

void ChildReaper::watch(pid_t pid, std::function<void(ExitStatus)> on_exit) {
  watched_[pid] = std::move(on_exit);
}
void ChildReaper::forget(pid_t pid) {
  watched_.erase(pid);
}

}  // namespace sandkey::agent
