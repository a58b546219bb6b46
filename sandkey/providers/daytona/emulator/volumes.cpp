#include "sandkey/providers/daytona/emulator/volumes.h"

#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/times.h"

#include <utility>

namespace sandkey::daytona::emulator {

namespace emu = sandkey::emulator;

json::object to_json(const Volume& volume, const std::string& organization_id) {
  json::object object;
  object["id"] = volume.id;
  object["name"] = volume.name;
  object["organizationId"] = organization_id;
  object["state"] = volume.state;
  object["createdAt"] = to_iso(volume.created);
  object["updatedAt"] = to_iso(volume.updated);
  if (volume.last_used) object["lastUsedAt"] = to_iso(*volume.last_used);
  object["errorReason"] = nullptr;
  return object;
}

Volume* Volumes::find(std::string_view text, const std::string& organization, bool by_id,
                      bool by_name) noexcept {
  for (Volume& each : volumes_) {
    if (each.organization != organization || each.state == "deleted") continue;
    if ((by_id && each.id == text) || (by_name && each.name == text)) return &each;
  }
  return nullptr;
}

Volume& Volumes::create(const std::string& name, const std::string& organization, emu::Time now) {
  if (find(name, organization, false, true) != nullptr) {
    throw ApiError(400, "Volume with name " + name + " already exists");
  }
  Volume made{.id = emu::random_uuid(engine_), .organization = organization, .name = name};
  if (made.name.empty()) made.name = made.id;
  made.created = now;
  made.updated = now;
  return volumes_.emplace_back(std::move(made));
}

Volume& Volumes::get(std::string_view id, const std::string& organization) {
  Volume* volume = find(id, organization, true, false);
  if (volume == nullptr) throw ApiError(404, "Volume with ID " + std::string(id) + " not found");
  return *volume;
}

Volume& Volumes::get_by_name(std::string_view name, const std::string& organization) {
  Volume* volume = find(name, organization, false, true);
  if (volume == nullptr) throw ApiError(404, "Volume with name " + std::string(name) + " not found");
  return *volume;
}

std::vector<const Volume*> Volumes::of(const std::string& organization, bool deleted_too) const {
  std::vector<const Volume*> found;
  for (const Volume& each : volumes_) {
    if (each.organization == organization && (deleted_too || each.state != "deleted")) {
      found.push_back(&each);
    }
  }
  return found;
}

json::array Volumes::resolve(const json::array& mounts, const std::string& organization, emu::Time now) {
  json::array resolved;
  for (const json::value& mount : mounts) {
    json::object object = mount.get_object();
    const std::string named(find_string(object, "volumeId").value_or(""));
    Volume* volume = find(named, organization, true, true);
    if (volume == nullptr) throw ApiError(404, "Volume '" + named + "' not found");
    volume->last_used = now;
    object["volumeId"] = volume->id;
    resolved.emplace_back(std::move(object));
  }
  return resolved;
}

}  // namespace sandkey::daytona::emulator
