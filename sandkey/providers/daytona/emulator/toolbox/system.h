// What the daemon says of its sandbox.
#pragma once

#include "sandkey/emulator/machine/usage.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

// The daemon that is emulated.
inline constexpr const char* kDaemonVersion = "v0.218.0";

// The ports that listen, of /proc/net/tcp and /proc/net/tcp6.
[[nodiscard]] std::set<std::uint16_t> parse_listening_ports(std::string_view table);

// Throws ToolboxError. On one thread; the view must outlive it.
class System {
 public:
  explicit System(MachineView& view) : view_(view), meter_(view.agent(), {}) {}

  asio::awaitable<void> version(net::HttpExchange& exchange);
  asio::awaitable<void> home(net::HttpExchange& exchange);
  asio::awaitable<void> workdir(net::HttpExchange& exchange);
  // Takes a token for telemetry, of which there is none here.
  asio::awaitable<void> init(net::HttpExchange& exchange);
  asio::awaitable<void> change_environment(net::HttpExchange& exchange);
  asio::awaitable<void> metrics(net::HttpExchange& exchange);
  asio::awaitable<void> ports(net::HttpExchange& exchange);
  asio::awaitable<void> port_in_use(net::HttpExchange& exchange, std::string port);

 private:
  asio::awaitable<std::set<std::uint16_t>> listening();

  MachineView& view_;
  machine::UsageMeter meter_;
};

}  // namespace sandkey::daytona_toolbox
