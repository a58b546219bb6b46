#include "sandkey/providers/e2b/emulator/data_plane.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/port_traffic.h"
#include "sandkey/net/http_forward.h"
#include "sandkey/providers/e2b/emulator/api_error.h"
#include "sandkey/providers/e2b/emulator/envd/signature.h"
#include "sandkey/providers/e2b/emulator/interpreter/interpreter.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <utility>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::chrono::seconds kDialPatience{10};
constexpr std::chrono::seconds kInterpreterPatience{30};
constexpr std::string_view kTokenHeader = "E2B-Traffic-Access-Token";

// What the cloud itself asks of envd; nobody else may.
constexpr std::array<std::string_view, 7> kInternal{"/init",     "/freeze", "/unfreeze", "/collapse",
                                                    "/fsfreeze", "/fsthaw", "/upgrade"};
constexpr std::array<std::string_view, 23> kEnvdRoutes{
    "GET /health",
    "GET /metrics",
    "GET /envs",
    "GET /files",
    "HEAD /files",
    "POST /files",
    "POST /files/compose",
    "POST /process.Process/List",
    "POST /process.Process/Start",
    "POST /process.Process/Connect",
    "POST /process.Process/Update",
    "POST /process.Process/StreamInput",
    "POST /process.Process/SendInput",
    "POST /process.Process/SendSignal",
    "POST /process.Process/CloseStdin",
    "POST /filesystem.Filesystem/Stat",
    "POST /filesystem.Filesystem/MakeDir",
    "POST /filesystem.Filesystem/Move",
    "POST /filesystem.Filesystem/ListDir",
    "POST /filesystem.Filesystem/Remove",
    "POST /filesystem.Filesystem/WatchDir",
    "POST /filesystem.Filesystem/CreateWatcher",
    "POST /filesystem.Filesystem/GetWatcherEvents",
};
constexpr std::string_view kRemoveWatcher = "POST /filesystem.Filesystem/RemoveWatcher";

// "localhost" or an address: then only headers can tell.
bool names_nobody(std::string_view host) {
  return host == "localhost" || host.starts_with('[') ||
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

bool is_id(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

Destination unroutable(std::string problem) {
  return {.sandbox = {}, .port = 0, .problem = std::move(problem)};
}

Destination destination(std::string_view id, std::optional<std::uint64_t> port) {
  if (!port || *port == 0 || *port > 65535) return unroutable("Invalid sandbox port");
  if (!is_id(id)) return unroutable("Invalid sandbox ID");
  return {.sandbox = std::string(id), .port = *port};
}

// ---- Answers of the proxy

std::string html(std::string_view message) {
  return "<!DOCTYPE html><html><head><title>Sandbox</title></head><body><h1>" + std::string(message) +
         "</h1></body></html>\n";
}

asio::awaitable<void> refuse_with(net::HttpExchange& exchange, int status, json::object object) {
  if (emu::is_browser(exchange)) {
    const json::value* message = find(object, "message");
    std::string page = html(std::string_view(message->get_string()));
    co_await exchange.reply(status, std::move(page), "text/html; charset=utf-8");
    co_return;
  }
  object["code"] = status;
  std::string body = json::serialize(object);
  co_await exchange.reply(status, std::move(body), "application/json; charset=utf-8");
}

json::object answer(const std::string& sandbox, std::string_view message) {
  json::object object;
  object["sandboxId"] = sandbox;
  object["message"] = message;
  return object;
}

asio::awaitable<void> refuse(net::HttpExchange& exchange, int status, const std::string& sandbox,
                             const std::string& message) {
  return refuse_with(exchange, status, answer(sandbox, message));
}

asio::awaitable<void> refuse_plainly(net::HttpExchange& exchange, std::string text) {
  static constexpr std::array<net::HttpExchange::Header, 1> kHeaders{{{"X-Content-Type-Options", "nosniff"}}};
  text += "\n";
  co_await exchange.reply(400, std::move(text), "text/plain; charset=utf-8", kHeaders);
}

asio::awaitable<void> not_found(net::HttpExchange& exchange, const std::string& sandbox) {
  return refuse(exchange, 502, sandbox, "The sandbox was not found");
}

// What is wrong with the token of traffic to a port; empty if nothing is.
std::string token_problem(const net::HttpExchange& exchange, const Sandbox& sandbox) {
  if (sandbox.traffic_token.empty()) return {};
  const std::string_view token = exchange.header(kTokenHeader);
  const std::string header = "'" + std::string(kTokenHeader) + "'";
  const std::string secured = "Sandbox is secured with traffic access token. ";
  if (token.empty()) return secured + "Token header " + header + " is missing";
  if (e2b_envd::equal_secrets(token, sandbox.traffic_token)) return {};
  return secured + "Provided token in header " + header + " is invalid";
}

std::string envd_route(const net::HttpExchange& exchange) {
  const std::string route = std::string(exchange.method()) + " " + exchange.path();
  const bool known = std::ranges::find(kEnvdRoutes, route) != kEnvdRoutes.end() || route == kRemoveWatcher;
  return known ? "envd " + route : "envd (unknown)";
}

}  // namespace

std::optional<Destination> find_destination(std::string_view host, std::string_view id_header,
                                            std::string_view port_header, std::string_view path) {
  const std::string_view name = emu::without_port(host);
  const bool shared = name.starts_with("sandbox.");
  if ((shared || names_nobody(name)) && (!id_header.empty() || !port_header.empty())) {
    if (id_header.empty() || port_header.empty()) return unroutable("missing header");
    return destination(id_header, emu::parse_number(port_header));
  }
  if (const auto named = emu::parse_port_name(host)) {
    return destination(named->name.substr(0, named->name.find('-')), named->port);
  }
  if (shared) return unroutable("Invalid host");
  if (path == "/files")
    return Destination{.sandbox = {}, .port = kEnvdPort, .problem = {}, .by_signature = true};
  return std::nullopt;
}

DataPlane::DataPlane(emu::World& world, asio::any_io_executor executor, Fleet& fleet)
    : world_(world), executor_(executor), fleet_(fleet), interpreters_(executor) {}

std::vector<std::string> DataPlane::routes() {
  std::vector<std::string> names{"port traffic"};
  for (const std::string_view route : kEnvdRoutes) names.push_back("envd " + std::string(route));
  names.push_back("envd " + std::string(kRemoveWatcher));
  return names;
}

std::optional<emu::Call> DataPlane::route(const net::HttpExchange& exchange) {
  std::optional<Destination> found =
      find_destination(exchange.header("host"), exchange.header("e2b-sandbox-id"),
                       exchange.header("e2b-sandbox-port"), exchange.path());
  if (!found) return std::nullopt;
  std::string route = found->port == 0           ? "(unroutable)"
                      : found->port == kEnvdPort ? envd_route(exchange)
                                                 : "port traffic";
  return emu::Call{
      .route = std::move(route),
      .run = [this, to = std::move(*found)](net::HttpExchange& other) { return serve(other, to); }};
}

// A signed URL under the address that all sandboxes share names none: it is the one whose token signed it, or
// the only one there is that needs no signature.
std::string DataPlane::signer(const net::HttpExchange& exchange) const {
  const std::string path = exchange.query("path").value_or("");
  const std::string user = exchange.query("username").value_or("");
  const std::string signature = exchange.query("signature").value_or("");
  std::optional<std::int64_t> expiration;
  if (const auto text = exchange.query("signature_expiration")) {
    if (const auto value = emu::parse_number(*text)) expiration = static_cast<std::int64_t>(*value);
  }
  const auto operation =
      exchange.method() == "POST" ? e2b_envd::FileOperation::write : e2b_envd::FileOperation::read;
  std::string open;
  std::size_t open_count = 0;
  for (const SandboxPtr& each : fleet_.all()) {
    if (each->envd_token.empty()) {
      open = each->id;
      ++open_count;
    } else if (!signature.empty() &&
               e2b_envd::equal_secrets(signature, e2b_envd::file_signature(path, operation, user,
                                                                           each->envd_token, expiration))) {
      return each->id;
    }
  }
  return signature.empty() && open_count == 1 ? open : std::string();
}

asio::awaitable<void> DataPlane::serve(net::HttpExchange& exchange, Destination destination) {
  if (destination.port == 0) {
    co_await refuse_plainly(exchange, destination.problem);
    co_return;
  }
  if (destination.by_signature) destination.sandbox = signer(exchange);
  const bool envd = destination.port == kEnvdPort;
  if (envd && std::ranges::find(kInternal, exchange.path()) != kInternal.end()) {
    json::object object;
    object["message"] =
        "This endpoint is reserved for the E2B control plane and is not reachable through the sandbox URL";
    object["path"] = exchange.path();
    co_await refuse_with(exchange, 404, std::move(object));
    co_return;
  }
  const SandboxPtr sandbox = fleet_.find(destination.sandbox);
  if (!sandbox || sandbox->state == State::killing) {
    co_await not_found(exchange, destination.sandbox);
    co_return;
  }
  if (sandbox->state != State::running && sandbox->state != State::snapshotting) {
    const bool awake = co_await wake(exchange, sandbox, envd);
    if (!awake) co_return;
  }
  struct Passing {
    SandboxPtr sandbox;
    net::HttpExchange* exchange;
    ~Passing() { sandbox->traffic.erase(exchange); }
  };
  if (envd) {
    co_await serve_envd(exchange, sandbox);
    co_return;
  }
  sandbox->traffic.insert(&exchange);
  const Passing passing{sandbox, &exchange};
  co_await serve_port(exchange, sandbox, static_cast<std::uint16_t>(destination.port));
}

// Whether it runs now; otherwise it was answered why not.
asio::awaitable<bool> DataPlane::wake(net::HttpExchange& exchange, SandboxPtr sandbox, bool envd) {
  const bool wakes = sandbox->request.auto_resume && sandbox->files.empty();
  if (!wakes && sandbox->state != State::resuming) {
    co_await not_found(exchange, sandbox->id);
    co_return false;
  }
  if (envd && !sandbox->envd_token.empty() &&
      !e2b_envd::equal_secrets(exchange.header("x-access-token"), sandbox->envd_token)) {
    co_await refuse(exchange, 403, sandbox->id, "The sandbox cannot be resumed with these credentials");
    co_return false;
  }
  while (!sandbox->gone && is_transition(sandbox->state)) (void)co_await sandbox->changed.wait();
  if (!sandbox->gone && sandbox->state == State::running) co_return true;
  if (sandbox->gone || !wakes) {
    co_await not_found(exchange, sandbox->id);
    co_return false;
  }
  std::optional<ApiError> failure;
  try {
    co_await fleet_.wake(sandbox);
  } catch (const ApiError& error) {
    failure = error;
  }
  if (!failure) co_return true;
  const int status = failure->status() == 429 ? 429 : 502;
  co_await refuse(exchange, status, sandbox->id, failure->what());
  co_return false;
}

asio::awaitable<void> DataPlane::serve_envd(net::HttpExchange& exchange, SandboxPtr sandbox) {
  const std::shared_ptr<e2b_envd::EnvdServer> envd = sandbox->envd;
  co_await envd->handle(exchange);
}

// When somebody first asks for it, since it takes longer than all else in a sandbox.
asio::awaitable<void> DataPlane::start_interpreter(SandboxPtr sandbox) {
  const Turnstile::Pass pass = co_await interpreters_.enter();
  if (sandbox->interpreter_runs || !sandbox->local) co_return;
  const std::shared_ptr<emu::LocalSandbox> local = sandbox->local;
  std::map<std::string, std::string> variables{{"PATH", "/usr/local/bin:/usr/bin:/bin"},
                                               {"HOME", "/home/user"},
                                               {"USER", "user"},
                                               {"LANG", "C.UTF-8"},
                                               {"E2B_SANDBOX", "true"},
                                               {"E2B_SANDBOX_ID", sandbox->id},
                                               {"E2B_TEMPLATE_ID", sandbox->template_id}};
  for (const auto& [name, value] : sandbox->request.variables) variables[name] = value;
  const Deadline deadline = world_.engine.in(kInterpreterPatience);
  co_await e2b_interpreter::start(local->agent(), std::move(variables), deadline);
  sandbox->interpreter_runs = true;
}

asio::awaitable<void> DataPlane::serve_port(net::HttpExchange& exchange, SandboxPtr sandbox,
                                            std::uint16_t port) {
  const std::string problem = token_problem(exchange, *sandbox);
  if (!problem.empty()) {
    co_await refuse(exchange, 403, sandbox->id, problem);
    co_return;
  }
  net::ForwardOptions options;
  options.dropped_headers = {"e2b-traffic-access-token"};
  if (sandbox->request.network) options.host = sandbox->request.network->mask_request_host;
  const std::size_t place = options.host.find("${PORT}");
  if (place != std::string::npos) options.host.replace(place, 7, std::to_string(port));
  try {
    if (port == e2b_interpreter::kPort && sandbox->interprets) co_await start_interpreter(sandbox);
  } catch (const Error&) {  // then its port is not open, which is answered below
  }
  const Deadline deadline = world_.engine.in(kDialPatience);
  const bool answered =
      co_await emu::forward_to_port(exchange, executor_, *sandbox->local, port, std::move(options), deadline);
  if (answered || exchange.replied()) co_return;
  json::object object = answer(sandbox->id, "The sandbox is running but port is not open");
  object["port"] = port;
  co_await refuse_with(exchange, 502, std::move(object));
}

}  // namespace sandkey::e2b::emulator
