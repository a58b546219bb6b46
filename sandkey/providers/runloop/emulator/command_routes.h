// Commands in devboxes, as the API has them in all its generations, and the streams of what they write.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/runloop/emulator/api.h"
#include "sandkey/providers/runloop/emulator/executions.h"
#include "sandkey/providers/runloop/emulator/fleet.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

namespace sandkey::runloop::emulator {

class CommandRoutes {
 public:
  // Adds its routes; all must outlive them.
  CommandRoutes(sandkey::emulator::World& world, Fleet& fleet, Api& api);

 private:
  using Exchange = net::HttpExchange;
  using Account = sandkey::emulator::Account;
  using Arguments = sandkey::emulator::Arguments;
  using Action = asio::awaitable<void> (CommandRoutes::*)(Exchange&, const Account&, Arguments);
  void add(Api& api, const char* route, Needs needs, Action action);

  asio::awaitable<void> execute(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> execute_async(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> execute_sync(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> get(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> wait(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> kill(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> send(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> stream_stdout(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> stream_stderr(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> stream(Exchange& exchange, const Account& account, Arguments arguments,
                               std::size_t channel);

  struct Found {
    DevboxPtr devbox;
    ExecutionPtr execution;
  };
  // Looking at an execution is a use of its devbox.
  [[nodiscard]] Found find(const Account& account, const Arguments& arguments);
  // Until it has completed, or for so long.
  asio::awaitable<void> hold(ExecutionPtr execution, std::chrono::milliseconds time);

  sandkey::emulator::World& world_;
  Fleet& fleet_;
};

[[nodiscard]] std::string_view to_string(ExecutionStatus status) noexcept;
// With the last lines of its outputs, once it has completed.
[[nodiscard]] json::object to_view(const Execution& execution, const std::string& devbox,
                                   std::size_t last_lines);

}  // namespace sandkey::runloop::emulator
