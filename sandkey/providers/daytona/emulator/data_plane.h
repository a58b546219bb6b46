// The traffic into Daytona's sandboxes: to their toolbox by a path, to their ports by the host's name.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/control_plane.h"
#include "sandkey/providers/daytona/emulator/fleet.h"
#include "sandkey/providers/daytona/emulator/identity.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona::emulator {

// The toolbox of each sandbox is on a port inside as well.
inline constexpr std::uint16_t kToolboxPort = 2280;

struct Destination {
  std::string sandbox = {};  // an id, or the token of a signed URL
  std::uint16_t port = 0;    // 0: none was named, but the toolbox
  bool is_signed = false;
  std::string path = {};  // as it came, without the query; of the toolbox: what follows the sandbox's id
};
// Nothing if the request is for the control plane. "/toolbox/ID/PATH" on any host, "PORT-ID." and
// "PORT-TOKEN." in front of a domain.
[[nodiscard]] std::optional<Destination> find_destination(std::string_view host, std::string_view target);

// The target without the parameter by which a URL carries a token; all else stays as it came.
[[nodiscard]] std::string without_token(std::string_view target);

class DataPlane {
 public:
  DataPlane(sandkey::emulator::World& world, asio::any_io_executor executor, const Directory& directory,
            Fleet& fleet);

  void serve_at(Places places) { places_ = std::move(places); }
  // Nothing if the request is for the control plane.
  [[nodiscard]] std::optional<sandkey::emulator::Call> route(const net::HttpExchange& exchange);
  [[nodiscard]] static std::vector<std::string> routes();

 private:
  // How a request proved that it may come in.
  enum class Proof { none, open, bearer, token };

  asio::awaitable<void> serve(net::HttpExchange& exchange, Destination destination);
  asio::awaitable<void> serve_port(net::HttpExchange& exchange, SandboxPtr sandbox, std::uint16_t port,
                                   Proof proof);
  asio::awaitable<void> forward(net::HttpExchange& exchange, SandboxPtr sandbox, std::uint16_t port,
                                std::string target, bool drop_bearer);
  asio::awaitable<void> serve_toolbox(net::HttpExchange& exchange, SandboxPtr sandbox, std::string path);
  [[nodiscard]] asio::awaitable<bool> require_running(net::HttpExchange& exchange, SandboxPtr sandbox);
  [[nodiscard]] bool is_signed_file(const net::HttpExchange& exchange, const Destination& destination,
                                    const Sandbox& sandbox) const;
  [[nodiscard]] Proof proof_of(const net::HttpExchange& exchange, const Sandbox& sandbox) const;
  asio::awaitable<void> refuse(net::HttpExchange& exchange, int status, std::string code,
                               std::string message);

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  const Directory& directory_;
  Fleet& fleet_;
  Places places_;
};

}  // namespace sandkey::daytona::emulator
