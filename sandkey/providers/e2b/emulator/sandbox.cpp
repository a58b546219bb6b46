#include "sandkey/providers/e2b/emulator/sandbox.h"

#include "sandkey/providers/e2b/emulator/templates.h"

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

// The cloud has none any more, and clients still want one.
constexpr std::string_view kClientId = "6532622b";

json::object to_object(const std::map<std::string, std::string>& texts) {
  json::object object;
  for (const auto& [name, value] : texts) object[name] = value;
  return object;
}

bool reads_as_running(State state) noexcept {
  return state == State::running || state == State::snapshotting;
}

void add_common(const Sandbox& sandbox, json::object& object) {
  object["templateID"] = sandbox.template_id;
  object["sandboxID"] = sandbox.id;
  object["clientID"] = kClientId;
  object["envdVersion"] = kEnvdVersion;
  if (!sandbox.alias.empty()) object["alias"] = sandbox.alias;
}

}  // namespace

std::string_view to_string(State state) noexcept {
  switch (state) {
    case State::running:
      return "running";
    case State::paused:
      return "paused";
    case State::pausing:
      return "pausing";
    case State::resuming:
      return "resuming";
    case State::snapshotting:
      return "snapshotting";
    case State::killing:
      return "killing";
  }
  return "unknown";
}

bool is_transition(State state) noexcept {
  return state != State::running && state != State::paused;
}

json::object to_sandbox(const Sandbox& sandbox, const std::string& domain) {
  json::object object;
  add_common(sandbox, object);
  if (!sandbox.envd_token.empty()) object["envdAccessToken"] = sandbox.envd_token;
  if (!sandbox.traffic_token.empty()) object["trafficAccessToken"] = sandbox.traffic_token;
  if (!domain.empty()) object["domain"] = domain;
  return object;
}

json::object to_listed(const Sandbox& sandbox) {
  json::object object;
  add_common(sandbox, object);
  object["startedAt"] = emu::to_rfc3339(sandbox.started);
  object["endAt"] = emu::to_rfc3339(sandbox.ends);
  object["cpuCount"] = sandbox.cpus;
  object["memoryMB"] = sandbox.memory_mb;
  object["diskSizeMB"] = sandbox.disk_mb;
  object["state"] = reads_as_running(sandbox.state) ? "running" : "paused";
  if (!sandbox.request.metadata.empty()) object["metadata"] = to_object(sandbox.request.metadata);
  return object;
}

json::object to_detail(const Sandbox& sandbox, const std::string& domain) {
  json::object object = to_listed(sandbox);
  if (!sandbox.envd_token.empty()) object["envdAccessToken"] = sandbox.envd_token;
  if (!domain.empty()) object["domain"] = domain;
  if (sandbox.request.internet) object["allowInternetAccess"] = *sandbox.request.internet;
  if (sandbox.request.network) object["network"] = sandbox.request.network->shown;
  json::object lifecycle;
  lifecycle["autoResume"] = sandbox.request.auto_resume;
  lifecycle["onTimeout"] = sandbox.request.auto_pause ? "pause" : "kill";
  object["lifecycle"] = std::move(lifecycle);
  return object;
}

}  // namespace sandkey::e2b::emulator
