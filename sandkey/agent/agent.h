// The action execution server: its routes, keys and sockets around one ActionExecutor.
#pragma once

#include "sandkey/agent/action_executor.h"
#include "sandkey/agent/session_keys.h"

#include <boost/asio/any_io_executor.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace sandkey::agent {

// Sent with every greeting; raised when client and agent of different numbers cannot work together.
inline constexpr int kProtocolVersion = 1;

struct AgentOptions {
  ExecutorOptions executor;
  bool warm_python = false;
};

// Speaks OpenHands' protocol (GET /alive, /server_info, /vscode/connection_token, /download_files; POST
// /execute_action, /upload_file, /list_files, /update_mcp_server; /mcp/...) and Sandkey's under /sandkey/v1/.
//
// A request with `Idempotency-Key` to /execute_action runs its action once: repeats get the first one's
// reply, also while it still runs. On one thread.
class Agent {
 public:
  Agent(boost::asio::any_io_executor executor, SessionKeys keys, AgentOptions options);
  ~Agent();

  void listen_unix(const std::string& path);
  // Throws Error(invalid_argument) without session keys: whoever reaches the port could run anything.
  std::uint16_t listen_tcp(const std::string& host, std::uint16_t port);
  // Takes over a Unix socket that listens already, of whoever started us. Throws Error(invalid_argument) for
  // anything else.
  void listen_descriptor(int fd);
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::agent
