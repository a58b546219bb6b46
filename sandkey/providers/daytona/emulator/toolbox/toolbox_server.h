// Daytona's toolbox for one emulated sandbox: what its cloud reaches as /toolbox/{id}/... and runs as a
// daemon inside. Behind it is a real sandbox, spoken to through its agent.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona_toolbox {

// On one thread, that of `executor`, which must be the one its exchanges come from. It lets everybody in, as
// the daemon does: who may is for the proxy before it to say, which also knows the way to ports (/proxy/...).
class ToolboxServer {
 public:
  // `agent` must have been greeted, and outlive it; give it a sandbox check, so that a sandbox that is gone
  // is noticed at once.
  ToolboxServer(Engine& engine, asio::any_io_executor executor, AgentClient& agent, ToolboxSettings settings);
  // After close(), or with the engine stopped.
  ~ToolboxServer();
  ToolboxServer(const ToolboxServer&) = delete;
  ToolboxServer& operator=(const ToolboxServer&) = delete;

  // Answers one request. `path` is what follows the sandbox's id, as it came: "/process/execute", undecoded;
  // the query is the exchange's. A connection that the sandbox's end or a pause breaks is aborted, not
  // answered.
  asio::awaitable<void> handle(net::HttpExchange& exchange, std::string path);

  // Before the sandbox is paused: breaks all connections; processes stay, and can be connected to again after
  // resumed(). Requests meanwhile are the caller's to refuse.
  void paused();
  void resumed();

  // When the sandbox is gone, or before this object goes: breaks all connections and returns when nothing
  // runs any more. Call once; what comes in afterwards is aborted.
  asio::awaitable<void> close();

  // "POST /process/execute" and so on: what there is, and which of them a request is for.
  [[nodiscard]] static std::vector<std::string> routes();
  [[nodiscard]] static std::optional<std::string> route_of(std::string_view method, std::string_view path);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::daytona_toolbox
