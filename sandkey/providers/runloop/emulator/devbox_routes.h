// The life of devboxes, as the API has it: create, look, wait, update, suspend, resume, shut down, tunnels.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/runloop/emulator/api.h"
#include "sandkey/providers/runloop/emulator/fleet.h"
#include "sandkey/providers/runloop/emulator/once.h"

#include <boost/asio/awaitable.hpp>

#include <map>
#include <string>

namespace sandkey::runloop::emulator {

class DevboxRoutes {
 public:
  // Adds its routes; all must outlive them.
  DevboxRoutes(sandkey::emulator::World& world, Fleet& fleet, Api& api);

 private:
  using Exchange = net::HttpExchange;
  using Account = sandkey::emulator::Account;
  using Arguments = sandkey::emulator::Arguments;
  using Action = asio::awaitable<void> (DevboxRoutes::*)(Exchange&, const Account&, Arguments);
  void add(Api& api, const char* route, Needs needs, Action action);

  asio::awaitable<void> me(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> create(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> create_and_wait(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<DevboxPtr> create_once(Exchange& exchange, const Account& account);
  asio::awaitable<void> get(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> update(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> wait(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> shut_down(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> suspend(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> resume(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> keep_alive(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> usage(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> logs(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> evictions(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> enable_tunnel(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> create_tunnel(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> remove_tunnel(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_secrets(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> add_secret(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> get_secret(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> update_secret(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> delete_secret(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> get_secret_by_id(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> update_secret_by_id(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> delete_secret_by_id(Exchange& exchange, const Account& account, Arguments arguments);

  struct Secret {
    std::string id = {};
    std::string value = {};
    sandkey::emulator::Time created = {};
    sandkey::emulator::Time updated = {};
  };
  using Secrets = std::map<std::string, Secret>;  // by name
  [[nodiscard]] static json::object to_view(const std::string& name, const Secret& secret);
  [[nodiscard]] Secret& secret(const Account& account, const std::string& name);
  [[nodiscard]] std::string secret_name(const Account& account, const std::string& id);

  sandkey::emulator::World& world_;
  Fleet& fleet_;
  Once once_;
  std::map<std::string, Secrets> secrets_;  // by account
};

}  // namespace sandkey::runloop::emulator
