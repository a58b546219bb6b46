#include "sandkey/providers/modal/emulator/sandbox.h"

#include <algorithm>
#include <chrono>

namespace sandkey::modal::emulator {

namespace emu = sandkey::emulator;

double unix_time(emu::Time time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

void add_tags(const Tags& tags, google::protobuf::RepeatedPtrField<modal_wire::SandboxTag>& list) {
  for (const auto& [name, value] : tags) {
    modal_wire::SandboxTag& tag = *list.Add();
    tag.set_tag_name(name);
    tag.set_tag_value(value);
  }
}

bool has_tags(const Sandbox& sandbox, const Tags& wanted) {
  return std::ranges::all_of(wanted, [&](const auto& each) {
    const auto found = sandbox.tags.find(each.first);
    return found != sandbox.tags.end() && found->second == each.second;
  });
}

modal_wire::SandboxInfo to_info(const Sandbox& sandbox) {
  modal_wire::SandboxInfo info;
  info.set_id(sandbox.id);
  info.set_created_at(unix_time(sandbox.created));
  info.set_app_id(sandbox.app_id);
  info.set_name(sandbox.name);
  info.set_image_id(sandbox.definition.image_id());
  info.set_timeout_secs(sandbox.definition.timeout_secs());
  if (sandbox.definition.has_idle_timeout_secs())
    info.set_idle_timeout_secs(sandbox.definition.idle_timeout_secs());
  if (sandbox.definition.has_readiness_probe())
    *info.mutable_readiness_probe() = sandbox.definition.readiness_probe();
  if (sandbox.ready) info.set_ready_at(unix_time(*sandbox.ready));
  add_tags(sandbox.tags, *info.mutable_tags());
  for (const modal_wire::TunnelData& tunnel : sandbox.tunnels) *info.add_tunnels() = tunnel;
  info.mutable_metadata()->set_app_id(sandbox.app_id);
  modal_wire::TaskInfo& task = *info.mutable_task_info();
  task.set_id(sandbox.task_id);
  task.set_sandbox_id(sandbox.id);
  task.set_enqueued_at(unix_time(sandbox.created));
  task.set_started_at(unix_time(sandbox.created));
  if (sandbox.result) {
    task.set_finished_at(unix_time(sandbox.finished));
    *task.mutable_result() = *sandbox.result;
    *info.mutable_metadata()->mutable_result() = *sandbox.result;
  }
  return info;
}

}  // namespace sandkey::modal::emulator
