// Daytona's snapshots: what sandboxes are made from. Those that everybody has, and those that were made.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/rfc3339.h"
#include "sandkey/providers/daytona/emulator/requests.h"
#include "sandkey/providers/daytona/emulator/state.h"

#include <filesystem>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona::emulator {

inline constexpr std::string_view kDefaultSnapshot = "daytona-small";

// What becomes of a sandbox, so that clients can be tried with all of it: "daytona-small" and its sisters are
// warm, the others belong to a snapshot "emulator-NAME" of their own.
enum class Conduct {
  warm,         // runs when create answers
  stale,        // runs then too, and the answer says "creating"
  slow,         // each change of its state takes its time on the clock, and all else meanwhile is a conflict
  fails,        // comes into the state "error" after create has answered
  recoverable,  // the same, and can be recovered
  refused,      // fails while create waits
  full          // there is no machine for it
};

struct Snapshot {
  std::string id = {};
  std::string organization = {};  // empty: everybody's
  std::string name = {};
  std::string image = {};
  std::string state = "active";
  Sizes sizes = {};
  Conduct conduct = Conduct::warm;
  bool holds_agent = false;  // our agent lies where a program expects one
  std::optional<std::vector<std::string>> entrypoint = std::nullopt;
  std::optional<json::object> build = std::nullopt;
  std::string error_reason = {};
  std::string source_sandbox = {};   // of one that was made of a sandbox
  std::filesystem::path files = {};  // the same
  sandkey::emulator::Time created = {};
  sandkey::emulator::Time updated = {};
  std::optional<sandkey::emulator::Time> last_used = std::nullopt;
};
[[nodiscard]] json::object to_json(const Snapshot& snapshot, const std::string& organization_id);

// Whether a build of this fails: its Dockerfile (or its image's name) says so itself, by
// "emulator-build-fails".
[[nodiscard]] bool build_fails(std::string_view dockerfile_or_image) noexcept;

class Snapshots {
 public:
  Snapshots(const Engine& engine, sandkey::emulator::Time now);

  // Null if that organization has none of that name or id.
  [[nodiscard]] Snapshot* find(std::string_view name_or_id, const std::string& organization) noexcept;
  [[nodiscard]] std::vector<const Snapshot*> of(const std::string& organization) const;

  // Throws ApiError(404).
  [[nodiscard]] Snapshot& get(std::string_view name_or_id, const std::string& organization);
  // By its id. Throws ApiError: 404, 403 for everybody's.
  [[nodiscard]] Snapshot& get_own(const std::string& id, const std::string& organization);

  // As POST /snapshots asks for it. Throws ApiError: 400, 409 for a name that is taken.
  Snapshot& create(const json::object& body, const std::string& organization, sandkey::emulator::Time now);
  // Of a sandbox, whose files it takes over.
  Snapshot& add(Snapshot made, sandkey::emulator::Time now);
  // Throws ApiError(409).
  void require_free(const std::string& name, const std::string& organization);
  // As get_own(). Its files go too.
  void remove(const std::string& id, const std::string& organization);

 private:
  const Engine& engine_;
  std::list<Snapshot> snapshots_;  // addresses stay
};

}  // namespace sandkey::daytona::emulator
