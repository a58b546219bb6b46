// A process with its input and outputs as a Stream.
#pragma once

#include "sandkey/agent/process.h"
#include "sandkey/agent/streams/stream.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::agent {

struct ExecRequest {
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // complete
  std::string working_dir;
  bool input = true;                                  // otherwise stdin is /dev/null
  std::optional<std::pair<unsigned, unsigned>> size;  // rows, columns: on a terminal, which is also stderr
  // Ends only when nobody holds its outputs open any more, instead of when the process does. Not on a
  // terminal.
  bool to_end_of_output = false;
  std::optional<std::chrono::milliseconds> timeout;  // then SIGTERM, and SIGKILL a little later, to all of it
};

// Throws Error (not_found, permission_denied, ...) when it cannot be started. Runs as leader of its own
// session; what it leaves behind in that session ends with it only on a timeout or kill().
[[nodiscard]] std::shared_ptr<Stream> start_exec(const boost::asio::any_io_executor& executor,
                                                 ChildReaper& reaper, std::string id,
                                                 const ExecRequest& request);

// Connects to a TCP port on this machine's loopback. Throws Error(unavailable) when nobody listens.
[[nodiscard]] boost::asio::awaitable<std::shared_ptr<Stream>> dial(boost::asio::any_io_executor executor,
                                                                   std::string id, std::uint16_t port);

}  // namespace sandkey::agent
