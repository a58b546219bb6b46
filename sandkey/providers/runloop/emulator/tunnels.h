// The traffic through devboxes' tunnels: found by the host's name, and passed to a port inside.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/runloop/emulator/fleet.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::runloop::emulator {

struct TunnelHost {
  std::uint16_t port = 0;
  std::string key = {};
  bool operator==(const TunnelHost&) const = default;
};
// Of "{port}-{key}.tunnel.{domain}", with or without a port of its own. Nothing for any other host.
[[nodiscard]] std::optional<TunnelHost> parse_tunnel_host(std::string_view host);
// The address of a port behind a tunnel of the API at that host. For one of this machine it is below
// "localhost", on the API's own port.
[[nodiscard]] std::string tunnel_url(std::uint16_t port, std::string_view key, std::string_view api_host);

class Tunnels {
 public:
  Tunnels(sandkey::emulator::World& world, asio::any_io_executor executor, Fleet& fleet);

  static constexpr const char* kRoute = "tunnel traffic";
  // Nothing if the request is for the API.
  [[nodiscard]] std::optional<sandkey::emulator::Call> route(const net::HttpExchange& exchange);

 private:
  asio::awaitable<void> serve(net::HttpExchange& exchange, TunnelHost host);
  asio::awaitable<void> wake(DevboxPtr devbox);
  asio::awaitable<void> forward(net::HttpExchange& exchange, DevboxPtr devbox, std::uint16_t port);

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  Fleet& fleet_;
};

}  // namespace sandkey::runloop::emulator
