#include "sandkey/providers/daytona/emulator/data_plane.h"

#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/emulator/exchange.h"
#include "sandkey/emulator/port_traffic.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/providers/daytona/emulator/signature.h"
#include "sandkey/providers/daytona/emulator/times.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_server.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;
using daytona_toolbox::ToolboxServer;

constexpr std::chrono::seconds kDialPatience{10};
constexpr std::string_view kToolboxPath = "/toolbox/";
constexpr std::string_view kProxyPath = "/proxy/";
constexpr std::string_view kTokenHeader = "x-daytona-preview-token";
constexpr std::string_view kTokenParameter = "DAYTONA_SANDBOX_AUTH_KEY";
constexpr std::string_view kSkipActivity = "x-daytona-skip-last-activity-update";
constexpr std::string_view kSkipWarning = "x-daytona-skip-preview-warning";
constexpr std::string_view kWarning =
    "<!DOCTYPE html><html><head><title>Preview</title></head><body><h1>This is the preview of a "
    "sandbox</h1></body></html>\n";
// Terminal, toolbox and recordings are nobody's but the organization's, however public the sandbox is.
constexpr std::array<std::uint16_t, 3> kPrivatePorts{22222, kToolboxPort, 33333};
constexpr std::size_t kSignedTokenLength = 16;

constexpr const char* kPortRoute = "port traffic";
constexpr const char* kProxyRoute = "toolbox ANY /proxy/{port}/{path}";

bool is_signed_token(std::string_view text) {
  return text.size() == kSignedTokenLength &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

bool is_upgrade(const net::HttpExchange& exchange) {
  return !exchange.header("upgrade").empty();
}

// One that asks for something else than it came for.
class RetargetedExchange final : public emu::ForwardingExchange {
 public:
  RetargetedExchange(net::HttpExchange& next, std::string target)
      : ForwardingExchange(next), target_(std::move(target)) {}
  std::string_view target() const override { return target_; }

 private:
  std::string target_;
};

// Of "/proxy/3000/a/b", 3000 and "/a/b"; nothing if it is no such path.
std::optional<std::pair<std::uint16_t, std::string>> proxied(std::string_view path) {
  if (!path.starts_with(kProxyPath)) return std::nullopt;
  path.remove_prefix(kProxyPath.size());
  const std::size_t end = std::min(path.find('/'), path.size());
  const auto port = emu::parse_number(path.substr(0, end));
  if (!port || *port == 0 || *port > 65535) return std::nullopt;
  const std::string_view rest = path.substr(end);
  return std::pair(static_cast<std::uint16_t>(*port), rest.empty() ? "/" : std::string(rest));
}

std::string route_of(const net::HttpExchange& exchange, const Destination& destination) {
  if (destination.port != 0 && destination.port != kToolboxPort) return kPortRoute;
  if (proxied(destination.path)) return kProxyRoute;
  const auto route = ToolboxServer::route_of(exchange.method(), destination.path);
  return "toolbox " + route.value_or("(unknown)");
}

}  // namespace

std::optional<Destination> find_destination(std::string_view host, std::string_view target) {
  std::string_view path = net::without_authority(target);
  path = path.substr(0, path.find('?'));
  if (const auto named = emu::parse_port_name(host)) {
    if (named->port == 0 || named->port > 65535) return std::nullopt;
    return Destination{.sandbox = std::string(named->name),
                       .port = static_cast<std::uint16_t>(named->port),
                       .is_signed = is_signed_token(named->name),
                       .path = std::string(path)};
  }
  if (!path.starts_with(kToolboxPath)) return std::nullopt;
  path.remove_prefix(kToolboxPath.size());
  const std::size_t end = std::min(path.find('/'), path.size());
  const std::string_view rest = path.substr(end);
  return Destination{.sandbox = std::string(path.substr(0, end)),
                     .path = rest.empty() ? "/" : std::string(rest)};
}

std::string without_token(std::string_view target) {
  std::string kept(target.substr(0, target.find('?')));
  std::string_view rest = query_of(target);
  bool more = kept.size() < target.size();
  char before = '?';
  while (more) {
    const std::size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    more = end != std::string_view::npos;
    if (more) rest.remove_prefix(end + 1);
    if (pair.substr(0, pair.find('=')) == kTokenParameter) continue;
    kept += std::exchange(before, '&');
    kept += pair;
  }
  return kept;
}

DataPlane::DataPlane(emu::World& world, asio::any_io_executor executor, const Directory& directory,
                     Fleet& fleet)
    : world_(world), executor_(std::move(executor)), directory_(directory), fleet_(fleet) {}

std::vector<std::string> DataPlane::routes() {
  std::vector<std::string> names{kPortRoute, kProxyRoute};
  for (const std::string& name : ToolboxServer::routes()) names.push_back("toolbox " + name);
  return names;
}

std::optional<emu::Call> DataPlane::route(const net::HttpExchange& exchange) {
  std::optional<Destination> found = find_destination(exchange.header("host"), exchange.target());
  if (!found) return std::nullopt;
  std::string route = route_of(exchange, *found);
  return emu::Call{
      .route = std::move(route),
      .run = [this, to = std::move(*found)](net::HttpExchange& other) { return serve(other, to); }};
}

// A signed URL of one file, for one purpose.
bool DataPlane::is_signed_file(const net::HttpExchange& exchange, const Destination& destination,
                               const Sandbox& sandbox) const {
  const bool reads = exchange.method() == "GET" && destination.path == "/files/download";
  const bool writes = exchange.method() == "POST" && destination.path == "/files/upload-v2";
  if (!reads && !writes) return false;
  const std::string expires = exchange.query("expires").value_or("");
  const auto last = emu::parse_number(expires);
  if (!last) return false;
  const auto now = std::chrono::floor<std::chrono::seconds>(world_.clock.now().time_since_epoch());
  if (*last != 0 && *last < static_cast<std::uint64_t>(now.count())) return false;
  const std::string path = exchange.query("path").value_or("");
  return exchange.query("signature") == file_signature(sandbox.signing_key, exchange.method(), path, expires);
}

DataPlane::Proof DataPlane::proof_of(const net::HttpExchange& exchange, const Sandbox& sandbox) const {
  if (directory_.organization_of(exchange) == sandbox.organization) return Proof::bearer;
  if (exchange.header(kTokenHeader) == sandbox.preview_token) return Proof::token;
  if (exchange.query(kTokenParameter).value_or("") == sandbox.preview_token) return Proof::token;
  return Proof::none;
}

asio::awaitable<void> DataPlane::refuse(net::HttpExchange& exchange, int status, std::string code,
                                        std::string message) {
  json::object object;
  object["statusCode"] = status;
  object["source"] = "DAYTONA_PROXY";
  object["message"] = std::move(message);
  object["code"] = std::move(code);
  object["timestamp"] = to_iso(world_.clock.now());
  object["path"] = utf8::sanitize(exchange.path());
  object["method"] = utf8::sanitize(exchange.method());
  const json::value answer = std::move(object);
  co_await emu::reply_json(exchange, status, answer);
}

asio::awaitable<void> DataPlane::serve(net::HttpExchange& exchange, Destination destination) {
  const SandboxPtr sandbox = destination.is_signed ? fleet_.find_signed(destination.sandbox, destination.port)
                                                   : fleet_.find(destination.sandbox);
  Proof proof = sandbox && destination.is_signed ? Proof::open : Proof::none;
  if (sandbox && proof == Proof::none) proof = proof_of(exchange, *sandbox);
  if (sandbox && proof == Proof::none && destination.port == 0 &&
      is_signed_file(exchange, destination, *sandbox)) {
    proof = Proof::open;
  }
  if (destination.port != 0 && destination.port != kToolboxPort) {
    co_await serve_port(exchange, sandbox, destination.port, proof);
    co_return;
  }
  if (proof == Proof::none) {
    co_await refuse(exchange, 401, "UNAUTHORIZED",
                    "unauthorized: authentication failed: the credential does not lead to this sandbox");
    co_return;
  }
  const bool runs = co_await require_running(exchange, sandbox);
  if (!runs) co_return;
  const auto inner = proxied(destination.path);
  if (!inner) {
    co_await serve_toolbox(exchange, sandbox, std::move(destination.path));
    co_return;
  }
  std::string target = inner->second;
  if (const auto query = query_of(exchange.target()); !query.empty()) target.append("?").append(query);
  target = without_token(target);
  co_await forward(exchange, sandbox, inner->first, std::move(target), proof == Proof::bearer);
}

// Otherwise it has been answered why not.
asio::awaitable<bool> DataPlane::require_running(net::HttpExchange& exchange, SandboxPtr sandbox) {
  if (sandbox->machine) co_return true;
  if (sandbox->state == State::archived || sandbox->state == State::restoring) {
    co_await refuse(exchange, 400, "BAD_REQUEST",
                    "bad request: failed to get runner info: the sandbox has no runner");
  } else {
    co_await refuse(exchange, 400, "SANDBOX_NOT_STARTED",
                    "bad request: no IP address found. Is the Sandbox started?");
  }
  co_return false;
}

asio::awaitable<void> DataPlane::serve_port(net::HttpExchange& exchange, SandboxPtr sandbox,
                                            std::uint16_t port, Proof proof) {
  const bool is_private = std::ranges::find(kPrivatePorts, port) != kPrivatePorts.end();
  if (sandbox && proof == Proof::none && sandbox->request.is_public && !is_private) proof = Proof::open;
  if (proof == Proof::none) {
    const std::string login = places_.http + "/oidc/authorize";
    const std::array<net::HttpExchange::Header, 1> headers{{{"Location", login}}};
    co_await exchange.reply(307, "", "", headers);
    co_return;
  }
  if (emu::is_browser(exchange) && !is_upgrade(exchange) && exchange.header(kSkipWarning) != "true") {
    std::string page(kWarning);
    co_await exchange.reply(200, std::move(page), "text/html; charset=utf-8");
    co_return;
  }
  const bool runs = co_await require_running(exchange, sandbox);
  if (!runs) co_return;
  std::string target = without_token(exchange.target());
  co_await forward(exchange, sandbox, port, std::move(target), proof == Proof::bearer);
}

// A credential of the cloud is nothing for what runs inside.
asio::awaitable<void> DataPlane::forward(net::HttpExchange& exchange, SandboxPtr sandbox, std::uint16_t port,
                                         std::string target, bool drop_bearer) {
  if (exchange.header(kSkipActivity) != "true") fleet_.touch(sandbox);
  const Fleet::Passing passing(fleet_, sandbox, exchange, is_upgrade(exchange));
  const std::shared_ptr<Machine> machine = sandbox->machine;
  net::ForwardOptions options;
  options.dropped_headers = {std::string(kTokenHeader)};
  if (drop_bearer) options.dropped_headers.emplace_back("authorization");
  RetargetedExchange inner(exchange, std::move(target));
  const Deadline deadline = world_.engine.in(kDialPatience);
  const bool answered =
      co_await emu::forward_to_port(inner, executor_, *machine->local, port, std::move(options), deadline);
  if (!answered && !exchange.replied()) co_await exchange.reply(502, "", "");
}

asio::awaitable<void> DataPlane::serve_toolbox(net::HttpExchange& exchange, SandboxPtr sandbox,
                                               std::string path) {
  if (exchange.header(kSkipActivity) != "true") fleet_.touch(sandbox);
  const Fleet::Passing passing(fleet_, sandbox, exchange, is_upgrade(exchange));
  const std::shared_ptr<Machine> machine = sandbox->machine;
  co_await machine->toolbox->handle(exchange, std::move(path));
}

}  // namespace sandkey::daytona::emulator
