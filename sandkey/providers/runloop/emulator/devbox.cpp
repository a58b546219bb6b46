#include "sandkey/providers/runloop/emulator/devbox.h"

#include "sandkey/base/utf8.h"

#include <array>
#include <utility>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::array<std::pair<Status, std::string_view>, 9> kNames{{
    {Status::queued, "queued"},
    {Status::provisioning, "provisioning"},
    {Status::initializing, "initializing"},
    {Status::running, "running"},
    {Status::suspending, "suspending"},
    {Status::suspended, "suspended"},
    {Status::resuming, "resuming"},
    {Status::failure, "failure"},
    {Status::shutdown, "shutdown"},
}};

double seconds_of(emu::Time::duration time) {
  return std::chrono::duration<double>(time).count();
}

json::object to_object(const Transition& transition) {
  json::object object;
  object["status"] = to_string(transition.status);
  object["transition_time_ms"] = milliseconds_of(transition.time);
  if (!transition.failure_reason.empty()) object["failure_reason"] = transition.failure_reason;
  return object;
}

json::object to_object(const LogLine& line) {
  json::object object;
  object["level"] = line.level;
  object["source"] = line.source;
  object["timestamp_ms"] = milliseconds_of(line.time);
  if (!line.message.empty()) object["message"] = utf8::sanitize(line.message);
  if (!line.command.empty()) object["cmd"] = line.command;
  if (!line.execution.empty()) object["cmd_id"] = line.execution;
  if (!line.shell.empty()) object["shell_name"] = line.shell;
  if (line.exit_code) object["exit_code"] = *line.exit_code;
  return object;
}

}  // namespace

std::string_view to_string(Status status) noexcept {
  for (const auto& [known, name] : kNames) {
    if (known == status) return name;
  }
  return "unknown";
}

const std::set<std::string_view>& status_names() {
  static const std::set<std::string_view> names = [] {
    std::set<std::string_view> made{"scheduled"};
    for (const auto& [status, name] : kNames) made.insert(name);
    return made;
  }();
  return names;
}

json::object to_view(const Tunnel& tunnel) {
  json::object view;
  view["tunnel_key"] = tunnel.key;
  view["auth_mode"] = tunnel.settings.authenticated ? "authenticated" : "open";
  view["create_time_ms"] = milliseconds_of(tunnel.created);
  view["http_keep_alive"] = tunnel.settings.http_keep_alive;
  view["wake_on_http"] = tunnel.settings.wake_on_http;
  if (!tunnel.token.empty()) view["auth_token"] = tunnel.token;
  return view;
}

json::object to_view(const Devbox& devbox) {
  json::object view;
  view["id"] = devbox.id;
  view["status"] = to_string(devbox.status());
  view["create_time_ms"] = milliseconds_of(devbox.created);
  view["end_time_ms"] = devbox.ended ? json::value(milliseconds_of(*devbox.ended)) : json::value(nullptr);
  view["capabilities"] = json::array();
  view["launch_parameters"] = devbox.launch.shown;
  view["metadata"] = to_object(devbox.metadata);
  json::array transitions;
  for (const Transition& transition : devbox.transitions) transitions.emplace_back(to_object(transition));
  view["state_transitions"] = std::move(transitions);
  view["initiator_type"] = "api";
  if (!devbox.name.empty()) view["name"] = devbox.name;
  if (devbox.blueprint) view["blueprint_id"] = devbox.blueprint->id;
  if (devbox.snapshot) view["snapshot_id"] = devbox.snapshot->id;
  const std::string& failure = devbox.transitions.back().failure_reason;
  if (!failure.empty()) view["failure_reason"] = failure;
  if (!devbox.shutdown_reason.empty()) view["shutdown_reason"] = devbox.shutdown_reason;
  if (devbox.tunnel) view["tunnel"] = to_view(*devbox.tunnel);
  return view;
}

json::object to_usage(const Devbox& devbox, emu::Time now) {
  const emu::Time end = devbox.ended.value_or(now);
  double active = 0;
  for (std::size_t i = 0; i < devbox.transitions.size(); ++i) {
    if (devbox.transitions[i].status != Status::running) continue;
    const bool last = i + 1 == devbox.transitions.size();
    active += seconds_of((last ? end : devbox.transitions[i + 1].time) - devbox.transitions[i].time);
  }
  const double elapsed = seconds_of(end - devbox.created);
  json::object usage;
  usage["id"] = devbox.id;
  usage["status"] = to_string(devbox.status());
  usage["start_time_ms"] = milliseconds_of(devbox.created);
  if (devbox.ended) usage["end_time_ms"] = milliseconds_of(*devbox.ended);
  usage["total_elapsed_seconds"] = static_cast<std::int64_t>(elapsed);
  usage["total_active_seconds"] = static_cast<std::int64_t>(active);
  usage["vcpu_seconds"] = active * devbox.launch.cpus;
  usage["memory_gb_seconds"] = active * devbox.launch.memory_gib;
  usage["disk_gb_seconds"] = elapsed * devbox.launch.disk_gib;
  return usage;
}

json::object to_logs(const Devbox& devbox, const std::string& execution, const std::string& shell) {
  json::array lines;
  for (const LogLine& line : devbox.logs) {
    if (!execution.empty() && line.execution != execution) continue;
    if (!shell.empty() && line.shell != shell) continue;
    lines.emplace_back(to_object(line));
  }
  json::object logs;
  logs["logs"] = std::move(lines);
  return logs;
}

}  // namespace sandkey::runloop::emulator
