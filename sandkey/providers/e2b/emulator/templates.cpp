#include "sandkey/providers/e2b/emulator/templates.h"

#include "sandkey/emulator/random_text.h"
#include "sandkey/providers/e2b/emulator/api_error.h"

#include <algorithm>
#include <cctype>
#include <system_error>
#include <utility>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::size_t kIdLength = 20;
constexpr std::string_view kIdAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";

bool consists_of(std::string_view text, std::string_view extra) noexcept {
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || extra.find(c) != std::string_view::npos;
  });
}

void remove_files(const Template::Build& build) {
  std::error_code ignored;
  if (!build.files.empty()) std::filesystem::remove_all(build.files, ignored);
}

}  // namespace

TemplateReference parse_template_reference(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  TemplateReference reference;
  std::string_view rest = lower;
  const std::size_t colon = rest.find(':');
  reference.tag = kDefaultTag;
  if (colon != std::string_view::npos) {
    reference.has_tag = true;
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!consists_of(reference.tag, "-_.")) {
      throw ApiError(400, "Invalid template reference: invalid tag '" + reference.tag + "'");
    }
  }
  const std::size_t slash = rest.find('/');
  const std::string_view alias = slash == std::string_view::npos ? rest : rest.substr(slash + 1);
  const bool good = consists_of(alias, "-_") &&
                    (slash == std::string_view::npos || consists_of(rest.substr(0, slash), "-_"));
  if (!good) throw ApiError(400, "Invalid template reference: invalid template name '" + lower + "'");
  reference.name = rest;
  return reference;
}

Templates::Templates(const Engine& engine, emu::Time now) : engine_(engine) {
  const auto make = [&](const char* alias, int cpus, int memory_mb) -> Template& {
    Template made;
    made.alias = alias;
    made.cpus = cpus;
    made.memory_mb = memory_mb;
    made.created = now;
    made.builds[std::string(kDefaultTag)] = {.id = emu::random_uuid(engine), .files = {}, .created = now};
    return add(std::move(made));
  };
  make("base", 2, 512);
  make("code-interpreter-v1", 2, 2048).interprets = true;
  make("small", 1, 128);
  make("large", 8, 8192);
  make("sandkey", 2, 512).holds_agent = true;
  Template& other = make("private-of-second", 2, 512);
  other.owner = "second";
  other.name_space = "second";
}

Template& Templates::add(Template made) {
  made.id = emu::random_text(engine_, kIdLength, kIdAlphabet);
  return templates_.emplace_back(std::move(made));
}

Template* Templates::find(std::string_view name) noexcept {
  const auto found = std::ranges::find_if(templates_, [&](const Template& each) {
    return each.id == name || (!each.alias.empty() && (each.full_name() == name || each.alias == name));
  });
  return found == templates_.end() ? nullptr : &*found;
}

Templates::Found Templates::resolve(const TemplateReference& reference, const std::string& account) {
  // An account's own comes before another's of the same name.
  Template* found = find(account + "/" + reference.name);
  if (found == nullptr) found = find(reference.name);
  if (found == nullptr) throw ApiError(404, "template '" + reference.name + "' not found");
  if (!found->owner.empty() && found->owner != account) {
    throw ApiError(403, "you don't have access to template '" + reference.name + "'");
  }
  const auto build = found->builds.find(reference.tag);
  if (build == found->builds.end()) {
    throw ApiError(404, "tag '" + reference.tag + "' does not exist for template '" + reference.name + "'");
  }
  return {.made_of = found, .build = &build->second};
}

Templates::Found Templates::add_snapshot(const Template& like, const std::string& account,
                                         const std::string& sandbox,
                                         const std::optional<TemplateReference>& name,
                                         std::filesystem::path files, emu::Time now) {
  Template* made = nullptr;
  if (name) {
    const std::string own = account + "/";
    if (name->name.find('/') != std::string::npos && !name->name.starts_with(own)) {
      throw ApiError(400, "namespace '" + name->name.substr(0, name->name.find('/')) +
                              "' must match your team '" + account + "'");
    }
    made = find(name->name.starts_with(own) ? name->name : own + name->name);
  }
  if (made == nullptr) {
    Template fresh;
    fresh.owner = account;
    fresh.cpus = like.cpus;
    fresh.memory_mb = like.memory_mb;
    fresh.disk_mb = like.disk_mb;
    fresh.holds_agent = like.holds_agent;
    fresh.interprets = like.interprets;
    fresh.created = now;
    if (name) {
      fresh.name_space = account;
      fresh.alias = name->name.substr(name->name.find('/') + 1);
    }
    made = &add(std::move(fresh));
  }
  made->source_sandbox = sandbox;
  Template::Build& build = made->builds[name ? name->tag : std::string(kDefaultTag)];
  remove_files(build);
  build = {.id = emu::random_uuid(engine_), .files = std::move(files), .created = now};
  return {.made_of = made, .build = &build};
}

bool Templates::remove(const TemplateReference& reference, const std::string& account) {
  Template* found = find(account + "/" + reference.name);
  if (found == nullptr) found = find(reference.name);
  if (found == nullptr || found->owner != account) return false;
  if (reference.has_tag && found->builds.size() > 1) {
    const auto build = found->builds.find(reference.tag);
    if (build == found->builds.end()) return false;
    remove_files(build->second);
    found->builds.erase(build);
    return true;
  }
  for (const auto& [tag, build] : found->builds) remove_files(build);
  std::erase_if(templates_, [found](const Template& each) { return &each == found; });
  return true;
}

json::object to_json(const Template& made) {
  json::array aliases;
  json::array names;
  if (!made.alias.empty()) {
    aliases.emplace_back(made.alias);
    names.emplace_back(made.full_name());
  }
  const auto build = made.builds.find(std::string(kDefaultTag));
  json::object object;
  object["templateID"] = made.id;
  object["buildID"] = build == made.builds.end() ? made.builds.begin()->second.id : build->second.id;
  object["cpuCount"] = made.cpus;
  object["memoryMB"] = made.memory_mb;
  object["diskSizeMB"] = made.disk_mb;
  object["public"] = made.owner.empty();
  object["aliases"] = std::move(aliases);
  object["names"] = std::move(names);
  object["createdAt"] = emu::to_rfc3339(made.created);
  object["updatedAt"] = emu::to_rfc3339(made.created);
  object["createdBy"] = nullptr;
  object["lastSpawnedAt"] =
      made.last_spawned ? json::value(emu::to_rfc3339(*made.last_spawned)) : json::value(nullptr);
  object["spawnCount"] = made.spawned;
  object["buildCount"] = made.builds.size();
  object["envdVersion"] = kEnvdVersion;
  object["buildStatus"] = "ready";
  return object;
}

}  // namespace sandkey::e2b::emulator
