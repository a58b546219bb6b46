#include "sandkey/providers/runloop/emulator/image_routes.h"

#include "sandkey/base/utf8.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/providers/runloop/emulator/listing.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr Needs kLookAtSnapshots{Resource::snapshots, Access::read, false};
constexpr Needs kMakeSnapshots{Resource::snapshots, Access::write, true};
constexpr Needs kDeleteSnapshots{Resource::snapshots, Access::write, false};
constexpr Needs kLookAtBlueprints{Resource::blueprints, Access::read, false};
constexpr Needs kMakeBlueprints{Resource::blueprints, Access::write, true};
constexpr Needs kDeleteBlueprints{Resource::blueprints, Access::write, false};

asio::awaitable<void> reply(net::HttpExchange& exchange, json::object object) {
  return emu::reply_json(exchange, 200, json::value(std::move(object)));
}

std::string_view query_of(std::string_view target) {
  return target.substr(std::min(target.find('?'), target.size() - 1) + 1);
}

}  // namespace

ImageRoutes::ImageRoutes(emu::World& world, Images& images, Fleet& fleet, Api& api)
    : world_(world), images_(images), fleet_(fleet) {
  add(api, "POST /v1/devboxes/{id}/snapshot_disk", kMakeSnapshots, &ImageRoutes::snapshot_now);
  add(api, "POST /v1/devboxes/{id}/snapshot_disk_async", kMakeSnapshots, &ImageRoutes::snapshot_later);
  add(api, "GET /v1/devboxes/disk_snapshots", kLookAtSnapshots, &ImageRoutes::list_snapshots);
  add(api, "GET /v1/devboxes/disk_snapshots/{id}/status", kLookAtSnapshots, &ImageRoutes::snapshot_status);
  add(api, "POST /v1/devboxes/disk_snapshots/{id}", kMakeSnapshots, &ImageRoutes::update_snapshot);
  add(api, "POST /v1/devboxes/disk_snapshots/{id}/delete", kDeleteSnapshots, &ImageRoutes::delete_snapshot);
  add(api, "POST /v1/blueprints", kMakeBlueprints, &ImageRoutes::create);
  add(api, "GET /v1/blueprints", kLookAtBlueprints, &ImageRoutes::list_own);
  add(api, "GET /v1/blueprints/list_public", kLookAtBlueprints, &ImageRoutes::list_public);
  add(api, "GET /v1/blueprints/{id}", kLookAtBlueprints, &ImageRoutes::get);
  add(api, "GET /v1/blueprints/{id}/logs", kLookAtBlueprints, &ImageRoutes::logs);
  add(api, "POST /v1/blueprints/{id}/delete", kDeleteBlueprints, &ImageRoutes::remove);
  add(api, "POST /v1/blueprints/preview", kLookAtBlueprints, &ImageRoutes::preview);
}

void ImageRoutes::add(Api& api, const char* route, Needs needs, Action action) {
  api.add(route, needs, [this, action](Exchange& exchange, const Account& account, Arguments arguments) {
    return (this->*action)(exchange, account, std::move(arguments));
  });
}

// ---- Snapshots

asio::awaitable<SnapshotPtr> ImageRoutes::snapshot_once(Exchange& exchange, const Account& account,
                                                        std::string devbox) {
  const json::object body = co_await read_object(exchange);
  const std::string request_id(exchange.header("x-request-id"));
  const std::string known = snapshots_once_.made_for(account.name, request_id);
  if (!known.empty()) co_return images_.snapshot(known, account.name);
  SnapshotRequest request = parse_snapshot(body);
  const DevboxPtr source = fleet_.use(account, devbox);
  SnapshotPtr made = fleet_.snapshot(source, std::move(request));
  snapshots_once_.remember(account.name, request_id, made->id);
  co_return made;
}

asio::awaitable<void> ImageRoutes::snapshot_now(Exchange& exchange, const Account& account,
                                                Arguments arguments) {
  const SnapshotPtr made = co_await snapshot_once(exchange, account, arguments[0]);
  co_await fleet_.wait(made);
  if (made->status != SnapshotStatus::complete) throw ApiError(500, made->error, "snapshot_failed");
  co_await reply(exchange, to_view(*made));
}

asio::awaitable<void> ImageRoutes::snapshot_later(Exchange& exchange, const Account& account,
                                                  Arguments arguments) {
  const SnapshotPtr made = co_await snapshot_once(exchange, account, arguments[0]);
  co_await reply(exchange, to_view(*made));
}

asio::awaitable<void> ImageRoutes::list_snapshots(Exchange& exchange, const Account& account, Arguments) {
  const PageQuery query = parse_page(exchange);
  const MetadataFilter filter = parse_metadata_filter(query_of(exchange.target()));
  const std::string devbox = exchange.query("devbox_id").value_or("");
  const std::string blueprint = exchange.query("source_blueprint_id").value_or("");
  std::vector<Item> items;
  for (const SnapshotPtr& each : images_.snapshots(account.name)) {
    if (each->status == SnapshotStatus::error) continue;
    if (!devbox.empty() && each->source_devbox != devbox) continue;
    if (!blueprint.empty() && (!each->source_blueprint || each->source_blueprint->id != blueprint)) continue;
    if (!matches(filter, each->request.metadata.value_or(Texts()))) continue;
    items.push_back({.id = each->id, .show = [each] { return to_view(*each); }});
  }
  co_await reply(exchange, make_page(query, "snapshots", items));
}

asio::awaitable<void> ImageRoutes::snapshot_status(Exchange& exchange, const Account& account,
                                                   Arguments arguments) {
  co_await reply(exchange, to_status_view(*images_.snapshot(arguments[0], account.name)));
}

// Metadata is replaced as a whole.
asio::awaitable<void> ImageRoutes::update_snapshot(Exchange& exchange, const Account& account,
                                                   Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  SnapshotRequest request = parse_snapshot(body);
  const SnapshotPtr snapshot = images_.snapshot(arguments[0], account.name);
  if (snapshot->status == SnapshotStatus::deleted) throw no_such("Snapshot", arguments[0]);
  if (request.name) snapshot->request.name = std::move(request.name);
  if (request.metadata) snapshot->request.metadata = std::move(request.metadata);
  if (request.commit_message) snapshot->request.commit_message = std::move(request.commit_message);
  co_await reply(exchange, to_view(*snapshot));
}

asio::awaitable<void> ImageRoutes::delete_snapshot(Exchange& exchange, const Account& account,
                                                   Arguments arguments) {
  images_.remove(images_.snapshot(arguments[0], account.name));
  co_await emu::reply_text(exchange, 200, "{}");
}

// ---- Blueprints

asio::awaitable<void> ImageRoutes::create(Exchange& exchange, const Account& account, Arguments) {
  const json::object body = co_await read_object(exchange);
  const std::string request_id(exchange.header("x-request-id"));
  const std::string known = blueprints_once_.made_for(account.name, request_id);
  if (!known.empty()) {
    co_await reply(exchange, to_view(*images_.blueprint(known, account.name)));
    co_return;
  }
  BlueprintRequest request = parse_blueprint(body);
  BlueprintPtr base;
  if (!request.base_id.empty()) base = images_.blueprint(request.base_id, account.name);
  if (!request.base_name.empty()) base = images_.blueprint_named(request.base_name, account.name);
  const BlueprintPtr made = images_.add(account.name, std::move(request), body, world_.clock.now());
  if (base) {
    made->base_id = base->id;
    made->files = base->files;
    made->holds_agent = base->holds_agent;
  }
  blueprints_once_.remember(account.name, request_id, made->id);
  fleet_.build(made);
  co_await reply(exchange, to_view(*made));
}

asio::awaitable<void> ImageRoutes::get(Exchange& exchange, const Account& account, Arguments arguments) {
  co_await reply(exchange, to_view(*images_.blueprint(arguments[0], account.name)));
}

asio::awaitable<void> ImageRoutes::list_own(Exchange& exchange, const Account& account, Arguments) {
  co_await list(exchange, account.name);
}

asio::awaitable<void> ImageRoutes::list_public(Exchange& exchange, const Account&, Arguments) {
  std::string everybody;
  co_await list(exchange, std::move(everybody));
}

asio::awaitable<void> ImageRoutes::list(Exchange& exchange, std::string owner) {
  const PageQuery query = parse_page(exchange);
  const std::string name = exchange.query("name").value_or("");
  const std::string status = exchange.query("status").value_or("");
  std::vector<Item> items;
  for (const BlueprintPtr& each : images_.blueprints(owner)) {
    if (!name.empty() && each->request.name != name) continue;
    if (!status.empty() && to_string(each->status) != status) continue;
    items.push_back({.id = each->id, .show = [each] { return to_view(*each); }});
  }
  co_await reply(exchange, make_page(query, "blueprints", items));
}

asio::awaitable<void> ImageRoutes::logs(Exchange& exchange, const Account& account, Arguments arguments) {
  const BlueprintPtr blueprint = images_.blueprint(arguments[0], account.name);
  json::array lines;
  for (const BuildLine& line : blueprint->logs) {
    json::object shown;
    shown["level"] = "info";
    shown["message"] = utf8::sanitize(line.message);
    shown["timestamp_ms"] = milliseconds_of(line.time);
    lines.emplace_back(std::move(shown));
  }
  json::object view;
  view["blueprint_id"] = blueprint->id;
  view["logs"] = std::move(lines);
  co_await reply(exchange, std::move(view));
}

asio::awaitable<void> ImageRoutes::remove(Exchange& exchange, const Account& account, Arguments arguments) {
  const BlueprintPtr blueprint = images_.blueprint(arguments[0], account.name);
  if (blueprint->owner.empty()) throw ApiError(403, "A public blueprint cannot be deleted", "forbidden");
  images_.remove(blueprint);
  co_await emu::reply_text(exchange, 200, "{}");
}

asio::awaitable<void> ImageRoutes::preview(Exchange& exchange, const Account&, Arguments) {
  const json::object body = co_await read_object(exchange);
  const BlueprintRequest request = parse_blueprint(body);
  json::object view;
  view["dockerfile"] = to_dockerfile(request);
  co_await reply(exchange, std::move(view));
}

}  // namespace sandkey::runloop::emulator
