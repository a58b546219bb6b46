// The program that is run against the emulated clouds.
#pragma once

#include "sandkey/emulator/host.h"

#include <sys/types.h>

#include <string>
#include <vector>

namespace sandkey::emulator {

// Our own environment with what is masked taken away and what is set put in: "NAME=value" each.
[[nodiscard]] std::vector<std::string> apply(const ProgramEnvironment& environment, char** ours);
// The same as lines for a shell to read: unset, and export with quotes where they are needed.
[[nodiscard]] std::string shell_lines(const ProgramEnvironment& environment, char** ours);

// Signals that end the emulator, and the end of the program, blocked for this thread and all that are started
// later, so that wait_for_*() can take them one by one. Ours to make before there is any other thread.
class BlockedSignals {
 public:
  BlockedSignals();
  // Until one of SIGINT, SIGTERM, SIGHUP comes.
  void wait_for_end();
  // Until the program ends. Of the three, SIGTERM and SIGHUP are passed on to it; SIGINT from a terminal
  // reaches it anyway.
  [[nodiscard]] int wait_for(pid_t program);

 private:
  void block();
};

// Starts it with no signal blocked. Throws Error(not_found), (permission_denied) or another for what cannot
// be started.
[[nodiscard]] pid_t start_program(const std::vector<std::string>& command,
                                  const std::vector<std::string>& environment);

}  // namespace sandkey::emulator
