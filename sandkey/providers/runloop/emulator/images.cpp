#include "sandkey/providers/runloop/emulator/images.h"

#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/runloop/emulator/api_error.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::size_t kIdLength = 22;
constexpr std::string_view kIdLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kBaseImage = "runloop/devbox:latest";

bool visible(const std::string& owner, const std::string& account) {
  return owner.empty() || owner == account;
}

}  // namespace

SavedFiles::~SavedFiles() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::int64_t milliseconds_of(emu::Time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

json::object to_object(const Texts& texts) {
  json::object object;
  for (const auto& [name, value] : texts) object[name] = value;
  return object;
}

std::string_view to_string(BlueprintStatus status) noexcept {
  switch (status) {
    case BlueprintStatus::queued:
      return "queued";
    case BlueprintStatus::provisioning:
      return "provisioning";
    case BlueprintStatus::building:
      return "building";
    case BlueprintStatus::failed:
      return "failed";
    case BlueprintStatus::build_complete:
      return "build_complete";
  }
  return "unknown";
}

std::string_view to_string(SnapshotStatus status) noexcept {
  switch (status) {
    case SnapshotStatus::in_progress:
      return "in_progress";
    case SnapshotStatus::error:
      return "error";
    case SnapshotStatus::complete:
      return "complete";
    case SnapshotStatus::deleted:
      return "deleted";
  }
  return "unknown";
}

json::object to_view(const Blueprint& blueprint) {
  json::object view;
  view["id"] = blueprint.id;
  view["name"] = blueprint.request.name;
  view["status"] = to_string(blueprint.status);
  view["state"] = blueprint.deleted ? "deleted" : "created";
  view["create_time_ms"] = milliseconds_of(blueprint.created);
  view["parameters"] = blueprint.parameters;
  view["is_public"] = blueprint.owner.empty();
  view["metadata"] = to_object(blueprint.request.metadata);
  if (blueprint.finished) view["build_finish_time_ms"] = milliseconds_of(*blueprint.finished);
  if (!blueprint.failure_reason.empty()) view["failure_reason"] = blueprint.failure_reason;
  if (!blueprint.base_id.empty()) view["base_blueprint_id"] = blueprint.base_id;
  return view;
}

json::object to_view(const Snapshot& snapshot) {
  json::object view;
  view["id"] = snapshot.id;
  view["create_time_ms"] = milliseconds_of(snapshot.created);
  view["metadata"] = to_object(snapshot.request.metadata.value_or(Texts()));
  view["source_devbox_id"] = snapshot.source_devbox;
  if (snapshot.request.name) view["name"] = *snapshot.request.name;
  if (snapshot.request.commit_message) view["commit_message"] = *snapshot.request.commit_message;
  if (snapshot.source_blueprint) view["source_blueprint_id"] = snapshot.source_blueprint->id;
  if (snapshot.status == SnapshotStatus::complete) view["size_bytes"] = snapshot.size_bytes;
  return view;
}

json::object to_status_view(const Snapshot& snapshot) {
  json::object view;
  view["status"] = to_string(snapshot.status);
  if (!snapshot.error.empty()) view["error_message"] = snapshot.error;
  if (snapshot.status == SnapshotStatus::complete) view["snapshot"] = to_view(snapshot);
  return view;
}

std::string to_dockerfile(const BlueprintRequest& request) {
  std::string text = request.dockerfile.empty() ? "FROM " + std::string(kBaseImage) : request.dockerfile;
  for (const std::string& command : request.setup_commands) text += "\nRUN " + command;
  return text + "\n";
}

Images::Images(const Engine& engine, emu::Time now) : engine_(engine) {
  using namespace std::chrono_literals;
  add_public("base", {}, false, now);
  add_public("sandkey", {}, true, now);
  add_public("slow", {.delay = 60s, .failure_reason = {}, .stuck = false}, false, now);
  add_public("stuck", {.delay = 0s, .failure_reason = {}, .stuck = true}, false, now);
  for (const char* reason : {"out_of_memory", "out_of_disk", "execution_failed", "health_check_failed"}) {
    add_public(std::string("fails_") + reason, {.delay = 0s, .failure_reason = reason, .stuck = false}, false,
               now);
  }
}

void Images::add_public(std::string name, Flaw flaw, bool holds_agent, emu::Time now) {
  BlueprintRequest request;
  request.name = name;
  json::object parameters;
  parameters["name"] = std::move(name);
  const BlueprintPtr made = add({}, std::move(request), std::move(parameters), now);
  made->status = BlueprintStatus::build_complete;
  made->finished = now;
  made->flaw = std::move(flaw);
  made->holds_agent = holds_agent;
}

BlueprintPtr Images::add(std::string owner, BlueprintRequest request, json::object parameters,
                         emu::Time now) {
  auto made = std::make_shared<Blueprint>();
  made->id = "bpt_" + emu::random_text(engine_, kIdLength, kIdLetters);
  made->owner = std::move(owner);
  made->request = std::move(request);
  made->parameters = std::move(parameters);
  made->created = now;
  blueprints_.push_back(made);
  return made;
}

BlueprintPtr Images::blueprint(const std::string& id, const std::string& account) const {
  const auto found = std::ranges::find_if(
      blueprints_, [&](const BlueprintPtr& each) { return each->id == id && visible(each->owner, account); });
  if (found == blueprints_.end()) throw no_such("Blueprint", id);
  return *found;
}

BlueprintPtr Images::blueprint_named(const std::string& name, const std::string& account) const {
  const auto fits = [&](const BlueprintPtr& each) {
    return each->request.name == name && visible(each->owner, account) && !each->deleted &&
           each->status == BlueprintStatus::build_complete;
  };
  const auto found = std::find_if(blueprints_.rbegin(), blueprints_.rend(), fits);
  if (found == blueprints_.rend()) throw no_such("A built blueprint named", name);
  return *found;
}

std::vector<BlueprintPtr> Images::blueprints(const std::string& owner) const {
  std::vector<BlueprintPtr> list;
  for (const BlueprintPtr& each : blueprints_) {
    if (each->owner == owner && !each->deleted) list.push_back(each);
  }
  std::ranges::reverse(list);
  return list;
}

void Images::remove(const BlueprintPtr& blueprint) {
  const bool used = std::ranges::any_of(snapshots_, [&](const SnapshotPtr& each) {
    return each->source_blueprint == blueprint && each->status != SnapshotStatus::deleted;
  });
  if (used) throw wrong_state("Blueprint '" + blueprint->id + "' has snapshots that depend on it");
  blueprint->deleted = true;
  blueprint->files.reset();
}

SnapshotPtr Images::add_snapshot(std::string owner, SnapshotRequest request, emu::Time now) {
  auto made = std::make_shared<Snapshot>();
  made->id = "snp_" + emu::random_text(engine_, kIdLength, kIdLetters);
  made->owner = std::move(owner);
  made->request = std::move(request);
  made->created = now;
  snapshots_.push_back(made);
  return made;
}

SnapshotPtr Images::snapshot(const std::string& id, const std::string& account) const {
  const auto found = std::ranges::find_if(
      snapshots_, [&](const SnapshotPtr& each) { return each->id == id && each->owner == account; });
  if (found == snapshots_.end()) throw no_such("Snapshot", id);
  return *found;
}

std::vector<SnapshotPtr> Images::snapshots(const std::string& account) const {
  std::vector<SnapshotPtr> list;
  for (const SnapshotPtr& each : snapshots_) {
    if (each->owner == account && each->status != SnapshotStatus::deleted) list.push_back(each);
  }
  std::ranges::reverse(list);
  return list;
}

void Images::remove(const SnapshotPtr& snapshot) {
  snapshot->status = SnapshotStatus::deleted;
  snapshot->files.reset();
}

}  // namespace sandkey::runloop::emulator
