#include "sandkey/providers/e2b/emulator/envd/metrics.h"

#include <cstdint>

namespace sandkey::e2b_envd {

json::object metrics_of(const machine::Usage& usage, std::chrono::system_clock::time_point now) {
  constexpr std::uint64_t kMebibyte = 1024 * 1024;
  json::object reply;
  reply["ts"] = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  reply["cpu_count"] = usage.processors;
  reply["cpu_used_pct"] = usage.processor_percent;
  reply["mem_total"] = usage.memory_total;
  reply["mem_used"] = usage.memory_used;
  reply["mem_cache"] = usage.memory_cached;
  reply["mem_total_mib"] = usage.memory_total / kMebibyte;
  reply["mem_used_mib"] = usage.memory_used / kMebibyte;
  reply["disk_used"] = usage.disk_used;
  reply["disk_total"] = usage.disk_total;
  return reply;
}

}  // namespace sandkey::e2b_envd
