#include "sandkey/agent/server_info.h"

#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace sandkey::agent {
namespace {

// The number after `name:` in a file of /proc; 0 if it is not there.
std::int64_t proc_number(const char* path, std::string_view name) {
  std::int64_t value = 0;
  if (std::FILE* file = std::fopen(path, "re")) {
    std::array<char, 256> line{};
    while (std::fgets(line.data(), static_cast<int>(line.size()), file) != nullptr) {
      const std::string_view text(line.data());
      if (!text.starts_with(name) || text.size() <= name.size() || text[name.size()] != ':') continue;
      value = std::strtoll(line.data() + name.size() + 1, nullptr, 10);
      break;
    }
    std::fclose(file);
  }
  return value;
}

double percent(double part, double whole) {
  return whole > 0 ? 100.0 * part / whole : 0.0;
}

}  // namespace

json::object server_info(std::chrono::steady_clock::time_point started,
                         std::chrono::steady_clock::time_point last_action, const std::string& folder) {
  const auto now = std::chrono::steady_clock::now();
  const double uptime = std::chrono::duration<double>(now - started).count();

  struct tms used {};
  ::times(&used);
  const double ticks = static_cast<double>(used.tms_utime + used.tms_stime);
  const double cpu_seconds = ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));

  const std::int64_t rss = proc_number("/proc/self/status", "VmRSS") * 1024;
  const std::int64_t vms = proc_number("/proc/self/status", "VmSize") * 1024;
  struct sysinfo system {};
  ::sysinfo(&system);
  const double total_memory = static_cast<double>(system.totalram) * system.mem_unit;

  struct statvfs disk {};
  ::statvfs(folder.c_str(), &disk);
  const auto block = static_cast<std::int64_t>(disk.f_frsize);
  const std::int64_t total = static_cast<std::int64_t>(disk.f_blocks) * block;
  const std::int64_t available = static_cast<std::int64_t>(disk.f_bavail) * block;
  const std::int64_t taken = static_cast<std::int64_t>(disk.f_blocks - disk.f_bfree) * block;

  json::object resources;
  resources["cpu_percent"] = percent(cpu_seconds, uptime);
  resources["memory"] =
      json::object{{"rss", rss}, {"vms", vms}, {"percent", percent(static_cast<double>(rss), total_memory)}};
  resources["disk"] =
      json::object{{"total", total},
                   {"used", taken},
                   {"free", available},
                   {"percent", percent(static_cast<double>(taken), static_cast<double>(taken + available))}};
  resources["io"] = json::object{{"read_bytes", proc_number("/proc/self/io", "read_bytes")},
                                 {"write_bytes", proc_number("/proc/self/io", "write_bytes")}};
  json::object info;
  info["uptime"] = uptime;
  info["idle_time"] = std::chrono::duration<double>(now - last_action).count();
  info["resources"] = std::move(resources);
  return info;
}

}  // namespace sandkey::agent
