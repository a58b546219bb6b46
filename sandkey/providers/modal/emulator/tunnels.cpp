#include "sandkey/providers/modal/emulator/tunnels.h"

#include "sandkey/emulator/exchange.h"
#include "sandkey/emulator/port_traffic.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/net/http_forward.h"

#include <chrono>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::chrono::seconds kDialPatience{10};
constexpr std::string_view kLabelAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::size_t kLabelLength = 16;
constexpr std::size_t kTokenLength = 43;
constexpr std::string_view kTokenQuery = "_modal_connect_token";
constexpr std::string_view kUserHeader = "X-Verified-User-Data";
constexpr std::string_view kBearer = "Bearer ";

asio::awaitable<void> refuse(net::HttpExchange& exchange, int status, std::string text) {
  co_await exchange.reply(status, "modal: " + std::move(text) + "\n", "text/plain; charset=utf-8");
}

// Says to the server inside who it is that calls; nobody else may.
class VerifiedExchange final : public emu::ForwardingExchange {
 public:
  VerifiedExchange(net::HttpExchange& next, const std::string& user)
      : ForwardingExchange(next), user_(user) {}
  std::vector<Header> headers() const override {
    std::vector<Header> headers = next_.headers();
    std::erase_if(headers, [](const Header& each) {
      return each.first == "authorization" || each.first == "Authorization" || each.first == kUserHeader ||
             each.first == "x-verified-user-data";
    });
    if (!user_.empty()) headers.emplace_back(kUserHeader, user_);
    return headers;
  }

 private:
  const std::string& user_;
};

}  // namespace

Tunnels::Tunnels(emu::World& world, asio::any_io_executor executor)
    : world_(world), executor_(std::move(executor)) {}

void Tunnels::serve_at(const emu::Addresses& addresses) {
  host_ = emu::without_port(addresses.domain);
  port_ = static_cast<std::uint32_t>(
      emu::parse_number(std::string_view(addresses.domain).substr(host_.size() + 1)).value_or(0));
}

std::string Tunnels::new_name(const SandboxPtr& sandbox, std::uint16_t port) {
  std::string label = emu::random_text(world_.engine, kLabelLength, kLabelAlphabet);
  places_[label] = {.sandbox = sandbox, .port = port};
  return label;
}

modal_wire::TunnelData Tunnels::open(const SandboxPtr& sandbox, std::uint16_t port) {
  modal_wire::TunnelData tunnel;
  tunnel.set_host(new_name(sandbox, port) + "." + host_);
  tunnel.set_port(port_);
  tunnel.set_container_port(port);
  return tunnel;
}

Tunnels::Connection Tunnels::connect(const SandboxPtr& sandbox, std::uint16_t port,
                                     std::string user_metadata) {
  std::string& label = connect_names_[sandbox->id];
  if (label.empty()) label = new_name(sandbox, 0);
  std::string token = emu::random_text(world_.engine, kTokenLength, kLabelAlphabet);
  world_.secrets.add(token, "connect token of " + sandbox->id);
  grants_[token] = {sandbox->id, {.port = port, .user_metadata = std::move(user_metadata)}};
  return {.url = "https://" + label + "." + host_ + ":" + std::to_string(port_), .token = std::move(token)};
}

void Tunnels::close(const Sandbox& sandbox) {
  std::erase_if(places_, [&](const auto& each) {
    const SandboxPtr there = each.second.sandbox.lock();
    return !there || there->id == sandbox.id;
  });
  connect_names_.erase(sandbox.id);
  std::erase_if(grants_, [&](const auto& each) { return each.second.first == sandbox.id; });
}

std::optional<emu::Call> Tunnels::route(const net::HttpExchange& exchange) {
  const std::string_view name = emu::without_port(exchange.header("host"));
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || name.substr(dot + 1) != host_) return std::nullopt;
  return emu::Call{.route = "tunnel",
                   .run = [this, label = std::string(name.substr(0, dot))](net::HttpExchange& other) {
                     return serve(other, label);
                   }};
}

const Tunnels::Grant* Tunnels::grant_of(const net::HttpExchange& exchange, const Sandbox& sandbox) const {
  std::string token(exchange.header("authorization"));
  if (token.starts_with(kBearer)) {
    token.erase(0, kBearer.size());
  } else {
    token = exchange.query(kTokenQuery).value_or("");
  }
  const auto found = grants_.find(token);
  return found == grants_.end() || found->second.first != sandbox.id ? nullptr : &found->second.second;
}

asio::awaitable<void> Tunnels::serve(net::HttpExchange& exchange, std::string name) {
  const std::string https = ":" + std::to_string(port_);
  if (!exchange.header("host").ends_with(https)) {
    co_await refuse(exchange, 421, "this address is served by https, at port " + https.substr(1));
    co_return;
  }
  const auto found = places_.find(name);
  const SandboxPtr sandbox = found == places_.end() ? nullptr : found->second.sandbox.lock();
  if (!sandbox || !running(*sandbox)) {
    co_await refuse(exchange, 404, "there is no such tunnel");
    co_return;
  }
  if (found->second.port != 0) {
    co_await pass(exchange, sandbox, found->second.port);
    co_return;
  }
  const Grant* grant = grant_of(exchange, *sandbox);
  if (grant == nullptr) {
    co_await refuse(exchange, 401, "the connect token is missing or invalid");
    co_return;
  }
  const std::string user = grant->user_metadata;
  VerifiedExchange verified(exchange, user);
  co_await pass(verified, sandbox, grant->port);
}

asio::awaitable<void> Tunnels::pass(net::HttpExchange& exchange, SandboxPtr sandbox, std::uint16_t port) {
  struct Passing {
    emu::Clock& clock;
    SandboxPtr sandbox;
    net::HttpExchange* exchange;
    ~Passing() {
      sandbox->traffic.erase(exchange);
      sandbox->last_used = clock.now();
    }
  };
  const std::shared_ptr<emu::LocalSandbox> local = sandbox->local;
  sandbox->traffic.insert(&exchange);
  const Passing passing{world_.clock, sandbox, &exchange};
  const Deadline deadline = world_.engine.in(kDialPatience);
  net::ForwardOptions options;
  const bool answered =
      co_await emu::forward_to_port(exchange, executor_, *local, port, std::move(options), deadline);
  if (answered || exchange.replied()) co_return;
  co_await refuse(exchange, 502, "nothing listens at port " + std::to_string(port) + " of the sandbox");
}

}  // namespace sandkey::modal::emulator
