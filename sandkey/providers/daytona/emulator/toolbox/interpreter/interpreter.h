// /process/interpreter: Python that remembers, cell after cell, in contexts of their own.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/emulator/machine/processes.h"
#include "sandkey/net/http_server.h"
#include "sandkey/net/websocket.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

// The first message of a client.
struct CellRequest {
  std::string code = {};
  std::string context = {};  // empty: the default one
  Variables variables = {};
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;
};
// Throws ToolboxError(400) for what is none.
[[nodiscard]] CellRequest parse_cell_request(std::string_view text);

// What a worker told, with all the members that clients expect; nothing for what is not for them.
[[nodiscard]] std::optional<json::object> cell_event(std::string_view line);

// Throws ToolboxError. On one thread; the view and the table must outlive it.
class Interpreter {
 public:
  static constexpr std::size_t kMaxWaiting = 128;          // cells of one context
  static constexpr std::chrono::seconds kInterruption{2};  // for a cell to end, before its worker is killed
  static constexpr std::chrono::seconds kDefaultTimeout{600};

  Interpreter(MachineView& view, machine::ProcessTable& processes) : view_(view), processes_(processes) {}

  asio::awaitable<void> create(net::HttpExchange& exchange);
  asio::awaitable<void> list(net::HttpExchange& exchange);
  asio::awaitable<void> remove(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> execute(net::HttpExchange& exchange);

 private:
  struct Context;
  using ContextPtr = std::shared_ptr<Context>;
  struct Ending;

  asio::awaitable<ContextPtr> make(std::string id, std::string cwd);
  asio::awaitable<ContextPtr> find(std::string id);
  asio::awaitable<void> serve(net::WebSocket& socket, net::WebSocketFrame first);
  asio::awaitable<Ending> answer(net::WebSocket& socket, net::WebSocketFrame first);
  static asio::awaitable<Ending> run(net::WebSocket& socket, ContextPtr context, CellRequest request);

  MachineView& view_;
  machine::ProcessTable& processes_;
  std::map<std::string, ContextPtr, std::less<>> contexts_;
};

}  // namespace sandkey::daytona_toolbox
