// E2B's templates: what sandboxes are made from. Those that everybody sees, and those made of snapshots.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/clock.h"

#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::e2b::emulator {

inline constexpr std::string_view kEnvdVersion = "0.6.13";
inline constexpr std::string_view kDefaultTag = "default";

// [namespace/]alias[:tag], in lower case; the tag is "default" if there is none.
struct TemplateReference {
  std::string name = {};  // with its namespace, or a template's id
  std::string tag = {};
  bool has_tag = false;
};
// Throws ApiError(400) for what cannot be one.
[[nodiscard]] TemplateReference parse_template_reference(std::string_view text);

struct Template {
  std::string id = {};
  std::string alias = {};       // without its namespace; may be empty
  std::string name_space = {};  // empty: everybody's
  std::string owner = {};       // account; empty: public
  int cpus = 2;
  int memory_mb = 512;
  int disk_mb = 1024;
  bool holds_agent = false;  // our agent lies where a program expects one
  bool interprets = false;   // it has a code interpreter
  sandkey::emulator::Time created = {};
  std::int64_t spawned = 0;
  std::optional<sandkey::emulator::Time> last_spawned = std::nullopt;
  // Of each tag: the build, and of a snapshot the folder of its files.
  struct Build {
    std::string id = {};
    std::filesystem::path files = {};
    sandkey::emulator::Time created = {};
  };
  std::map<std::string, Build> builds = {};
  std::string source_sandbox = {};  // of a snapshot

  [[nodiscard]] bool is_snapshot() const noexcept { return !source_sandbox.empty(); }
  [[nodiscard]] std::string full_name() const {
    return name_space.empty() ? alias : name_space + "/" + alias;
  }
};

class Templates {
 public:
  Templates(const Engine& engine, sandkey::emulator::Time now);

  struct Found {
    Template* made_of;
    Template::Build* build;
  };
  // What that account gets for the reference. Throws ApiError: 404 if there is none, or no such tag; 403 if
  // it is another account's.
  [[nodiscard]] Found resolve(const TemplateReference& reference, const std::string& account);
  // The template itself, seen by that account or not; null if there is none.
  [[nodiscard]] Template* find(std::string_view name) noexcept;

  // A snapshot of a sandbox, under a name of that account's or without one; one that has the name gets a new
  // build. Gives it and the tag's build.
  Found add_snapshot(const Template& like, const std::string& account, const std::string& sandbox,
                     const std::optional<TemplateReference>& name, std::filesystem::path files,
                     sandkey::emulator::Time now);
  // False if that account has none of that reference. Its files go too.
  bool remove(const TemplateReference& reference, const std::string& account);

  [[nodiscard]] std::list<Template>& all() noexcept { return templates_; }

 private:
  Template& add(Template made);

  const Engine& engine_;
  std::list<Template> templates_;  // addresses stay
};

// As lists show it.
[[nodiscard]] json::object to_json(const Template& made);

}  // namespace sandkey::e2b::emulator
