// Daytona's REST API, below /api: sandboxes, snapshots, volumes, and who one is.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/emulator/router.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/fleet.h"
#include "sandkey/providers/daytona/emulator/identity.h"
#include "sandkey/providers/daytona/emulator/knobs.h"
#include "sandkey/providers/daytona/emulator/rate_limits.h"
#include "sandkey/providers/daytona/emulator/snapshots.h"
#include "sandkey/providers/daytona/emulator/volumes.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona::emulator {

// Where the rest is, as answers name it.
struct Places {
  std::string http = {};    // http://127.0.0.1:PORT
  std::string domain = {};  // daytona.localhost:PORT, by HTTP
  // Of a port of a sandbox, by its id or by a token.
  [[nodiscard]] std::string port_url(std::uint16_t port, const std::string& name) const;
};

class ControlPlane {
 public:
  ControlPlane(sandkey::emulator::World& world, const Knobs& knobs, const Directory& directory,
               Snapshots& snapshots, Volumes& volumes, Fleet& fleet);

  void serve_at(Places places) { places_ = std::move(places); }
  // The route of a request, and what answers it: whatever is not known as well.
  [[nodiscard]] sandkey::emulator::Call route(const net::HttpExchange& exchange) const;
  [[nodiscard]] std::vector<std::string> routes() const;

 private:
  using Exchange = net::HttpExchange;
  using Arguments = sandkey::emulator::Arguments;
  using Action = asio::awaitable<void> (ControlPlane::*)(Exchange&, const Caller&, Arguments);
  // What a route wants of those who call it.
  struct Needs {
    Bucket bucket = Bucket::authenticated;
    std::string_view permission = {};  // empty: none
    bool unsuspended = false;          // the organization must not be suspended
    Credentials credentials = Credentials::key_or_token;
  };

  void add(const char* route, Needs needs, Action action);
  void add_public(const char* route, asio::awaitable<void> (ControlPlane::*action)(Exchange&));
  asio::awaitable<void> run(Exchange& exchange, Needs needs, Action action, Arguments arguments);
  [[nodiscard]] Caller admit(const Exchange& exchange, const Needs& needs, sandkey::emulator::Headers& told);
  [[nodiscard]] bool is_maintained(const Exchange& exchange) const;
  asio::awaitable<void> run_public(Exchange& exchange,
                                   asio::awaitable<void> (ControlPlane::*action)(Exchange&));
  asio::awaitable<void> refuse(Exchange& exchange, const ApiError& error,
                               sandkey::emulator::Headers headers = {});
  asio::awaitable<void> show(Exchange& exchange, const SandboxPtr& sandbox, int status = 200);
  [[nodiscard]] SandboxPtr named(const Caller& caller, const Arguments& arguments) const;

  asio::awaitable<void> create(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> list(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> list_paginated(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> get(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> remove(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> start(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> stop(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> archive(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> recover(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> resize(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> set_labels(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> set_public(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> set_auto_stop(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> set_auto_archive(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> set_auto_delete(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> set_ttl(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> set_network(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> make_snapshot(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> back_up(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> touch(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> preview_url(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> signed_preview_url(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> expire_preview_url(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> toolbox_proxy_url(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> build_logs_url(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> build_logs(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> add_ssh_access(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> remove_ssh_access(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> signing_key(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> rotate_signing_key(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> no_relatives(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> no_parent(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> not_for_containers(Exchange& exchange, const Caller& caller, Arguments arguments);

  asio::awaitable<void> list_snapshots(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> create_snapshot(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> get_snapshot(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> remove_snapshot(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> activate_snapshot(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> deactivate_snapshot(Exchange& exchange, const Caller& caller, Arguments arguments);

  asio::awaitable<void> list_volumes(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> create_volume(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> get_volume(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> find_volume(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> remove_volume(Exchange& exchange, const Caller& caller, Arguments arguments);

  asio::awaitable<void> current_key(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> list_keys(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> list_regions(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> me(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> list_organizations(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> get_organization(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> no_object_storage(Exchange& exchange, const Caller& caller, Arguments arguments);
  asio::awaitable<void> config(Exchange& exchange);
  asio::awaitable<void> health(Exchange& exchange);
  asio::awaitable<void> unknown(Exchange& exchange);

  sandkey::emulator::World& world_;
  const Knobs& knobs_;
  const Directory& directory_;
  Snapshots& snapshots_;
  Volumes& volumes_;
  Fleet& fleet_;
  Places places_;
  RateLimits limits_;
  sandkey::emulator::Router router_;
};

}  // namespace sandkey::daytona::emulator
