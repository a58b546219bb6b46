// A persistent shell on a pseudo-terminal that runs one command after another, as OpenHands' bash session
// does, but driven by events instead of by polling a screen.
//
// How a command's end is known: the shell's prompt hook, made of builtins only, writes a record (nonce of the
// command, exit status, last background pid, working directory, PATH) to a FIFO in a private folder. What
// programs print never enters into it, so output cannot end a command or forge its status. A read of the
// terminal's master side flushes what was written to its slave before (Linux since 4.7), so reading until it
// would block, once the record is there, gets all of the command's output.
#pragma once

#include "sandkey/events/action.h"
#include "sandkey/events/observation.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandkey::agent {

class ChildReaper;

struct ShellOptions {
  std::vector<std::string> environment;  // complete
  std::string working_dir;
  // A command without new output for this long is reported as still running.
  std::chrono::seconds soft_timeout{10};
  // How long a new shell (the user's ~/.bashrc, that is) may take to its first prompt.
  std::chrono::seconds start_timeout{30};
  std::string username;
  std::string hostname;
};

// One action at a time: execute() must not be called while another call has not finished. Runs on the agent's
// one thread. Uses bash where there is one, otherwise sh.
class ShellSession {
 public:
  ShellSession(boost::asio::any_io_executor executor, ChildReaper& reaper, ShellOptions options);
  ~ShellSession();  // close()
  ShellSession(const ShellSession&) = delete;
  ShellSession& operator=(const ShellSession&) = delete;

  // Runs, feeds or polls a command; see openhands' CmdRunAction. `timeout` in seconds. A shell that ended
  // (`exit`, a kill) is reported and replaced by the next call. Throws Error when no shell can be started.
  [[nodiscard]] boost::asio::awaitable<Observation> execute(CmdRunAction action,
                                                            std::optional<double> timeout);

  // The shell's own, as of the last completed command.
  [[nodiscard]] const std::string& working_dir() const noexcept;

  // Kills the shell and everything it started.
  void close();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sandkey::agent
