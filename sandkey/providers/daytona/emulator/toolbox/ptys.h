// /process/pty: terminals, and the WebSockets that lead to them.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/machine/processes.h"
#include "sandkey/net/http_server.h"
#include "sandkey/net/websocket.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

// What is told of a terminal that has ended: {"exitCode":130,"exitReason":"Ctrl+C"}.
[[nodiscard]] json::object pty_exit(int exit_code);

// The variables in a subprotocol, base64url of a JSON object; those that are none are left out.
[[nodiscard]] Variables parse_pty_variables(std::string_view encoded);

// Throws ToolboxError. On one thread; the view and the table must outlive it.
class Ptys {
 public:
  static constexpr unsigned kMaxSize = 1000;                          // columns, rows
  static constexpr std::size_t kMaxQueued = 256;                      // outputs a client has not taken
  static constexpr std::size_t kMaxMessage = std::size_t{64} * 1024;  // of a client's

  Ptys(MachineView& view, machine::ProcessTable& processes);

  asio::awaitable<void> create(net::HttpExchange& exchange);
  asio::awaitable<void> list(net::HttpExchange& exchange);
  asio::awaitable<void> get(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> remove(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> resize(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> connect(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> create_and_connect(net::HttpExchange& exchange);

  // For when the sandbox is gone.
  void cancel() { tasks_.cancel(); }
  asio::awaitable<void> join() { return tasks_.join(); }

 private:
  struct Pty;
  struct Client;
  using PtyPtr = std::shared_ptr<Pty>;

  struct Wanted {
    std::string id = {};
    std::string cwd = {};
    Variables variables = {};
    unsigned columns = 80;
    unsigned rows = 24;
    bool lazy = false;
  };
  // Throws ToolboxError for what cannot be.
  PtyPtr make(Wanted wanted);
  // Once; ToolboxError(500) if it cannot be.
  asio::awaitable<void> start(PtyPtr pty);
  asio::awaitable<void> pump(PtyPtr pty);
  // Starts it, if nobody has, and carries what is typed and written to the end of either.
  asio::awaitable<void> serve(net::WebSocket& socket, PtyPtr pty, bool tells_exit);
  static asio::awaitable<void> refuse(net::WebSocket& socket, std::string problem);
  static asio::awaitable<void> feed(net::WebSocket& socket, PtyPtr pty);
  static asio::awaitable<void> tell(net::WebSocket& socket, PtyPtr pty, Client& client, bool tells_exit);
  asio::awaitable<std::unique_ptr<net::WebSocket>> accept(net::HttpExchange& exchange);

  MachineView& view_;
  machine::ProcessTable& processes_;
  std::map<std::string, PtyPtr, std::less<>> ptys_;
  TaskGroup tasks_;
};

}  // namespace sandkey::daytona_toolbox
