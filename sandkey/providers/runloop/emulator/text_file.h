// Writes a text that is already here into a file of a sandbox.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/awaitable.hpp>

#include <string>

namespace sandkey::runloop::emulator {

// Parents are made.
asio::awaitable<void> write_text(AgentClient& agent, std::string path, std::string text, Deadline deadline);

}  // namespace sandkey::runloop::emulator
