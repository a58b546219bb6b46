// Daytona's volumes, as records: they can be made, found and named by sandboxes, and hold nothing.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/rfc3339.h"

#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona::emulator {

struct Volume {
  std::string id = {};
  std::string organization = {};
  std::string name = {};
  std::string state = "ready";
  sandkey::emulator::Time created = {};
  sandkey::emulator::Time updated = {};
  std::optional<sandkey::emulator::Time> last_used = std::nullopt;
};
[[nodiscard]] json::object to_json(const Volume& volume, const std::string& organization_id);

// All throw ApiError.
class Volumes {
 public:
  explicit Volumes(const Engine& engine) : engine_(engine) {}

  // 400 for a name that is taken.
  Volume& create(const std::string& name, const std::string& organization, sandkey::emulator::Time now);
  // 404 for what that organization does not have, or not any more.
  [[nodiscard]] Volume& get(std::string_view id, const std::string& organization);
  [[nodiscard]] Volume& get_by_name(std::string_view name, const std::string& organization);
  [[nodiscard]] std::vector<const Volume*> of(const std::string& organization, bool deleted_too) const;
  // Those that a sandbox is to have, by name or id: each with its id. 400 for one that is not ready.
  [[nodiscard]] json::array resolve(const json::array& mounts, const std::string& organization,
                                    sandkey::emulator::Time now);

 private:
  [[nodiscard]] Volume* find(std::string_view text, const std::string& organization, bool by_id,
                             bool by_name) noexcept;

  const Engine& engine_;
  std::list<Volume> volumes_;  // addresses stay
};

}  // namespace sandkey::daytona::emulator
