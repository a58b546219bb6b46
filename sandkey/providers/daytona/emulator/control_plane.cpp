#include "sandkey/providers/daytona/emulator/control_plane.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/exchange.h"
#include "sandkey/emulator/random_text.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/listing.h"
#include "sandkey/providers/daytona/emulator/requests.h"
#include "sandkey/providers/daytona/emulator/times.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;
using emu::Headers;
using emu::reply_json;
using emu::reply_nothing;

constexpr std::string_view kServerVersion = "v0.205.0";
constexpr const char* kAddress = "loopback";  // of everybody here: what limits by address count
constexpr std::int64_t kMaxPage = 200;
constexpr std::int64_t kPage = 100;
constexpr std::int64_t kLongestSignature = 86400;  // seconds
constexpr std::int64_t kDefaultSignature = 60;
constexpr std::int64_t kDefaultSshAccess = 60;  // minutes
constexpr std::size_t kSignedTokenLength = 16;
constexpr std::size_t kTokenLength = 32;
constexpr std::string_view kTokenAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kDashboard =
    "<!DOCTYPE html><html><head><title>Daytona</title></head><body>Not found</body></html>\n";

// Adds to the answer what is told of limits.
class CountedExchange final : public emu::ForwardingExchange {
 public:
  CountedExchange(net::HttpExchange& next, Headers headers)
      : ForwardingExchange(next), headers_(std::move(headers)) {}

  asio::awaitable<void> reply(int status, std::string body, std::string_view content_type,
                              std::span<const Header> headers) override {
    std::vector<Header> all(headers.begin(), headers.end());
    for (const auto& [name, value] : headers_) all.emplace_back(name, value);
    co_await next_.reply(status, std::move(body), content_type, all);
  }

 private:
  Headers headers_;
};

asio::awaitable<json::object> read_body(net::HttpExchange& exchange) {
  const std::string body = co_await exchange.read_body(kMaxRequestBody);
  co_return parse_body(body);
}

std::int64_t integer_of(const net::HttpExchange& exchange, std::string_view name, std::int64_t otherwise,
                        std::int64_t least, std::int64_t most) {
  const std::int64_t number = query_integer(query_of(exchange.target()), name).value_or(otherwise);
  if (number < least) {
    throw ApiError(400, std::string(name) + " must not be less than " + std::to_string(least));
  }
  if (number > most) {
    throw ApiError(400, std::string(name) + " must not be greater than " + std::to_string(most));
  }
  return number;
}

json::object url_object(std::string url) {
  json::object object;
  object["url"] = std::move(url);
  return object;
}

// Of all items, the page that is asked for.
json::object page_of(json::array all, std::int64_t page, std::int64_t limit) {
  const auto total = static_cast<std::int64_t>(all.size());
  json::array items;
  for (std::int64_t at = (page - 1) * limit; at < total && at < page * limit; ++at) {
    items.push_back(std::move(all[static_cast<std::size_t>(at)]));
  }
  json::object object;
  object["items"] = std::move(items);
  object["total"] = total;
  object["page"] = page;
  object["totalPages"] = (total + limit - 1) / limit;
  return object;
}

json::object region_record(const char* name, const std::string& since) {
  json::object region;
  region["id"] = name;
  region["name"] = name;
  region["regionType"] = "shared";
  region["createdAt"] = since;
  region["updatedAt"] = since;
  return region;
}

json::object rate_limit(std::int64_t limit) {
  json::object entry;
  entry["ttl"] = kRateWindow.count();
  entry["limit"] = limit;
  return entry;
}

}  // namespace

std::string Places::port_url(std::uint16_t port, const std::string& name) const {
  return "http://" + std::to_string(port) + "-" + name + "." + domain;
}

ControlPlane::ControlPlane(emu::World& world, const Knobs& knobs, const Directory& directory,
                           Snapshots& snapshots, Volumes& volumes, Fleet& fleet)
    : world_(world),
      knobs_(knobs),
      directory_(directory),
      snapshots_(snapshots),
      volumes_(volumes),
      fleet_(fleet) {
  const Needs reads;
  const Needs writes{.permission = kWriteSandboxes};
  const Needs creates{.bucket = Bucket::create, .permission = kWriteSandboxes, .unsuspended = true};
  const Needs lives{.bucket = Bucket::lifecycle, .permission = kWriteSandboxes};
  const Needs starts{.bucket = Bucket::lifecycle, .permission = kWriteSandboxes, .unsuspended = true};
  const Needs removes{.bucket = Bucket::lifecycle, .permission = kDeleteSandboxes};
  add("POST /api/sandbox", creates, &ControlPlane::create);
  add("GET /api/sandbox", reads, &ControlPlane::list);
  add("GET /api/sandbox/paginated", reads, &ControlPlane::list_paginated);
  add("GET /api/sandbox/{id}", reads, &ControlPlane::get);
  add("DELETE /api/sandbox/{id}", removes, &ControlPlane::remove);
  add("POST /api/sandbox/{id}/start", starts, &ControlPlane::start);
  add("POST /api/sandbox/{id}/stop", lives, &ControlPlane::stop);
  add("POST /api/sandbox/{id}/archive", lives, &ControlPlane::archive);
  add("POST /api/sandbox/{id}/recover", starts, &ControlPlane::recover);
  add("POST /api/sandbox/{id}/resize", lives, &ControlPlane::resize);
  add("POST /api/sandbox/{id}/pause", lives, &ControlPlane::not_for_containers);
  add("POST /api/sandbox/{id}/fork", creates, &ControlPlane::not_for_containers);
  add("POST /api/sandbox/{id}/autopause/{minutes}", writes, &ControlPlane::not_for_containers);
  add("GET /api/sandbox/{id}/forks", reads, &ControlPlane::no_relatives);
  add("GET /api/sandbox/{id}/ancestors", reads, &ControlPlane::no_relatives);
  add("GET /api/sandbox/{id}/parent", reads, &ControlPlane::no_parent);
  add("PUT /api/sandbox/{id}/labels", writes, &ControlPlane::set_labels);
  add("POST /api/sandbox/{id}/public/{isPublic}", writes, &ControlPlane::set_public);
  add("POST /api/sandbox/{id}/autostop/{minutes}", writes, &ControlPlane::set_auto_stop);
  add("POST /api/sandbox/{id}/autoarchive/{minutes}", writes, &ControlPlane::set_auto_archive);
  add("POST /api/sandbox/{id}/autodelete/{minutes}", writes, &ControlPlane::set_auto_delete);
  add("POST /api/sandbox/{id}/ttl/{minutes}", writes, &ControlPlane::set_ttl);
  add("POST /api/sandbox/{id}/network-settings", writes, &ControlPlane::set_network);
  add("POST /api/sandbox/{id}/snapshot", starts, &ControlPlane::make_snapshot);
  add("POST /api/sandbox/{id}/backup", writes, &ControlPlane::back_up);
  add("POST /api/sandbox/{id}/last-activity", reads, &ControlPlane::touch);
  add("GET /api/sandbox/{id}/ports/{port}/preview-url", reads, &ControlPlane::preview_url);
  add("GET /api/sandbox/{id}/ports/{port}/signed-preview-url", reads, &ControlPlane::signed_preview_url);
  add("POST /api/sandbox/{id}/ports/{port}/signed-preview-url/{token}/expire", reads,
      &ControlPlane::expire_preview_url);
  add("GET /api/sandbox/{id}/toolbox-proxy-url", reads, &ControlPlane::toolbox_proxy_url);
  add("GET /api/sandbox/{id}/build-logs-url", reads, &ControlPlane::build_logs_url);
  add("GET /api/sandbox/{id}/build-logs", reads, &ControlPlane::build_logs);
  add("GET /sandboxes/{id}/build-logs", reads, &ControlPlane::build_logs);
  add("POST /api/sandbox/{id}/ssh-access", writes, &ControlPlane::add_ssh_access);
  add("DELETE /api/sandbox/{id}/ssh-access", writes, &ControlPlane::remove_ssh_access);
  add("GET /api/sandbox/{id}/signing-key", reads, &ControlPlane::signing_key);
  add("POST /api/sandbox/{id}/signing-key/rotate", writes, &ControlPlane::rotate_signing_key);
  const Needs makes_snapshots{.permission = kWriteSnapshots, .unsuspended = true};
  add("GET /api/snapshots", reads, &ControlPlane::list_snapshots);
  add("POST /api/snapshots", makes_snapshots, &ControlPlane::create_snapshot);
  add("GET /api/snapshots/{id}", reads, &ControlPlane::get_snapshot);
  add("DELETE /api/snapshots/{id}", {.permission = kDeleteSnapshots}, &ControlPlane::remove_snapshot);
  add("POST /api/snapshots/{id}/activate", makes_snapshots, &ControlPlane::activate_snapshot);
  add("POST /api/snapshots/{id}/deactivate", {.permission = kWriteSnapshots},
      &ControlPlane::deactivate_snapshot);
  add("GET /api/volumes", {.permission = kReadVolumes}, &ControlPlane::list_volumes);
  add("POST /api/volumes", {.permission = kWriteVolumes}, &ControlPlane::create_volume);
  add("GET /api/volumes/{id}", {.permission = kReadVolumes}, &ControlPlane::get_volume);
  add("GET /api/volumes/by-name/{name}", {.permission = kReadVolumes}, &ControlPlane::find_volume);
  add("DELETE /api/volumes/{id}", {.permission = kDeleteVolumes}, &ControlPlane::remove_volume);
  const Needs person{.credentials = Credentials::token};
  add("GET /api/api-keys/current", {.credentials = Credentials::key}, &ControlPlane::current_key);
  add("GET /api/api-keys", person, &ControlPlane::list_keys);
  add("GET /api/users/me", person, &ControlPlane::me);
  add("GET /api/organizations", person, &ControlPlane::list_organizations);
  add("GET /api/organizations/{id}", person, &ControlPlane::get_organization);
  add("GET /api/regions", reads, &ControlPlane::list_regions);
  add("GET /api/shared-regions", person, &ControlPlane::list_regions);
  add("GET /api/object-storage/push-access", writes, &ControlPlane::no_object_storage);
  add_public("GET /api/config", &ControlPlane::config);
  add_public("GET /api/health", &ControlPlane::health);
  // No stream of events: those who ask for it ask for states instead.
  add_public("GET /api/socket.io/", &ControlPlane::unknown);
}

void ControlPlane::add(const char* route, Needs needs, Action action) {
  router_.add(route, [this, needs, action](Exchange& exchange, Arguments arguments) {
    return run(exchange, needs, action, std::move(arguments));
  });
}

void ControlPlane::add_public(const char* route, asio::awaitable<void> (ControlPlane::*action)(Exchange&)) {
  router_.add(route, [this, action](Exchange& exchange, Arguments) { return run_public(exchange, action); });
}

std::vector<std::string> ControlPlane::routes() const {
  return router_.routes();
}

emu::Call ControlPlane::route(const net::HttpExchange& exchange) const {
  std::optional<emu::Router::Match> match = router_.match(exchange.method(), exchange.target());
  if (!match) {
    auto* self = const_cast<ControlPlane*>(this);
    return {.route = std::string(exchange.method()) + " (unknown)",
            .run = [self](Exchange& other) { return self->run_public(other, &ControlPlane::unknown); }};
  }
  return {.route = *match->route,
          .run = [handler = match->handler, arguments = std::move(match->arguments)](Exchange& other) {
            return (*handler)(other, arguments);
          }};
}

// In the cloud's order: too many failures from this address, the credential, the rate, the permission, the
// organization. `told` is what the answer says of limits, whatever it is.
Caller ControlPlane::admit(const Exchange& exchange, const Needs& needs, Headers& told) {
  const emu::Time now = world_.clock.now();
  const std::int64_t most = knobs_.failed_auths;
  const RateLimits::Count failures = limits_.count(Bucket::failed_auth, kAddress, most, now, 0);
  if (failures.exceeded) {
    told = headers_of(Bucket::failed_auth, failures);
    throw too_many_requests();
  }
  Caller caller;
  try {
    caller = directory_.authenticate(exchange, needs.credentials);
  } catch (const ApiError& error) {
    if (error.status() == 401) {
      told = headers_of(Bucket::failed_auth, limits_.count(Bucket::failed_auth, kAddress, most, now));
    }
    throw;
  }
  const RateLimits::Count count =
      limits_.count(needs.bucket, caller.organization, limit_of(needs.bucket, caller.organization), now);
  told = headers_of(needs.bucket, count);
  if (count.exceeded) throw too_many_requests();
  if (!needs.permission.empty() && !caller.may(needs.permission)) throw access_denied();
  if (needs.unsuspended && caller.organization == kSuspended) {
    throw ApiError(403, "Organization is suspended: payment failed");
  }
  return caller;
}

bool ControlPlane::is_maintained(const Exchange& exchange) const {
  return knobs_.maintenance || directory_.in_maintenance(exchange);
}

asio::awaitable<void> ControlPlane::run(Exchange& exchange, Needs needs, Action action, Arguments arguments) {
  std::optional<ApiError> refusal;
  Headers told;
  try {
    if (is_maintained(exchange)) throw maintenance();
    const Caller caller = admit(exchange, needs, told);
    told.emplace_back("X-Daytona-Api-Version", kServerVersion);
    CountedExchange counted(exchange, told);
    co_await (this->*action)(counted, caller, std::move(arguments));
  } catch (const ApiError& error) {
    refusal = error;
  } catch (const net::HttpError& error) {
    refusal = ApiError(error.status(), error.what());
  } catch (const Error& error) {
    refusal = ApiError(500, error.what());
  }
  if (refusal) co_await refuse(exchange, *refusal, std::move(told));
}

asio::awaitable<void> ControlPlane::run_public(Exchange& exchange,
                                               asio::awaitable<void> (ControlPlane::*action)(Exchange&)) {
  const RateLimits::Count count =
      limits_.count(Bucket::anonymous, kAddress, limit_of(Bucket::anonymous, {}), world_.clock.now());
  CountedExchange counted(exchange, headers_of(Bucket::anonymous, count));
  if (is_maintained(exchange)) {
    const ApiError error = maintenance();
    co_await refuse(counted, error);
  } else if (count.exceeded) {
    const ApiError error = too_many_requests();
    co_await refuse(counted, error);
  } else {
    co_await (this->*action)(counted);
  }
}

asio::awaitable<void> ControlPlane::refuse(Exchange& exchange, const ApiError& error, Headers headers) {
  if (exchange.replied()) {
    exchange.abort();
    co_return;
  }
  const int status = error.status();
  std::string body = to_body(error, exchange.target(), world_.clock.now());
  co_await emu::reply_text(exchange, status, std::move(body), std::move(headers));
}

asio::awaitable<void> ControlPlane::show(Exchange& exchange, const SandboxPtr& sandbox, int status) {
  const json::value shown = to_json(*sandbox, fleet_.toolbox_url());
  return reply_json(exchange, status, shown);
}

SandboxPtr ControlPlane::named(const Caller& caller, const Arguments& arguments) const {
  return fleet_.get(caller.organization, arguments[0]);
}

// ---- Life

asio::awaitable<void> ControlPlane::create(Exchange& exchange, const Caller& caller, Arguments) {
  const json::object body = co_await read_body(exchange);
  CreateRequest request = parse_create(body);
  request.volumes = volumes_.resolve(request.volumes, caller.organization, world_.clock.now());
  const json::value made = co_await fleet_.create(caller, std::move(request));
  co_await reply_json(exchange, 200, made);
}

asio::awaitable<void> ControlPlane::get(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::remove(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  fleet_.remove(sandbox);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::start(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  co_await fleet_.start(sandbox);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::stop(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  fleet_.stop(sandbox);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::archive(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  fleet_.archive(sandbox);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::recover(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  const bool then_start = !query_flag(query_of(exchange.target()), "skipStart").value_or(false);
  co_await fleet_.recover(sandbox, then_start);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::resize(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const json::object body = co_await read_body(exchange);
  const SandboxPtr sandbox = named(caller, arguments);
  fleet_.resize(sandbox, parse_resize(body));
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::make_snapshot(Exchange& exchange, const Caller& caller,
                                                  Arguments arguments) {
  const json::object body = co_await read_body(exchange);
  const SandboxPtr sandbox = named(caller, arguments);
  Fields fields(body);
  const auto name = fields.text("name");
  const bool with_memory = fields.flag("includeMemory").value_or(false);
  if (!name) fields.problem("name must be a string");
  fields.check();
  if (with_memory) throw ApiError(422, "Memory can be snapshotted of virtual machines only");
  fleet_.snapshot(sandbox, *name);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::not_for_containers(Exchange&, const Caller& caller, Arguments arguments) {
  (void)named(caller, arguments);
  throw ApiError(422, "This is not supported for sandboxes of the class container");
}

asio::awaitable<void> ControlPlane::no_relatives(Exchange& exchange, const Caller& caller,
                                                 Arguments arguments) {
  (void)named(caller, arguments);
  const json::value none = json::array();
  co_await reply_json(exchange, 200, none);
}

asio::awaitable<void> ControlPlane::no_parent(Exchange&, const Caller& caller, Arguments arguments) {
  (void)named(caller, arguments);
  throw ApiError(404, "Sandbox has no parent");
}

// ---- Lists

asio::awaitable<void> ControlPlane::list(Exchange& exchange, const Caller& caller, Arguments) {
  const ListQuery query = parse_list_query(query_of(exchange.target()));
  const std::int64_t limit = integer_of(exchange, "limit", kPage, 1, kMaxPage);
  std::optional<Cursor> after;
  if (const auto text = exchange.query("cursor"); text && !text->empty()) after = read_cursor(*text);
  const std::vector<ListItemPtr> found =
      select(fleet_.lists().seen(caller.organization, world_.clock.now()), query);
  const Page page = cut_page(found, query, after, static_cast<std::size_t>(limit));
  json::array items;
  for (const ListItemPtr& each : page.items) items.emplace_back(each->shown);
  json::object object;
  object["items"] = std::move(items);
  object["nextCursor"] = page.next ? json::value(*page.next) : json::value(nullptr);
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::list_paginated(Exchange& exchange, const Caller& caller, Arguments) {
  const ListQuery query = parse_list_query(query_of(exchange.target()));
  const std::int64_t page = integer_of(exchange, "page", 1, 1, INT32_MAX);
  const std::int64_t limit = integer_of(exchange, "limit", kPage, 1, kMaxPage);
  json::array all;
  for (const ListItemPtr& each :
       select(fleet_.lists().seen(caller.organization, world_.clock.now()), query)) {
    all.emplace_back(each->shown);
  }
  const json::value answer = page_of(std::move(all), page, limit);
  co_await reply_json(exchange, 200, answer);
}

// ---- Settings

asio::awaitable<void> ControlPlane::set_labels(Exchange& exchange, const Caller& caller,
                                               Arguments arguments) {
  const json::object body = co_await read_body(exchange);
  const SandboxPtr sandbox = named(caller, arguments);
  Fields fields(body);
  std::map<std::string, std::string> labels = fields.texts("labels");
  if (find(body, "labels") == nullptr) fields.problem("labels must be an object");
  fields.check();
  sandbox->request.labels = std::move(labels);
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::set_public(Exchange& exchange, const Caller& caller,
                                               Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  sandbox->request.is_public = parse_public(arguments[1]);
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox, 201);
}

asio::awaitable<void> ControlPlane::set_auto_stop(Exchange& exchange, const Caller& caller,
                                                  Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  sandbox->request.auto_stop = parse_auto_stop(arguments[1]);
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox, 201);
}

asio::awaitable<void> ControlPlane::set_auto_archive(Exchange& exchange, const Caller& caller,
                                                     Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  sandbox->request.auto_archive = parse_auto_archive(arguments[1]);
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox, 201);
}

asio::awaitable<void> ControlPlane::set_auto_delete(Exchange& exchange, const Caller& caller,
                                                    Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  sandbox->request.auto_delete = parse_auto_delete(arguments[1]);
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox, 201);
}

asio::awaitable<void> ControlPlane::set_ttl(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  sandbox->request.ttl = parse_ttl(arguments[1]);
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox, 201);
}

asio::awaitable<void> ControlPlane::set_network(Exchange& exchange, const Caller& caller,
                                                Arguments arguments) {
  const json::object body = co_await read_body(exchange);
  const SandboxPtr sandbox = named(caller, arguments);
  const NetworkSettings wanted = parse_network_settings(body);
  if (wanted.block_all) sandbox->request.network_block_all = *wanted.block_all;
  if (wanted.network_allow_list) sandbox->request.network_allow_list = wanted.network_allow_list;
  if (wanted.domain_allow_list) sandbox->request.domain_allow_list = wanted.domain_allow_list;
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::back_up(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  sandbox->backup_state = "Completed";
  fleet_.changed(sandbox);
  co_await show(exchange, sandbox, 201);
}

asio::awaitable<void> ControlPlane::touch(Exchange& exchange, const Caller& caller, Arguments arguments) {
  const SandboxPtr sandbox = fleet_.get_by_id(caller.organization, arguments[0]);
  fleet_.touch(sandbox);
  co_await exchange.reply(201, "", "");
}

// ---- Ways in

asio::awaitable<void> ControlPlane::preview_url(Exchange& exchange, const Caller& caller,
                                                Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  json::object object;
  object["sandboxId"] = sandbox->id;
  object["url"] = places_.port_url(parse_port(arguments[1]), sandbox->id);
  object["token"] = sandbox->preview_token;
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::signed_preview_url(Exchange& exchange, const Caller& caller,
                                                       Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  const std::uint16_t port = parse_port(arguments[1]);
  const std::chrono::seconds life(
      integer_of(exchange, "expiresInSeconds", kDefaultSignature, 1, kLongestSignature));
  const emu::Time now = world_.clock.now();
  std::erase_if(sandbox->signed_ports, [&](const auto& each) { return each.second.ends <= now; });
  const std::string token = emu::random_text(world_.engine, kSignedTokenLength, kTokenAlphabet);
  world_.secrets.add(token, "signed port of " + sandbox->id);
  sandbox->signed_ports[token] = {.port = port, .ends = now + life};
  json::object object;
  object["sandboxId"] = sandbox->id;
  object["port"] = port;
  object["token"] = token;
  object["url"] = places_.port_url(port, token);
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::expire_preview_url(Exchange& exchange, const Caller& caller,
                                                       Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  const auto found = sandbox->signed_ports.find(arguments[2]);
  if (found != sandbox->signed_ports.end() && found->second.port == parse_port(arguments[1])) {
    sandbox->signed_ports.erase(found);
  }
  co_await exchange.reply(201, "", "");
}

asio::awaitable<void> ControlPlane::toolbox_proxy_url(Exchange& exchange, const Caller& caller,
                                                      Arguments arguments) {
  (void)fleet_.get_by_id(caller.organization, arguments[0]);
  const json::value answer = url_object(fleet_.toolbox_url());
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::build_logs_url(Exchange& exchange, const Caller& caller,
                                                   Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  if (!sandbox->request.build) throw ApiError(404, "Sandbox " + sandbox->id + " was not built");
  const json::value answer = url_object(places_.http + "/sandboxes/" + sandbox->id + "/build-logs");
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::build_logs(Exchange& exchange, const Caller& caller,
                                               Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  if (!sandbox->request.build) throw ApiError(404, "Sandbox " + sandbox->id + " was not built");
  std::string text(find_string(*sandbox->request.build, "dockerfileContent").value_or(""));
  if (!text.ends_with('\n')) text += '\n';
  text += sandbox->state == State::build_failed ? sandbox->error_reason + "\n" : "built\n";
  co_await exchange.reply(200, std::move(text), "text/plain; charset=utf-8");
}

asio::awaitable<void> ControlPlane::add_ssh_access(Exchange& exchange, const Caller& caller,
                                                   Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  const std::chrono::minutes life(
      integer_of(exchange, "expiresInMinutes", kDefaultSshAccess, 1, kMaxMinutes));
  const emu::Time now = world_.clock.now();
  const std::string token = emu::random_text(world_.engine, kTokenLength, kTokenAlphabet);
  world_.secrets.add(token, "ssh token of " + sandbox->id);
  json::object object;
  object["id"] = emu::random_uuid(world_.engine);
  object["sandboxId"] = sandbox->id;
  object["token"] = token;
  object["expiresAt"] = to_iso(now + life);
  object["createdAt"] = to_iso(now);
  object["updatedAt"] = to_iso(now);
  object["sshCommand"] = "ssh -p 2222 " + token + "@ssh.daytona.invalid";
  sandbox->ssh_access = object;
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::remove_ssh_access(Exchange& exchange, const Caller& caller,
                                                      Arguments arguments) {
  const SandboxPtr sandbox = named(caller, arguments);
  const auto token = exchange.query("token");
  const bool given = sandbox->ssh_access.is_object();
  if (given && (!token || find_string(sandbox->ssh_access.get_object(), "token") == *token)) {
    sandbox->ssh_access = nullptr;
  }
  co_await show(exchange, sandbox);
}

asio::awaitable<void> ControlPlane::signing_key(Exchange& exchange, const Caller& caller,
                                                Arguments arguments) {
  const SandboxPtr sandbox = fleet_.get_by_id(caller.organization, arguments[0]);
  const json::value key = json::value(sandbox->signing_key);
  co_await reply_json(exchange, 200, key);
}

asio::awaitable<void> ControlPlane::rotate_signing_key(Exchange& exchange, const Caller& caller,
                                                       Arguments arguments) {
  const SandboxPtr sandbox = fleet_.get_by_id(caller.organization, arguments[0]);
  sandbox->signing_key = emu::random_text(world_.engine, kTokenLength, kTokenAlphabet);
  world_.secrets.add(sandbox->signing_key, "signing key of " + sandbox->id);
  const json::value key = json::value(sandbox->signing_key);
  co_await reply_json(exchange, 200, key);
}

// ---- Snapshots

asio::awaitable<void> ControlPlane::list_snapshots(Exchange& exchange, const Caller& caller, Arguments) {
  const std::int64_t page = integer_of(exchange, "page", 1, 1, INT32_MAX);
  const std::int64_t limit = integer_of(exchange, "limit", kPage, 1, kMaxPage);
  const std::string name = exchange.query("name").value_or("");
  const std::string source = exchange.query("sourceSandboxId").value_or("");
  json::array all;
  for (const Snapshot* each : snapshots_.of(caller.organization)) {
    if (each->name.find(name) == std::string::npos) continue;
    if (!source.empty() && each->source_sandbox != source) continue;
    all.emplace_back(to_json(*each, caller.organization_id));
  }
  const json::value answer = page_of(std::move(all), page, limit);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::create_snapshot(Exchange& exchange, const Caller& caller, Arguments) {
  const json::object body = co_await read_body(exchange);
  Snapshot& made = snapshots_.create(body, caller.organization, world_.clock.now());
  json::object shown = to_json(made, caller.organization_id);
  shown["state"] = "pending";  // which it was when this was written
  shown["errorReason"] = nullptr;
  const json::value answer = std::move(shown);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::get_snapshot(Exchange& exchange, const Caller& caller,
                                                 Arguments arguments) {
  const json::value answer =
      to_json(snapshots_.get(arguments[0], caller.organization), caller.organization_id);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::remove_snapshot(Exchange& exchange, const Caller& caller,
                                                    Arguments arguments) {
  snapshots_.remove(arguments[0], caller.organization);
  co_await exchange.reply(200, "", "");
}

asio::awaitable<void> ControlPlane::activate_snapshot(Exchange& exchange, const Caller& caller,
                                                      Arguments arguments) {
  Snapshot& snapshot = snapshots_.get_own(arguments[0], caller.organization);
  if (snapshot.state == "active") throw ApiError(400, "Snapshot " + snapshot.name + " is already active");
  if (snapshot.state != "inactive") throw ApiError(400, "Snapshot " + snapshot.name + " cannot be activated");
  snapshot.state = "active";
  snapshot.updated = world_.clock.now();
  const json::value answer = to_json(snapshot, caller.organization_id);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::deactivate_snapshot(Exchange& exchange, const Caller& caller,
                                                        Arguments arguments) {
  Snapshot& snapshot = snapshots_.get_own(arguments[0], caller.organization);
  snapshot.state = "inactive";
  snapshot.updated = world_.clock.now();
  co_await reply_nothing(exchange);
}

// ---- Volumes

asio::awaitable<void> ControlPlane::list_volumes(Exchange& exchange, const Caller& caller, Arguments) {
  const bool deleted_too = query_flag(query_of(exchange.target()), "includeDeleted").value_or(false);
  json::array list;
  for (const Volume* each : volumes_.of(caller.organization, deleted_too)) {
    list.emplace_back(to_json(*each, caller.organization_id));
  }
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::create_volume(Exchange& exchange, const Caller& caller, Arguments) {
  const json::object body = co_await read_body(exchange);
  Fields fields(body);
  const auto name = fields.text("name");
  if (!name) fields.problem("name must be a string");
  fields.check();
  json::object shown =
      to_json(volumes_.create(*name, caller.organization, world_.clock.now()), caller.organization_id);
  shown["state"] = "pending_create";  // which it was when this was written
  const json::value answer = std::move(shown);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::get_volume(Exchange& exchange, const Caller& caller,
                                               Arguments arguments) {
  const json::value answer = to_json(volumes_.get(arguments[0], caller.organization), caller.organization_id);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::find_volume(Exchange& exchange, const Caller& caller,
                                                Arguments arguments) {
  const json::value answer =
      to_json(volumes_.get_by_name(arguments[0], caller.organization), caller.organization_id);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::remove_volume(Exchange& exchange, const Caller& caller,
                                                  Arguments arguments) {
  Volume& volume = volumes_.get(arguments[0], caller.organization);
  for (const SandboxPtr& each : fleet_.all()) {
    for (const json::value& mount : each->request.volumes) {
      if (find_string(mount.get_object(), "volumeId") != volume.id) continue;
      throw ApiError(409, "Volume is in use by the sandbox " + each->id);
    }
  }
  volume.state = "deleted";
  volume.updated = world_.clock.now();
  co_await exchange.reply(200, "", "");
}

// ---- Who and where

asio::awaitable<void> ControlPlane::current_key(Exchange& exchange, const Caller& caller, Arguments) {
  const json::value answer = directory_.key_record(caller);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::list_keys(Exchange& exchange, const Caller&, Arguments) {
  const json::value answer = json::array();
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::me(Exchange& exchange, const Caller&, Arguments) {
  const json::value answer = directory_.user_record();
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::list_organizations(Exchange& exchange, const Caller& caller, Arguments) {
  json::array list;
  list.emplace_back(directory_.organization_record(caller.organization));
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::get_organization(Exchange& exchange, const Caller& caller,
                                                     Arguments arguments) {
  if (arguments[0] != caller.organization_id) throw wrong_organization();
  const json::value answer = directory_.organization_record(caller.organization);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::list_regions(Exchange& exchange, const Caller&, Arguments) {
  json::array list;
  for (const char* name : {"us", "eu"}) list.emplace_back(region_record(name, directory_.made()));
  const json::value answer = std::move(list);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::no_object_storage(Exchange&, const Caller&, Arguments) {
  throw ApiError(503, "Object storage is not configured");
}

asio::awaitable<void> ControlPlane::config(Exchange& exchange) {
  json::object oidc;
  oidc["issuer"] = places_.http + "/oidc";
  oidc["clientId"] = "daytona";
  oidc["audience"] = "daytona";
  json::object limits;
  limits["failedAuth"] = rate_limit(knobs_.failed_auths);
  limits["authenticated"] = rate_limit(limit_of(Bucket::authenticated, {}));
  limits["sandboxCreate"] = rate_limit(limit_of(Bucket::create, {}));
  limits["sandboxLifecycle"] = rate_limit(limit_of(Bucket::lifecycle, {}));
  json::object object;
  object["version"] = kServerVersion;
  oidc["provider"] = "auth0";
  object["oidc"] = std::move(oidc);
  object["linkedAccountsEnabled"] = false;
  object["announcements"] = json::object();
  object["proxyTemplateUrl"] = "http://{{PORT}}-{{sandboxId}}." + places_.domain;
  object["proxyToolboxUrl"] = fleet_.toolbox_url();
  object["defaultSnapshot"] = kDefaultSnapshot;
  object["dashboardUrl"] = places_.http + "/dashboard";
  object["maxAutoArchiveInterval"] = kMaxAutoArchive;
  object["maintananceMode"] = knobs_.maintenance;
  object["environment"] = "emulator";
  object["rateLimit"] = std::move(limits);
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

asio::awaitable<void> ControlPlane::health(Exchange& exchange) {
  json::object object;
  object["status"] = "ok";
  const json::value answer = std::move(object);
  co_await reply_json(exchange, 200, answer);
}

// Outside the API there is the dashboard, which is for people.
asio::awaitable<void> ControlPlane::unknown(Exchange& exchange) {
  if (!exchange.path().starts_with("/api/")) {
    std::string page(kDashboard);
    co_await exchange.reply(404, std::move(page), "text/html; charset=utf-8");
    co_return;
  }
  const ApiError error(404, "Cannot " + std::string(exchange.method()) + " " + exchange.path());
  co_await refuse(exchange, error);
}

}  // namespace sandkey::daytona::emulator
