// E2B's REST API: sandboxes (v1 and v2), snapshots, templates, metrics and logs.
#pragma once

#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/emulator/router.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/e2b/emulator/fleet.h"
#include "sandkey/providers/e2b/emulator/templates.h"

#include <boost/asio/awaitable.hpp>

#include <string>
#include <vector>

namespace sandkey::e2b::emulator {

// Its answers, JSON all of them, and 204 without a body.
class ControlPlane {
 public:
  ControlPlane(sandkey::emulator::World& world, const sandkey::emulator::Accounts& accounts,
               Templates& templates, Fleet& fleet);

  // The route of a request, and what answers it: whatever is not known as well.
  [[nodiscard]] sandkey::emulator::Call route(const net::HttpExchange& exchange) const;
  [[nodiscard]] std::vector<std::string> routes() const;

 private:
  using Account = sandkey::emulator::Account;
  using Exchange = net::HttpExchange;
  using Arguments = sandkey::emulator::Arguments;
  using Action = asio::awaitable<void> (ControlPlane::*)(Exchange&, const Account&, Arguments);
  enum class Kind { reads, changes };

  void add(const char* route, Kind kind, Action action);
  asio::awaitable<void> run(Exchange& exchange, Kind kind, Action action, Arguments arguments);

  asio::awaitable<void> create_v1(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> create_v2(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> create(Exchange& exchange, const Account& account, ApiVersion version);
  asio::awaitable<void> connect_v1(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> connect_v2(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> connect(Exchange& exchange, const Account& account, std::string id,
                                ApiVersion version);
  asio::awaitable<void> resume(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> pause(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> set_timeout(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> refresh(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> set_network(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> fork(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<json::value> fork_one(const Account& account, CreateRequest request,
                                        Templates::Found made_of);
  asio::awaitable<void> get(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> kill(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_v1(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_v2(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> metrics(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> metrics_of_many(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<json::object> measure(SandboxPtr sandbox);
  asio::awaitable<void> logs_v1(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> logs_v2(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> add_snapshot(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_snapshots(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_templates(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> get_template(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> remove_template(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> find_alias(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_tags(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> not_emulated(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> health(Exchange& exchange);
  asio::awaitable<void> not_for_keys(Exchange& exchange);
  asio::awaitable<void> unknown(Exchange& exchange);

  [[nodiscard]] CreateRequest like(const Sandbox& sandbox, std::chrono::seconds timeout) const;

  sandkey::emulator::World& world_;
  const sandkey::emulator::Accounts& accounts_;
  Templates& templates_;
  Fleet& fleet_;
  sandkey::emulator::Router router_;
};

}  // namespace sandkey::e2b::emulator
