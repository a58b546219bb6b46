#include "sandkey/providers/runloop/emulator/tunnels.h"

#include "sandkey/emulator/port_traffic.h"
#include "sandkey/providers/runloop/emulator/api.h"
#include "sandkey/providers/runloop/emulator/hold.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::chrono::seconds kDialPatience{10};
constexpr std::chrono::seconds kWakePatience{60};
constexpr std::string_view kTunnel = "tunnel.";
constexpr std::string_view kApi = "api.";
constexpr std::string_view kBearer = "Bearer ";
constexpr std::string_view kTokenHeader = "x-runloop-tunnel-authorization";

bool is_key(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

bool is_this_machine(std::string_view name) {
  return name == "localhost" || name.starts_with("127.") || name == "[::1]" || name.ends_with(".localhost");
}

bool is_token(std::string_view header, std::string_view token) {
  return header.starts_with(kBearer) && header.substr(kBearer.size()) == token;
}

// The header of its own, or the one that served before there was that.
bool may_pass(const net::HttpExchange& exchange, const Tunnel& tunnel) {
  return !tunnel.settings.authenticated || is_token(exchange.header(kTokenHeader), tunnel.token) ||
         is_token(exchange.header("authorization"), tunnel.token);
}

ApiError unavailable(const std::string& why) {
  return {503, why, "tunnel_unavailable"};
}

}  // namespace

std::optional<TunnelHost> parse_tunnel_host(std::string_view host) {
  const std::size_t dot = host.find('.');
  if (dot == std::string_view::npos || !host.substr(dot + 1).starts_with(kTunnel)) return std::nullopt;
  const auto found = emu::parse_port_name(host);
  if (!found || found->port == 0 || found->port > 65535 || !is_key(found->name)) return std::nullopt;
  return TunnelHost{.port = static_cast<std::uint16_t>(found->port), .key = std::string(found->name)};
}

std::string tunnel_url(std::uint16_t port, std::string_view key, std::string_view api_host) {
  const std::string label = std::to_string(port) + "-" + std::string(key) + ".tunnel.";
  std::string_view name = emu::without_port(api_host);
  const std::string_view own_port = api_host.substr(name.size());
  if (is_this_machine(name)) return "http://" + label + "localhost" + std::string(own_port);
  if (name.starts_with(kApi)) name.remove_prefix(kApi.size());
  return "https://" + label + std::string(name);
}

Tunnels::Tunnels(emu::World& world, asio::any_io_executor executor, Fleet& fleet)
    : world_(world), executor_(std::move(executor)), fleet_(fleet) {}

std::optional<emu::Call> Tunnels::route(const net::HttpExchange& exchange) {
  std::optional<TunnelHost> host = parse_tunnel_host(exchange.header("host"));
  if (!host) return std::nullopt;
  return emu::Call{.route = kRoute, .run = [this, to = std::move(*host)](net::HttpExchange& other) {
                     return answer_refusals(other, serve(other, to));
                   }};
}

asio::awaitable<void> Tunnels::serve(net::HttpExchange& exchange, TunnelHost host) {
  const DevboxPtr devbox = fleet_.behind_tunnel(host.key);
  if (!devbox) throw ApiError(404, "There is no such tunnel", "tunnel_not_found");
  if (!may_pass(exchange, *devbox->tunnel)) {
    throw ApiError(401, "The tunnel wants its token: X-Runloop-Tunnel-Authorization: Bearer TOKEN",
                   "tunnel_unauthorized");
  }
  if (devbox->status() != Status::running) co_await wake(devbox);
  const bool keeps_alive = devbox->tunnel && devbox->tunnel->settings.http_keep_alive;
  if (keeps_alive) fleet_.touch(devbox);
  struct Passing {
    DevboxPtr devbox;
    net::HttpExchange* exchange;
    ~Passing() { devbox->traffic.erase(exchange); }
  };
  devbox->traffic.insert(&exchange);
  const Passing passing{devbox, &exchange};
  co_await forward(exchange, devbox, host.port);
}

// Returns when it runs.
asio::awaitable<void> Tunnels::wake(DevboxPtr devbox) {
  const bool wakes =
      devbox->launch.wakes_on_http || (devbox->tunnel && devbox->tunnel->settings.wake_on_http);
  if (devbox->status() == Status::suspended) {
    if (!wakes) throw unavailable("The devbox is suspended");
    fleet_.resume(devbox);
  }
  Hold hold(world_.engine, world_.clock, {devbox, &devbox->changed}, kWakePatience);
  const auto may_come = [&] {
    return !devbox->over() && devbox->status() != Status::running && devbox->status() != Status::suspended;
  };
  while (may_come() && !hold.over() && !fleet_.closing()) co_await hold.wait();
  if (devbox->status() != Status::running) throw unavailable("The devbox does not run");
}

asio::awaitable<void> Tunnels::forward(net::HttpExchange& exchange, DevboxPtr devbox, std::uint16_t port) {
  const std::shared_ptr<emu::LocalSandbox> local = devbox->local;
  net::ForwardOptions options;
  options.dropped_headers.emplace_back(kTokenHeader);
  if (devbox->tunnel && is_token(exchange.header("authorization"), devbox->tunnel->token)) {
    options.dropped_headers.emplace_back("authorization");
  }
  const Deadline dial_by = world_.engine.in(kDialPatience);
  const bool answered =
      co_await emu::forward_to_port(exchange, executor_, *local, port, std::move(options), dial_by);
  if (answered || exchange.replied()) co_return;
  throw ApiError(503, "Nothing answers on port " + std::to_string(port) + " of the devbox",
                 "tunnel_service_not_ready");
}

}  // namespace sandkey::runloop::emulator
