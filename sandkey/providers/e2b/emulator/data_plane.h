// The traffic into E2B's sandboxes: found by routing headers or by the host's name, and passed to envd or to
// a port inside.
#pragma once

#include "sandkey/base/turnstile.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/e2b/emulator/fleet.h"
#include "sandkey/providers/e2b/emulator/sandbox.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::e2b::emulator {

inline constexpr std::uint16_t kEnvdPort = 49983;

struct Destination {
  std::string sandbox = {};
  std::uint64_t port = 0;     // 0: what was sent cannot be routed
  std::string problem = {};   // then this is the answer, with 400
  bool by_signature = false;  // a file's signed URL, which names no sandbox
};
// Nothing if the request is for the control plane. `host` and the routing headers as they came.
[[nodiscard]] std::optional<Destination> find_destination(std::string_view host, std::string_view id_header,
                                                          std::string_view port_header,
                                                          std::string_view path);

class DataPlane {
 public:
  DataPlane(sandkey::emulator::World& world, asio::any_io_executor executor, Fleet& fleet);

  // Nothing if the request is for the control plane.
  [[nodiscard]] std::optional<sandkey::emulator::Call> route(const net::HttpExchange& exchange);
  [[nodiscard]] static std::vector<std::string> routes();

 private:
  asio::awaitable<void> serve(net::HttpExchange& exchange, Destination destination);
  asio::awaitable<void> serve_envd(net::HttpExchange& exchange, SandboxPtr sandbox);
  asio::awaitable<void> serve_port(net::HttpExchange& exchange, SandboxPtr sandbox, std::uint16_t port);
  asio::awaitable<void> start_interpreter(SandboxPtr sandbox);
  asio::awaitable<bool> wake(net::HttpExchange& exchange, SandboxPtr sandbox, bool envd);
  [[nodiscard]] std::string signer(const net::HttpExchange& exchange) const;

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  Fleet& fleet_;
  Turnstile interpreters_;  // one is started at a time
};

}  // namespace sandkey::e2b::emulator
