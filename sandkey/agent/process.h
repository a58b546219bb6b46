// Child processes: starting them with exactly the descriptors they should have, and learning of their end.
#pragma once

#include <boost/asio/any_io_executor.hpp>

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace sandkey::agent {

struct SpawnOptions {
  std::vector<std::string> argv;         // argv[0] is looked for in the PATH of `environment`
  std::vector<std::string> environment;  // complete, as "NAME=value"
  std::string working_dir;               // must exist
  // (our descriptor, number in the child). Nothing else is inherited.
  std::vector<std::pair<int, int>> descriptors;
  bool controlling_terminal = false;  // the child's descriptor 0 becomes its session's terminal
};

// Starts a process as leader of a new session (and so of a new process group), with default signal handling.
// Throws Error: not_found / permission_denied when the program or the folder is not there or not usable.
[[nodiscard]] pid_t spawn(const SpawnOptions& options);

// The program `name` would start, by the PATH in `environment`; empty if there is none.
[[nodiscard]] std::string find_program(std::string_view name, const std::vector<std::string>& environment);

// The value of NAME in a list of "NAME=value"; empty if it is not there.
[[nodiscard]] std::string_view environment_value(const std::vector<std::string>& environment,
                                                 std::string_view name);
void set_environment_value(std::vector<std::string>& environment, std::string_view name,
                           std::string_view value);

// Sends the signal to every process of the session that `leader` started, whatever process group each is in.
void kill_session(pid_t leader, int signal) noexcept;

// How a process ended, as a shell reports it: its exit status, or 128 + the signal that killed it.
struct ExitStatus {
  int code = 0;
  int signal = 0;  // 0 when it exited by itself
};

// Reaps all children, orphans handed to us included, and tells who waits. Lives on the agent's one thread;
// it must outlive every child it watches.
class ChildReaper {
 public:
  explicit ChildReaper(const boost::asio::any_io_executor& executor);
  ~ChildReaper();
  ChildReaper(const ChildReaper&) = delete;
  ChildReaper& operator=(const ChildReaper&) = delete;

  // Calls `on_exit` once, on the agent's thread, never from within watch(). Call it in the same turn as
  // spawn().
  void watch(pid_t pid, std::function<void(ExitStatus)> on_exit);
  void forget(pid_t pid);

 private:
  void wait_for_signal();
  void reap();

  struct Signals;
  std::unique_ptr<Signals> signals_;
  std::unordered_map<pid_t, std::function<void(ExitStatus)>> watched_;
};

}  // namespace sandkey::agent
