// The code interpreter of E2B's template code-interpreter-v1: a server inside the sandbox, on port 49999,
// which its clients reach like any other port.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <map>
#include <string>

namespace sandkey::e2b_interpreter {

inline constexpr std::uint16_t kPort = 49999;

// Starts it in the sandbox, where it lives as long as that does, and returns when it listens. `variables` are
// all it and its cells have; HOME among them is where default contexts work. Throws Error(unsupported), with
// what it said, where there is no Python 3 that can run it.
[[nodiscard]] asio::awaitable<void> start(AgentClient& agent, std::map<std::string, std::string> variables,
                                          Deadline deadline);

}  // namespace sandkey::e2b_interpreter
