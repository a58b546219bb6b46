#include "sandkey/providers/daytona/emulator/sandbox.h"

#include "sandkey/providers/daytona/emulator/rate_limits.h"
#include "sandkey/providers/daytona/emulator/times.h"

#include <utility>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kDaemonVersion = "0.218.0";

json::object to_object(const std::map<std::string, std::string>& texts) {
  json::object object;
  for (const auto& [name, value] : texts) object[name] = value;
  return object;
}

// What both show.
json::object common(const Sandbox& sandbox, std::string_view state, const std::string& toolbox_url) {
  json::object object;
  object["id"] = sandbox.id;
  object["organizationId"] = sandbox.organization_id;
  object["name"] = sandbox.name;
  if (!sandbox.snapshot.empty()) object["snapshot"] = sandbox.snapshot;
  object["user"] = sandbox.request.user;
  object["labels"] = to_object(sandbox.request.labels);
  object["public"] = sandbox.request.is_public;
  object["networkBlockAll"] = sandbox.request.network_block_all;
  if (const auto& list = sandbox.request.network_allow_list) object["networkAllowList"] = *list;
  if (const auto& list = sandbox.request.domain_allow_list) object["domainAllowList"] = *list;
  object["target"] = sandbox.target;
  object["cpu"] = sandbox.sizes.cpu;
  object["gpu"] = 0;
  object["memory"] = sandbox.sizes.memory;
  object["disk"] = sandbox.sizes.disk;
  object["state"] = state;
  object["desiredState"] = to_string(sandbox.desired);
  if (!sandbox.error_reason.empty()) object["errorReason"] = sandbox.error_reason;
  object["recoverable"] = sandbox.recoverable;
  object["backupState"] = sandbox.backup_state;
  object["autoStopInterval"] = sandbox.request.auto_stop;
  object["autoArchiveInterval"] = sandbox.request.auto_archive;
  object["autoDeleteInterval"] = sandbox.request.auto_delete;
  if (sandbox.request.ttl > 0) {
    object["autoDestroyAt"] = to_iso(sandbox.created + std::chrono::minutes(sandbox.request.ttl));
  }
  object["createdAt"] = to_iso(sandbox.created);
  object["updatedAt"] = to_iso(sandbox.updated);
  object["lastActivityAt"] = to_iso(sandbox.last_activity);
  object["sandboxClass"] = "container";
  object["daemonVersion"] = kDaemonVersion;
  object["toolboxProxyUrl"] = toolbox_url;
  return object;
}

}  // namespace

Condition Sandbox::condition() const noexcept {
  return {.state = state,
          .desired = desired,
          .pending = pending,
          .recoverable = recoverable,
          .ephemeral = ephemeral()};
}

json::object to_json(const Sandbox& sandbox, const std::string& toolbox_url) {
  json::object object = common(sandbox, shown_state(sandbox.state, sandbox.desired), toolbox_url);
  object["env"] = to_object(sandbox.request.environment);
  object["volumes"] = sandbox.request.volumes;
  object["kvm"] = false;  // without it the newest Python SDK takes the answer for none
  if (sandbox.request.build) {
    json::object build = *sandbox.request.build;
    build["createdAt"] = to_iso(sandbox.created);
    build["updatedAt"] = to_iso(sandbox.updated);
    build["snapshotRef"] = "emulator/build:" + sandbox.id;
    object["buildInfo"] = std::move(build);
  }
  return object;
}

ListItemPtr to_listed(const Sandbox& sandbox, const std::string& toolbox_url) {
  ListItem item{.id = sandbox.id,
                .organization = sandbox.organization,
                .name = sandbox.name,
                .state = std::string(to_string(sandbox.state)),
                .snapshot = sandbox.snapshot,
                .target = sandbox.target,
                .labels = sandbox.request.labels,
                .sizes = sandbox.sizes,
                .is_public = sandbox.request.is_public,
                .is_recoverable = sandbox.recoverable,
                .errored_deleted = sandbox.state == State::error && sandbox.desired == State::destroyed,
                .created = sandbox.created,
                .last_activity = sandbox.last_activity,
                .last_event = sandbox.updated,
                .shown = common(sandbox, to_string(sandbox.state), toolbox_url)};
  return std::make_shared<const ListItem>(std::move(item));
}

}  // namespace sandkey::daytona::emulator
