#include "sandkey/providers/runloop/emulator/devbox_routes.h"

#include "sandkey/emulator/random_text.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/providers/runloop/emulator/hold.h"
#include "sandkey/providers/runloop/emulator/listing.h"
#include "sandkey/providers/runloop/emulator/requests.h"
#include "sandkey/providers/runloop/emulator/tunnels.h"

#include <boost/json/serialize.hpp>

#include <optional>
#include <utility>
#include <vector>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

// Clients give a create 30 seconds.
constexpr std::chrono::seconds kCreateWait{20};
constexpr std::chrono::seconds kEvictionWatch{60};
constexpr std::size_t kSecretIdLength = 22;
constexpr std::string_view kLettersAndDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
constexpr Needs kLookAtAccount{Resource::account, Access::read, false};

asio::awaitable<void> reply(net::HttpExchange& exchange, json::object object) {
  return emu::reply_json(exchange, 200, json::value(std::move(object)));
}

asio::awaitable<void> reply_empty(net::HttpExchange& exchange) {
  return emu::reply_text(exchange, 200, "{}");
}

}  // namespace

DevboxRoutes::DevboxRoutes(emu::World& world, Fleet& fleet, Api& api) : world_(world), fleet_(fleet) {
  add(api, "GET /v1/accounts/me", kLookAtAccount, &DevboxRoutes::me);
  add(api, "POST /v1/devboxes", kUse, &DevboxRoutes::create);
  add(api, "POST /v1/devboxes/create_and_await_running", kUse, &DevboxRoutes::create_and_wait);
  add(api, "GET /v1/devboxes", kLook, &DevboxRoutes::list);
  add(api, "GET /v1/devboxes/{id}", kLook, &DevboxRoutes::get);
  add(api, "POST /v1/devboxes/{id}", kUse, &DevboxRoutes::update);
  add(api, "POST /v1/devboxes/{id}/wait_for_status", kLook, &DevboxRoutes::wait);
  add(api, "POST /v1/devboxes/{id}/shutdown", kEnd, &DevboxRoutes::shut_down);
  add(api, "POST /v1/devboxes/{id}/suspend", kEnd, &DevboxRoutes::suspend);
  add(api, "POST /v1/devboxes/{id}/resume", kUse, &DevboxRoutes::resume);
  add(api, "POST /v1/devboxes/{id}/keep_alive", kUse, &DevboxRoutes::keep_alive);
  add(api, "GET /v1/devboxes/{id}/usage", kLook, &DevboxRoutes::usage);
  add(api, "GET /v1/devboxes/{id}/logs", kLook, &DevboxRoutes::logs);
  add(api, "GET /v1/devboxes/evictions/watch", kLook, &DevboxRoutes::evictions);
  add(api, "POST /v1/devboxes/{id}/enable_tunnel", kUse, &DevboxRoutes::enable_tunnel);
  add(api, "POST /v1/devboxes/{id}/create_tunnel", kUse, &DevboxRoutes::create_tunnel);
  add(api, "POST /v1/devboxes/{id}/remove_tunnel", kEnd, &DevboxRoutes::remove_tunnel);
  add(api, "GET /v1/secrets", kLook, &DevboxRoutes::list_secrets);
  add(api, "POST /v1/secrets", kUse, &DevboxRoutes::add_secret);
  add(api, "GET /v1/secrets/{name}", kLook, &DevboxRoutes::get_secret);
  add(api, "POST /v1/secrets/{name}", kUse, &DevboxRoutes::update_secret);
  add(api, "POST /v1/secrets/{name}/delete", kEnd, &DevboxRoutes::delete_secret);
  add(api, "GET /v1/secrets/id/{id}", kLook, &DevboxRoutes::get_secret_by_id);
  add(api, "POST /v1/secrets/id/{id}/update", kUse, &DevboxRoutes::update_secret_by_id);
  add(api, "POST /v1/secrets/id/{id}/delete", kEnd, &DevboxRoutes::delete_secret_by_id);
  for (const char* route : {"POST /v1/devboxes/{id}/create_ssh_key",
                            "POST /v1/devboxes/{id}/create_pty_tunnel",
                            "POST /v1/devboxes/{id}/create_gateway_token",
                            "POST /v1/devboxes/{id}/create_mcp_token",
                            "POST /v1/apikeys",
                            "POST /v1/restricted_keys",
                            "GET /v1/objects",
                            "POST /v1/objects",
                            "GET /v1/objects/{id}",
                            "GET /v1/objects/{id}/download",
                            "GET /v1/objects/list_public",
                            "POST /v1/objects/{id}/complete",
                            "POST /v1/objects/{id}/delete",
                            "GET /v1/network-policies",
                            "POST /v1/network-policies",
                            "GET /v1/network-policies/{id}",
                            "POST /v1/network-policies/{id}",
                            "POST /v1/network-policies/{id}/delete",
                            "GET /v1/gateway-configs",
                            "POST /v1/gateway-configs",
                            "GET /v1/gateway-configs/{id}",
                            "POST /v1/gateway-configs/{id}",
                            "POST /v1/gateway-configs/{id}/delete",
                            "GET /v1/mcp-configs",
                            "POST /v1/mcp-configs",
                            "GET /v1/mcp-configs/{id}",
                            "POST /v1/mcp-configs/{id}",
                            "POST /v1/mcp-configs/{id}/delete",
                            "GET /v1/agents",
                            "POST /v1/agents",
                            "GET /v1/agents/{id}",
                            "GET /v1/scenarios",
                            "POST /v1/scenarios",
                            "GET /v1/benchmarks",
                            "POST /v1/benchmarks"}) {
    api.add_not_emulated(route);
  }
}

void DevboxRoutes::add(Api& api, const char* route, Needs needs, Action action) {
  api.add(route, needs, [this, action](Exchange& exchange, const Account& account, Arguments arguments) {
    return (this->*action)(exchange, account, std::move(arguments));
  });
}

asio::awaitable<void> DevboxRoutes::me(Exchange& exchange, const Account& account, Arguments) {
  co_await reply(exchange, to_account_view(account));
}

// ---- Beginning

asio::awaitable<DevboxPtr> DevboxRoutes::create_once(Exchange& exchange, const Account& account) {
  const json::object body = co_await read_object(exchange);
  const std::string request_id(exchange.header("x-request-id"));
  const std::string made = once_.made_for(account.name, request_id);
  if (!made.empty()) co_return fleet_.get(account, made);
  CreateRequest request = parse_create(body);
  Texts secrets;
  for (const auto& [variable, name] : request.secrets) secrets[variable] = secret(account, name).value;
  DevboxPtr devbox = fleet_.create(account, std::move(request), std::move(secrets));
  once_.remember(account.name, request_id, devbox->id);
  co_return devbox;
}

asio::awaitable<void> DevboxRoutes::create(Exchange& exchange, const Account& account, Arguments) {
  const DevboxPtr devbox = co_await create_once(exchange, account);
  co_await reply(exchange, emulator::to_view(*devbox));
}

asio::awaitable<void> DevboxRoutes::create_and_wait(Exchange& exchange, const Account& account, Arguments) {
  const DevboxPtr devbox = co_await create_once(exchange, account);
  Hold hold(world_.engine, world_.clock, {devbox, &devbox->changed}, kCreateWait);
  while (devbox->status() != Status::running && !devbox->over() && !hold.over() && !fleet_.closing()) {
    co_await hold.wait();
  }
  co_await reply(exchange, emulator::to_view(*devbox));
}

// ---- Looking

asio::awaitable<void> DevboxRoutes::get(Exchange& exchange, const Account& account, Arguments arguments) {
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  co_await reply(exchange, emulator::to_view(*devbox));
}

asio::awaitable<void> DevboxRoutes::list(Exchange& exchange, const Account& account, Arguments) {
  const PageQuery query = parse_page(exchange);
  std::string status = exchange.query("status").value_or("");
  if (!status.empty() && !status_names().contains(status)) throw invalid("'" + status + "' is no status");
  if (status == "scheduled") status = "queued";
  std::vector<Item> items;
  for (const DevboxPtr& each : fleet_.of(account)) {
    if (!status.empty() && to_string(each->status()) != status) continue;
    items.push_back({.id = each->id, .show = [each] { return emulator::to_view(*each); }});
  }
  co_await reply(exchange, make_page(query, "devboxes", items));
}

asio::awaitable<void> DevboxRoutes::update(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  const std::optional<std::string> name = parse_text(body, "name");
  std::optional<Texts> metadata = parse_texts(body, "metadata");
  if (name) devbox->name = *name;
  if (metadata) devbox->metadata = std::move(*metadata);
  co_await reply(exchange, emulator::to_view(*devbox));
}

// Never answers with a status that was not asked for: to SDKs that would be a failure.
asio::awaitable<void> DevboxRoutes::wait(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  const WaitRequest request = parse_wait(body, status_names(), kMaxDevboxWait);
  const auto reached = [&] { return request.statuses.contains(to_string(devbox->status())); };
  Hold hold(world_.engine, world_.clock, {devbox, &devbox->changed}, request.timeout);
  while (!reached() && !hold.over() && !fleet_.closing()) co_await hold.wait();
  if (!reached()) throw still_waiting("Devbox '" + devbox->id + "' has not reached any of the statuses");
  co_await reply(exchange, emulator::to_view(*devbox));
}

asio::awaitable<void> DevboxRoutes::usage(Exchange& exchange, const Account& account, Arguments arguments) {
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  co_await reply(exchange, to_usage(*devbox, world_.clock.now()));
}

asio::awaitable<void> DevboxRoutes::logs(Exchange& exchange, const Account& account, Arguments arguments) {
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  const std::string execution = exchange.query("execution_id").value_or("");
  const std::string shell = exchange.query("shell_name").value_or("");
  co_await reply(exchange, to_logs(*devbox, execution, shell));
}

// Nothing is ever evicted here; the stream is one without events, which the cloud closes as well.
asio::awaitable<void> DevboxRoutes::evictions(Exchange& exchange, const Account&, Arguments) {
  if (exchange.header("accept").find("text/event-stream") == std::string_view::npos) {
    co_await exchange.reply(200, "", "text/plain");
    co_return;
  }
  const bool begun = co_await exchange.start(200, "text/event-stream");
  if (!begun) co_return;
  constexpr std::string_view kComment = ": no evictions\n\n";
  const bool alive = co_await exchange.write(kComment);
  if (!alive) co_return;
  Hold hold(world_.engine, world_.clock, fleet_.ending(), kEvictionWatch);
  while (!hold.over() && !fleet_.closing() && !exchange.peer_gone()) co_await hold.wait();
  (void)co_await exchange.finish();
}

// ---- Changing

asio::awaitable<void> DevboxRoutes::shut_down(Exchange& exchange, const Account& account,
                                              Arguments arguments) {
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  const bool force = exchange.query("force").value_or("") == "true";
  co_await fleet_.shut_down(devbox, force);
  co_await reply(exchange, emulator::to_view(*devbox));
}

asio::awaitable<void> DevboxRoutes::suspend(Exchange& exchange, const Account& account, Arguments arguments) {
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  fleet_.suspend(devbox);
  co_await reply(exchange, emulator::to_view(*devbox));
}

asio::awaitable<void> DevboxRoutes::resume(Exchange& exchange, const Account& account, Arguments arguments) {
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  fleet_.resume(devbox);
  co_await reply(exchange, emulator::to_view(*devbox));
}

asio::awaitable<void> DevboxRoutes::keep_alive(Exchange& exchange, const Account& account,
                                               Arguments arguments) {
  (void)fleet_.use(account, arguments[0]);
  co_await reply_empty(exchange);
}

// ---- Tunnels

asio::awaitable<void> DevboxRoutes::enable_tunnel(Exchange& exchange, const Account& account,
                                                  Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  const TunnelRequest request = parse_tunnel(body);
  co_await reply(exchange, emulator::to_view(fleet_.enable_tunnel(devbox, request)));
}

// The way of SDKs before 1.12: a URL for one port.
asio::awaitable<void> DevboxRoutes::create_tunnel(Exchange& exchange, const Account& account,
                                                  Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  const auto port = find_integer(body, "port");
  if (!port || *port < 1 || *port > 65535) throw invalid("'port' is no port");
  const Tunnel& tunnel = fleet_.enable_tunnel(devbox, TunnelRequest());
  json::object view;
  view["devbox_id"] = devbox->id;
  view["port"] = *port;
  view["url"] = tunnel_url(static_cast<std::uint16_t>(*port), tunnel.key, exchange.header("host"));
  co_await reply(exchange, std::move(view));
}

asio::awaitable<void> DevboxRoutes::remove_tunnel(Exchange& exchange, const Account& account,
                                                  Arguments arguments) {
  const DevboxPtr devbox = fleet_.get(account, arguments[0]);
  fleet_.remove_tunnel(devbox);
  co_await reply_empty(exchange);
}

// ---- Secrets

json::object DevboxRoutes::to_view(const std::string& name, const Secret& secret) {
  json::object view;
  view["id"] = secret.id;
  view["name"] = name;
  view["create_time_ms"] = milliseconds_of(secret.created);
  view["update_time_ms"] = milliseconds_of(secret.updated);
  return view;
}

DevboxRoutes::Secret& DevboxRoutes::secret(const Account& account, const std::string& name) {
  Secrets& secrets = secrets_[account.name];
  const auto found = secrets.find(name);
  if (found == secrets.end()) throw no_such("Secret", name);
  return found->second;
}

std::string DevboxRoutes::secret_name(const Account& account, const std::string& id) {
  for (const auto& [name, secret] : secrets_[account.name]) {
    if (secret.id == id) return name;
  }
  throw no_such("Secret", id);
}

asio::awaitable<void> DevboxRoutes::list_secrets(Exchange& exchange, const Account& account, Arguments) {
  const PageQuery query = parse_page(exchange);
  std::vector<Item> items;
  for (const auto& [name, secret] : secrets_[account.name]) {
    items.push_back({.id = secret.id, .show = [view = to_view(name, secret)] { return view; }});
  }
  co_await reply(exchange, make_page(query, "secrets", items));
}

asio::awaitable<void> DevboxRoutes::add_secret(Exchange& exchange, const Account& account, Arguments) {
  const json::object body = co_await read_object(exchange);
  const std::string name = require_text(body, "name");
  const std::string value = require_text(body, "value");
  const emu::Time now = world_.clock.now();
  const auto [place, is_new] = secrets_[account.name].try_emplace(name);
  if (!is_new) throw ApiError(409, "There is a secret named '" + name + "'", "already_exists");
  place->second = {.id = "sec_" + emu::random_text(world_.engine, kSecretIdLength, kLettersAndDigits),
                   .value = value,
                   .created = now,
                   .updated = now};
  world_.secrets.add(value, "secret " + name);
  co_await reply(exchange, to_view(name, place->second));
}

asio::awaitable<void> DevboxRoutes::get_secret(Exchange& exchange, const Account& account,
                                               Arguments arguments) {
  co_await reply(exchange, to_view(arguments[0], secret(account, arguments[0])));
}

asio::awaitable<void> DevboxRoutes::update_secret(Exchange& exchange, const Account& account,
                                                  Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  Secret& found = secret(account, arguments[0]);
  found.value = require_text(body, "value");
  found.updated = world_.clock.now();
  world_.secrets.add(found.value, "secret " + arguments[0]);
  co_await reply(exchange, to_view(arguments[0], found));
}

asio::awaitable<void> DevboxRoutes::delete_secret(Exchange& exchange, const Account& account,
                                                  Arguments arguments) {
  json::object view = to_view(arguments[0], secret(account, arguments[0]));
  secrets_[account.name].erase(arguments[0]);
  co_await reply(exchange, std::move(view));
}

asio::awaitable<void> DevboxRoutes::get_secret_by_id(Exchange& exchange, const Account& account,
                                                     Arguments arguments) {
  arguments[0] = secret_name(account, arguments[0]);
  return get_secret(exchange, account, std::move(arguments));
}

asio::awaitable<void> DevboxRoutes::update_secret_by_id(Exchange& exchange, const Account& account,
                                                        Arguments arguments) {
  arguments[0] = secret_name(account, arguments[0]);
  return update_secret(exchange, account, std::move(arguments));
}

asio::awaitable<void> DevboxRoutes::delete_secret_by_id(Exchange& exchange, const Account& account,
                                                        Arguments arguments) {
  arguments[0] = secret_name(account, arguments[0]);
  return delete_secret(exchange, account, std::move(arguments));
}

}  // namespace sandkey::runloop::emulator
