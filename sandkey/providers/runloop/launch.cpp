#include "sandkey/providers/runloop/launch.h"

#include "sandkey/base/error.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sandkey::runloop {
namespace {

constexpr std::uint64_t kGib = std::uint64_t{1} << 30;
constexpr std::uint64_t kMost = 64;  // of both
constexpr std::uint64_t kUsualMemory = 4;
constexpr std::uint64_t kMemoryPerCore = 4;
constexpr std::array<std::string_view, 6> kSizes{"X_SMALL", "SMALL",   "MEDIUM",
                                                 "LARGE",   "X_LARGE", "XX_LARGE"};
constexpr std::array<std::string_view, 2> kIdleActions{"shutdown", "suspend"};

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "creating a sandbox at runloop: " + why,
              {.provider = "runloop",
               .operation = "create",
               .phase = {},
               .request_id = {},
               .processed = Processed::no});
}

std::uint64_t even_gib(std::uint64_t bytes, bool or_one, const std::string& what) {
  const std::uint64_t gib = bytes / kGib;
  const bool whole = bytes % kGib == 0 && gib > 0 && gib <= kMost;
  if (whole && (gib % 2 == 0 || (or_one && gib == 1))) return gib;
  refuse("its " + what + " can be " + (or_one ? "1G or " : "") + "an even number of GiB, up to 64G");
}

// Half a core, one, or an even number; Runloop wants 2 to 8 GiB for each.
double cores_for(std::uint64_t memory_gib) {
  const std::uint64_t cores = memory_gib / kMemoryPerCore;
  if (cores == 0) return 0.5;
  return static_cast<double>(cores == 1 ? 1 : cores - cores % 2);
}

// The setting, if there is one; it must be one of these.
std::string one_of(std::span<const std::string_view> known, const Credential& credential,
                   std::string_view name) {
  const Credential::Place* setting = credential.setting(name);
  if (setting == nullptr) return {};
  if (std::ranges::find(known, setting->value) != known.end()) return setting->value;
  std::string all;
  for (const std::string_view each : known) all += (all.empty() ? "" : ", ") + std::string(each);
  refuse("the " + std::string(name) + " from " + setting->origin.to_string() +
         " is none of Runloop's: " + all);
}

}  // namespace

LaunchParameters launch_of(const SandboxIntent& intent, const Credential& credential,
                           std::chrono::seconds lease) {
  LaunchParameters launch;
  launch.size = one_of(kSizes, credential, "size");
  if (intent.memory_bytes || intent.disk_bytes) {
    launch.size = "CUSTOM_SIZE";
    launch.memory_gib = intent.memory_bytes ? even_gib(*intent.memory_bytes, true, "memory") : kUsualMemory;
    launch.cpu_cores = cores_for(*launch.memory_gib);
    if (intent.disk_bytes) launch.disk_gib = even_gib(*intent.disk_bytes, false, "disk");
  }
  launch.after_idle = {.time = lease};
  const std::string action = one_of(kIdleActions, credential, "idle_action");
  if (intent.keep && !action.empty()) launch.after_idle->action = action;
  if (const Credential::Place* command = credential.setting("launch_command"))
    launch.launch_commands = {command->value};
  return launch;
}

}  // namespace sandkey::runloop
