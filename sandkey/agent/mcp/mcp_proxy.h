// Serves the sandbox's stdio MCP servers to its client: MCP over HTTP with server-sent events.
#pragma once

#include "sandkey/agent/mcp/mcp_config.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace sandkey::net {
class HttpExchange;
}

namespace sandkey::agent {

class ChildReaper;

inline constexpr std::size_t kMaxMcpSessions = 1000;
inline constexpr std::size_t kMaxMcpRequests = 100;                    // at a time, of one session
inline constexpr std::size_t kMaxMcpBody = std::size_t{4} << 20U;      // of a message of a client
inline constexpr std::size_t kMaxMcpQueued = std::size_t{64} << 20U;   // bytes not yet sent, of all sessions
inline constexpr std::size_t kMaxMcpListing = std::size_t{32} << 20U;  // bytes of all servers' tools

struct McpOptions {
  std::vector<std::string> environment;  // of the servers, complete, as "NAME=value"
  std::string working_dir = "/";         // of the servers; must exist
  std::chrono::milliseconds start_timeout{120'000};
  std::chrono::milliseconds call_timeout{300'000};
  std::chrono::milliseconds keep_alive{15'000};
  // How long update() waits for new servers to come up, so that it can tell which of them do not.
  std::chrono::milliseconds update_wait{1'000};
};

// What OpenHands' MCP proxy does. Clients connect with GET /mcp/sse, get the address for their messages as
// the first event and the answers as the events after it. They see the tools of all servers as one server's:
// with one server under their own names, with several as <server>_<tool>.
//
// A server is started when it is configured and kept until it is removed. One that ended makes the calls to
// it fail, saying why, and is started again by the next use of it, a few times a minute at most.
//
// Of MCP's features only tools are offered, with progress and cancellation; what a client asks beyond that is
// answered "Method not found", as is what a server asks of a client.
//
// Lives on the agent's one thread, that of the HTTP server. The reaper must outlive it.
class McpProxy {
 public:
  McpProxy(boost::asio::any_io_executor executor, ChildReaper& reaper, McpOptions options);
  ~McpProxy();  // close()
  McpProxy(const McpProxy&) = delete;
  McpProxy& operator=(const McpProxy&) = delete;

  // From now on these are the servers: new and changed ones are started, equal ones kept, others stopped.
  // Returns what went wrong, a line for each server ("" if nothing did). One that is merely slow to start is
  // no error.
  [[nodiscard]] boost::asio::awaitable<std::string> update(std::vector<McpServerConfig> servers);

  // The routes. They throw net::HttpError. Authentication is the caller's affair.
  [[nodiscard]] boost::asio::awaitable<void> handle_update(
      net::HttpExchange& exchange);  // POST /update_mcp_server
  [[nodiscard]] boost::asio::awaitable<void> handle_sse(net::HttpExchange& exchange);  // GET /mcp/sse
  [[nodiscard]] boost::asio::awaitable<void> handle_message(
      net::HttpExchange& exchange);  // POST /mcp/messages/

  [[nodiscard]] std::size_t sessions() const noexcept;

  // Kills the servers, breaks off the event streams and fails what is running. Handlers that still run return
  // soon; they may outlive this object, but not the exchange they were given.
  void close() noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sandkey::agent
