// The ways to the ports of sandboxes: a host's name for each, below the cloud's own, by https only; and
// connect tokens, by which one more name leads to the port that they name.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/providers/modal/emulator/sandbox.h"
#include "sandkey/providers/modal/emulator/tokens.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::modal::emulator {

class Tunnels {
 public:
  Tunnels(sandkey::emulator::World& world, asio::any_io_executor executor);

  void serve_at(const sandkey::emulator::Addresses& addresses);

  // Names that lead there for as long as the sandbox runs.
  [[nodiscard]] modal_wire::TunnelData open(const SandboxPtr& sandbox, std::uint16_t port);
  struct Connection {
    std::string url = {};
    std::string token = {};
  };
  [[nodiscard]] Connection connect(const SandboxPtr& sandbox, std::uint16_t port, std::string user_metadata);
  void close(const Sandbox& sandbox);

  // Nothing if it is for no tunnel.
  [[nodiscard]] std::optional<sandkey::emulator::Call> route(const net::HttpExchange& exchange);

 private:
  struct Place {
    std::weak_ptr<Sandbox> sandbox;
    std::uint16_t port = 0;  // 0: by a connect token
  };
  struct Grant {
    std::uint16_t port = 0;
    std::string user_metadata = {};
  };
  [[nodiscard]] std::string new_name(const SandboxPtr& sandbox, std::uint16_t port);
  asio::awaitable<void> serve(net::HttpExchange& exchange, std::string name);
  asio::awaitable<void> pass(net::HttpExchange& exchange, SandboxPtr sandbox, std::uint16_t port);
  [[nodiscard]] const Grant* grant_of(const net::HttpExchange& exchange, const Sandbox& sandbox) const;

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  std::string host_;                                  // below which the names are
  std::uint32_t port_ = 0;                            // of https
  std::map<std::string, Place, std::less<>> places_;  // by the first label of the name
  std::map<std::string, std::string> connect_names_;  // sandbox -> label
  std::map<std::string, std::pair<std::string, Grant>, std::less<>> grants_;  // token -> sandbox, grant
};

}  // namespace sandkey::modal::emulator
