// E2B's data plane for one emulated sandbox: what its cloud calls envd and reaches on port 49983. Behind it
// is a real sandbox, spoken to through its agent.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_server.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace sandkey::e2b_envd {

struct EnvdSettings {
  // Empty: everybody who reaches it may do everything.
  std::string access_token = {};
  // Of every process, below those of its own request.
  std::map<std::string, std::string> env_vars = {};
  // The account of a request that names none. It should be the sandbox's own, whose name and home are in its
  // /etc/passwd.
  std::string default_user = "user";
  // Where processes start and what an empty path means; empty: the account's home.
  std::string default_workdir = {};
  // Told to processes as E2B_SANDBOX_ID and E2B_TEMPLATE_ID.
  std::string sandbox_id = {};
  std::string template_id = {};
  // What the sandbox was given, for GET /metrics; unset: what its machine has.
  std::optional<unsigned> cpu_count = std::nullopt;
  std::optional<std::uint64_t> memory_bytes = std::nullopt;
};

// On one thread, that of `executor`, which must be the one its exchanges come from.
class EnvdServer {
 public:
  // `agent` must have been greeted, and outlive it; give it a sandbox check, so that a sandbox that is gone
  // is noticed at once.
  EnvdServer(Engine& engine, asio::any_io_executor executor, AgentClient& agent, EnvdSettings settings);
  // After close(), or with the engine stopped.
  ~EnvdServer();
  EnvdServer(const EnvdServer&) = delete;
  EnvdServer& operator=(const EnvdServer&) = delete;

  // Answers one request. A connection that the sandbox's end or a pause breaks is aborted, not answered.
  asio::awaitable<void> handle(net::HttpExchange& exchange);

  // Before the sandbox is paused: breaks all connections; processes stay, and can be connected to again after
  // resumed(). Requests meanwhile are the caller's to refuse.
  void paused();
  void resumed();

  // When the sandbox is gone, or before this object goes: breaks all connections and returns when nothing
  // runs any more. Call once; what comes in afterwards is aborted.
  asio::awaitable<void> close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::e2b_envd
