// Blueprints and snapshots of disks, as the API has them.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/runloop/emulator/api.h"
#include "sandkey/providers/runloop/emulator/fleet.h"
#include "sandkey/providers/runloop/emulator/images.h"
#include "sandkey/providers/runloop/emulator/once.h"

#include <boost/asio/awaitable.hpp>

#include <string>

namespace sandkey::runloop::emulator {

class ImageRoutes {
 public:
  // Adds its routes; all must outlive them.
  ImageRoutes(sandkey::emulator::World& world, Images& images, Fleet& fleet, Api& api);

 private:
  using Exchange = net::HttpExchange;
  using Account = sandkey::emulator::Account;
  using Arguments = sandkey::emulator::Arguments;
  using Action = asio::awaitable<void> (ImageRoutes::*)(Exchange&, const Account&, Arguments);
  void add(Api& api, const char* route, Needs needs, Action action);

  asio::awaitable<void> snapshot_now(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> snapshot_later(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<SnapshotPtr> snapshot_once(Exchange& exchange, const Account& account, std::string devbox);
  asio::awaitable<void> list_snapshots(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> snapshot_status(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> update_snapshot(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> delete_snapshot(Exchange& exchange, const Account& account, Arguments arguments);

  asio::awaitable<void> create(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> get(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_own(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list_public(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> list(Exchange& exchange, std::string owner);
  asio::awaitable<void> logs(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> remove(Exchange& exchange, const Account& account, Arguments arguments);
  asio::awaitable<void> preview(Exchange& exchange, const Account& account, Arguments arguments);

  sandkey::emulator::World& world_;
  Images& images_;
  Fleet& fleet_;
  Once snapshots_once_;
  Once blueprints_once_;
};

}  // namespace sandkey::runloop::emulator
