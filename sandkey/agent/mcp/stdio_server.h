// One MCP server that speaks newline-delimited JSON-RPC on its standard input and output: its process, the
// requests to it, its restarts and its end.
#pragma once

#include "sandkey/agent/mcp/json_rpc.h"
#include "sandkey/agent/mcp/mcp_config.h"
#include "sandkey/base/async_event.h"
#include "sandkey/base/json.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::agent {

class ChildReaper;

// Longest message taken from a server. One that sends more is ended.
inline constexpr std::size_t kMaxMcpLine = std::size_t{16} << 20U;
// Most bytes that wait for a server to read its input.
inline constexpr std::size_t kMaxMcpInput = std::size_t{32} << 20U;
// The end of what a server wrote to stderr, and of what else it wrote to stdout, is quoted when it failed.
inline constexpr std::size_t kMcpErrorTail = 2048;
// A server that keeps ending is started this often within the window, then left alone until that has passed.
inline constexpr std::size_t kMaxMcpStarts = 5;
inline constexpr std::chrono::seconds kMcpStartWindow{60};

struct StdioServerOptions {
  std::vector<std::string> environment;  // complete; the server's own variables are added
  std::string working_dir = "/";
  std::chrono::milliseconds start_timeout{
      120'000};                                 // until it answered initialize; npx and uvx download first
  std::chrono::milliseconds stop_grace{2'000};  // after its input was closed, and again after SIGTERM
};

// What somebody wants of one server after another. cancel() makes the request in progress fail at once, and
// tells the server.
struct McpCall {
  explicit McpCall(boost::asio::any_io_executor executor) : changed(std::move(executor)) {}

  void cancel() {
    cancelled = true;
    changed.notify_all();
  }
  void settle(json::object answer) {
    response = std::move(answer);
    changed.notify_all();
  }
  void fail(std::string why) {
    failure = std::move(why);
    changed.notify_all();
  }
  [[nodiscard]] bool settled() const { return cancelled || response || failure; }

  AsyncEvent changed;
  bool cancelled = false;
  std::optional<json::object> response;  // the whole JSON-RPC answer
  std::optional<std::string> failure;    // why there will be none
  std::size_t received = 0;              // bytes of all answers so far
  // With a token the server is asked for progress; called with its parameters, the token in place.
  std::optional<json::value> progress_token;
  std::function<void(json::object)> on_progress;
};

// Lives on the agent's one thread. The reaper must outlive it up to kill().
class StdioServer : public std::enable_shared_from_this<StdioServer> {
 public:
  StdioServer(boost::asio::any_io_executor executor, ChildReaper& reaper, McpServerConfig config,
              StdioServerOptions options, std::function<void()> on_tools_changed);
  ~StdioServer();
  StdioServer(const StdioServer&) = delete;
  StdioServer& operator=(const StdioServer&) = delete;

  [[nodiscard]] const McpServerConfig& config() const noexcept { return config_; }

  // Starts the process, unless it runs, and begins the handshake with it. Throws JsonRpcError saying why it
  // cannot.
  void start();

  // Waits until the handshake has ended one way or the other, or the time has come. Empty, or what went
  // wrong.
  [[nodiscard]] static boost::asio::awaitable<std::string> wait_started(std::shared_ptr<StdioServer> self,
                                                                        AsyncEvent::TimePoint until);

  // The result of a request, starting the server first if it does not run. Throws JsonRpcError: the server's
  // own; kServerUnavailable when it cannot be started or ended; kTimeout; kInternalError when cancelled.
  [[nodiscard]] static boost::asio::awaitable<json::value> request(std::shared_ptr<StdioServer> self,
                                                                   std::shared_ptr<McpCall> call,
                                                                   std::string method, json::object params,
                                                                   AsyncEvent::TimePoint deadline);

  // Ends it as the protocol wants: its input is closed, then SIGTERM, then SIGKILL. Running requests fail.
  void stop() noexcept;
  // Ends it, and all processes of its session, now.
  void kill() noexcept;
  // Nothing of it runs any more.
  [[nodiscard]] bool gone() const noexcept;

 private:
  struct Process;
  [[nodiscard]] static boost::asio::awaitable<void> shake_hands(std::shared_ptr<Process> process,
                                                                std::chrono::milliseconds timeout);
  [[nodiscard]] static boost::asio::awaitable<std::shared_ptr<Process>> ready(
      std::shared_ptr<StdioServer> self, std::shared_ptr<McpCall> call);

  boost::asio::any_io_executor executor_;
  ChildReaper& reaper_;
  McpServerConfig config_;
  StdioServerOptions options_;
  std::function<void()> on_tools_changed_;
  std::shared_ptr<Process> process_;
  std::deque<AsyncEvent::TimePoint> starts_;
  bool stopped_ = false;
};

}  // namespace sandkey::agent
