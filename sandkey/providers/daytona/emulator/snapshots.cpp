#include "sandkey/providers/daytona/emulator/snapshots.h"

#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/rate_limits.h"
#include "sandkey/providers/daytona/emulator/times.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;

ApiError no_such_snapshot(std::string_view name) {
  return {404, "Snapshot with ID or name " + std::string(name) + " not found"};
}

// An image is named exactly, or it is another one tomorrow.
void check_image(const std::string& image) {
  const std::size_t slash = image.rfind('/');
  const std::string_view last = std::string_view(image).substr(slash == std::string::npos ? 0 : slash + 1);
  const bool exact = last.find(':') != std::string_view::npos || last.find('@') != std::string_view::npos;
  if (!exact) throw ApiError(400, "Image name must include a tag or a digest");
  if (last.ends_with(":latest")) throw ApiError(400, "Images with the tag \"latest\" are not allowed");
}

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::value to_json(const std::optional<std::vector<std::string>>& texts) {
  if (!texts) return nullptr;
  json::array list;
  for (const std::string& each : *texts) list.emplace_back(each);
  return list;
}

}  // namespace

bool build_fails(std::string_view dockerfile_or_image) noexcept {
  return dockerfile_or_image.find("emulator-build-fails") != std::string_view::npos;
}

json::object to_json(const Snapshot& snapshot, const std::string& organization_id) {
  json::object object;
  object["id"] = snapshot.id;
  if (!snapshot.organization.empty()) object["organizationId"] = organization_id;
  object["general"] = snapshot.organization.empty();
  object["name"] = snapshot.name;
  if (!snapshot.image.empty()) object["imageName"] = snapshot.image;
  object["state"] = snapshot.state;
  object["size"] = nullptr;
  object["entrypoint"] = to_json(snapshot.entrypoint);
  object["cpu"] = snapshot.sizes.cpu;
  object["gpu"] = 0;
  object["mem"] = snapshot.sizes.memory;
  object["disk"] = snapshot.sizes.disk;
  object["errorReason"] = text_or_null(snapshot.error_reason);
  object["createdAt"] = to_iso(snapshot.created);
  object["updatedAt"] = to_iso(snapshot.updated);
  object["lastUsedAt"] = snapshot.last_used ? json::value(to_iso(*snapshot.last_used)) : json::value(nullptr);
  if (snapshot.build) object["buildInfo"] = *snapshot.build;
  object["regionIds"] = json::array{kDefaultRegion};
  object["sourceSandboxId"] = text_or_null(snapshot.source_sandbox);
  object["sandboxClass"] = "container";
  return object;
}

Snapshots::Snapshots(const Engine& engine, emu::Time now) : engine_(engine) {
  const auto general = [&](std::string name, Sizes sizes, Conduct conduct) -> Snapshot& {
    return add({.name = std::move(name), .image = "emulator/sandbox:1", .sizes = sizes, .conduct = conduct},
               now);
  };
  const Sizes small{.cpu = 1, .memory = 1, .disk = 3};
  general(std::string(kDefaultSnapshot), small, Conduct::warm);
  general("daytona-medium", {.cpu = 2, .memory = 4, .disk = 8}, Conduct::warm);
  general("daytona-large", {.cpu = 4, .memory = 8, .disk = 10}, Conduct::warm);
  general("sandkey", small, Conduct::warm).holds_agent = true;
  general("emulator-stale", small, Conduct::stale);
  general("emulator-slow", small, Conduct::slow);
  general("emulator-fails", small, Conduct::fails);
  general("emulator-recoverable", small, Conduct::recoverable);
  general("emulator-refused", small, Conduct::refused);
  general("emulator-full", small, Conduct::full);
  general("emulator-inactive", small, Conduct::warm).state = "inactive";
}

Snapshot* Snapshots::find(std::string_view name_or_id, const std::string& organization) noexcept {
  const auto found = std::ranges::find_if(snapshots_, [&](const Snapshot& each) {
    return (each.organization.empty() || each.organization == organization) &&
           (each.id == name_or_id || each.name == name_or_id);
  });
  return found == snapshots_.end() ? nullptr : &*found;
}

std::vector<const Snapshot*> Snapshots::of(const std::string& organization) const {
  std::vector<const Snapshot*> found;
  for (const Snapshot& each : snapshots_) {
    if (each.organization.empty() || each.organization == organization) found.push_back(&each);
  }
  return found;
}

Snapshot& Snapshots::add(Snapshot made, emu::Time now) {
  made.id = emu::random_uuid(engine_);
  made.created = now;
  made.updated = now;
  return snapshots_.emplace_back(std::move(made));
}

void Snapshots::require_free(const std::string& name, const std::string& organization) {
  if (find(name, organization) == nullptr) return;
  throw ApiError(409, "Snapshot with name \"" + name + "\" already exists for this organization");
}

Snapshot& Snapshots::create(const json::object& body, const std::string& organization, emu::Time now) {
  Fields fields(body);
  Snapshot made{.organization = organization};
  const auto name = fields.text("name");
  const auto image = fields.text("imageName");
  if (!name) fields.problem("name must be a string");
  made.build = fields.object("buildInfo");
  made.entrypoint = fields.list("entrypoint");
  made.sizes.cpu = fields.integer("cpu").value_or(made.sizes.cpu);
  made.sizes.memory = fields.integer("memory").value_or(made.sizes.memory);
  made.sizes.disk = fields.integer("disk").value_or(made.sizes.disk);
  fields.check();
  if (made.sizes.cpu < 1 || made.sizes.memory < 1 || made.sizes.disk < 1) {
    throw ApiError(400, "cpu, memory and disk must not be less than 1");
  }
  if (image.has_value() == made.build.has_value()) {
    throw ApiError(400, "Must specify either an image name or build info");
  }
  if (made.build && made.entrypoint) throw ApiError(400, "Cannot specify an entrypoint with build info");
  if (image) check_image(*image);
  require_free(*name, organization);
  made.name = *name;
  made.image = image.value_or("");
  const std::string dockerfile(made.build ? find_string(*made.build, "dockerfileContent").value_or("")
                                          : std::string_view());
  if (build_fails(made.image) || build_fails(dockerfile)) {
    made.state = made.build ? "build_failed" : "error";
    made.error_reason = "the build was told to fail";
  }
  return add(std::move(made), now);
}

Snapshot& Snapshots::get(std::string_view name_or_id, const std::string& organization) {
  Snapshot* snapshot = find(name_or_id, organization);
  if (snapshot == nullptr) throw no_such_snapshot(name_or_id);
  return *snapshot;
}

Snapshot& Snapshots::get_own(const std::string& id, const std::string& organization) {
  Snapshot& snapshot = get(id, organization);
  if (snapshot.id != id) throw no_such_snapshot(id);
  if (snapshot.organization.empty()) throw access_denied();
  return snapshot;
}

void Snapshots::remove(const std::string& id, const std::string& organization) {
  const Snapshot& snapshot = get_own(id, organization);
  std::error_code ignored;
  if (!snapshot.files.empty()) std::filesystem::remove_all(snapshot.files, ignored);
  snapshots_.remove_if([&](const Snapshot& each) { return each.id == id; });
}

}  // namespace sandkey::daytona::emulator
