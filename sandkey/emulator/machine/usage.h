// What a sandbox uses of its machine.
#pragma once

#include "sandkey/runtime/agent_client.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::machine {

// Of /proc/stat: how many processors there are, and their time, in ticks since the start of the machine.
struct ProcessorTimes {
  unsigned count = 0;
  std::uint64_t busy = 0;
  std::uint64_t total = 0;
};
[[nodiscard]] ProcessorTimes parse_processor_times(std::string_view proc_stat);

// Of /proc/meminfo, in bytes.
struct MemoryUse {
  std::uint64_t total = 0;
  std::uint64_t available = 0;
  std::uint64_t cached = 0;
};
[[nodiscard]] MemoryUse parse_memory_use(std::string_view proc_meminfo);

// What the sandbox was given, where that is less than its machine has.
struct Allotment {
  std::optional<unsigned> processors = std::nullopt;
  std::optional<std::uint64_t> memory_bytes = std::nullopt;
};

struct Usage {
  unsigned processors = 0;
  double processor_percent = 0;  // of all of them, with two digits after the point
  std::uint64_t memory_total = 0;
  std::uint64_t memory_used = 0;
  std::uint64_t memory_cached = 0;
  std::uint64_t disk_total = 0;
  std::uint64_t disk_used = 0;
};

// On one thread; `agent` must outlive it.
class UsageMeter {
 public:
  UsageMeter(AgentClient& agent, Allotment allotment) : agent_(agent), allotment_(allotment) {}

  // The share of processors is that since the last call, and since the machine's start in the first one; the
  // disk is that which holds the folder.
  asio::awaitable<Usage> measure(std::string folder);

 private:
  asio::awaitable<std::string> read(std::string path);

  AgentClient& agent_;
  Allotment allotment_;
  ProcessorTimes last_;
};

}  // namespace sandkey::machine
