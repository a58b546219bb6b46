#include "sandkey/providers/runloop/size.h"

#include "sandkey/base/error.h"

#include <string>
#include <string_view>

namespace sandkey::runloop {
namespace {

constexpr std::uint64_t kGib = std::uint64_t{1} << 30;
constexpr std::uint64_t kMost = 64;  // of both
constexpr std::uint64_t kUsualMemory = 4;
constexpr std::uint64_t kMemoryPerCore = 4;

std::uint64_t even_gib(std::uint64_t bytes, bool or_one, std::string_view what) {
  const std::uint64_t gib = bytes / kGib;
  const bool whole = bytes % kGib == 0 && gib > 0 && gib <= kMost;
  if (whole && (gib % 2 == 0 || (or_one && gib == 1))) return gib;
  throw Error(ErrorCode::invalid_argument,
              "creating a sandbox at runloop: its " + std::string(what) + " can be " +
                  (or_one ? "1G or " : "") + "an even number of GiB, up to 64G",
              {.provider = "runloop",
               .operation = "create",
               .phase = {},
               .request_id = {},
               .processed = Processed::no});
}

// Half a core, one, or an even number; Runloop wants 2 to 8 GiB for each.
double cores_for(std::uint64_t memory_gib) {
  const std::uint64_t cores = memory_gib / kMemoryPerCore;
  if (cores == 0) return 0.5;
  return static_cast<double>(cores == 1 ? 1 : cores - cores % 2);
}

}  // namespace

void set_size(std::optional<std::uint64_t> memory, std::optional<std::uint64_t> disk,
              LaunchParameters& launch) {
  if (!memory && !disk) return;
  launch.size = "CUSTOM_SIZE";
  launch.memory_gib = memory ? even_gib(*memory, true, "memory") : kUsualMemory;
  launch.cpu_cores = cores_for(*launch.memory_gib);
  if (disk) launch.disk_gib = even_gib(*disk, false, "disk");
}

}  // namespace sandkey::runloop
