// What devboxes are made of besides nothing: blueprints, and snapshots of disks.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::runloop::emulator {

// What is wrong with the devboxes of a blueprint that is there to fail.
struct Flaw {
  std::chrono::seconds delay{0};    // in provisioning
  std::string failure_reason = {};  // they fail after initializing; empty: they do not
  bool stuck = false;               // they stay in provisioning until they are shut down
};

// A folder of this machine with what lay on a disk. It goes with the last that needs it.
class SavedFiles {
 public:
  explicit SavedFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}
  ~SavedFiles();
  SavedFiles(const SavedFiles&) = delete;
  SavedFiles& operator=(const SavedFiles&) = delete;
  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }

 private:
  std::filesystem::path folder_;
};
using SavedFilesPtr = std::shared_ptr<const SavedFiles>;

enum class BlueprintStatus { queued, provisioning, building, failed, build_complete };

struct BuildLine {
  sandkey::emulator::Time time = {};
  std::string message = {};
};

struct Blueprint {
  std::string id = {};
  std::string owner = {};  // an account; empty: everybody's
  BlueprintRequest request = {};
  json::object parameters = {};  // as they came
  BlueprintStatus status = BlueprintStatus::queued;
  std::string failure_reason = {};
  std::string base_id = {};
  sandkey::emulator::Time created = {};
  std::optional<sandkey::emulator::Time> finished = std::nullopt;
  std::vector<BuildLine> logs = {};
  SavedFilesPtr files = {};  // what its setup commands made; null: nothing
  bool holds_agent = false;
  Flaw flaw = {};
  bool deleted = false;
};
using BlueprintPtr = std::shared_ptr<Blueprint>;

enum class SnapshotStatus { in_progress, error, complete, deleted };

struct Snapshot {
  std::string id = {};
  std::string owner = {};
  SnapshotRequest request = {};
  SnapshotStatus status = SnapshotStatus::in_progress;
  std::string error = {};
  std::string source_devbox = {};
  BlueprintPtr source_blueprint = {};
  std::string user = "user";  // whose home is in it
  sandkey::emulator::Time created = {};
  SavedFilesPtr files = {};
  std::uint64_t size_bytes = 0;
};
using SnapshotPtr = std::shared_ptr<Snapshot>;

[[nodiscard]] std::string_view to_string(BlueprintStatus status) noexcept;
[[nodiscard]] std::string_view to_string(SnapshotStatus status) noexcept;
[[nodiscard]] json::object to_view(const Blueprint& blueprint);
[[nodiscard]] json::object to_view(const Snapshot& snapshot);
[[nodiscard]] json::object to_status_view(const Snapshot& snapshot);
// What POST /v1/blueprints/preview answers with.
[[nodiscard]] std::string to_dockerfile(const BlueprintRequest& request);

[[nodiscard]] std::int64_t milliseconds_of(sandkey::emulator::Time time);
[[nodiscard]] json::object to_object(const Texts& texts);

// All of them. Others' are as good as not there; whatever is not is ApiError(400).
class Images {
 public:
  Images(const Engine& engine, sandkey::emulator::Time now);

  BlueprintPtr add(std::string owner, BlueprintRequest request, json::object parameters,
                   sandkey::emulator::Time now);
  [[nodiscard]] BlueprintPtr blueprint(const std::string& id, const std::string& account) const;
  // The newest of that name that is built.
  [[nodiscard]] BlueprintPtr blueprint_named(const std::string& name, const std::string& account) const;
  // Newest first: an account's own, or everybody's.
  [[nodiscard]] std::vector<BlueprintPtr> blueprints(const std::string& owner) const;
  // Its own. Throws as long as there are snapshots of its devboxes.
  void remove(const BlueprintPtr& blueprint);

  SnapshotPtr add_snapshot(std::string owner, SnapshotRequest request, sandkey::emulator::Time now);
  [[nodiscard]] SnapshotPtr snapshot(const std::string& id, const std::string& account) const;
  // Newest first; those that are deleted are not among them.
  [[nodiscard]] std::vector<SnapshotPtr> snapshots(const std::string& account) const;
  void remove(const SnapshotPtr& snapshot);

 private:
  void add_public(std::string name, Flaw flaw, bool holds_agent, sandkey::emulator::Time now);

  const Engine& engine_;
  std::vector<BlueprintPtr> blueprints_;
  std::vector<SnapshotPtr> snapshots_;
};

}  // namespace sandkey::runloop::emulator
