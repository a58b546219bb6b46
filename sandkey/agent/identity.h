// Who the agent is in its sandbox, and what the processes it starts inherit.
#pragma once

#include <string>
#include <vector>

namespace sandkey::agent {

struct Identity {
  std::string username;
  std::string home;
  std::string shell;
  std::string hostname;
};

// From /etc/passwd directly: a static binary cannot load the C library's name service modules.
[[nodiscard]] Identity current_identity();

// Our own environment without session keys, completed with HOME, USER, LOGNAME, SHELL, PATH and LANG where
// absent.
[[nodiscard]] std::vector<std::string> child_environment(const Identity& identity);

}  // namespace sandkey::agent
