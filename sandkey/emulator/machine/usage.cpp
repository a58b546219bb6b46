#include "sandkey/emulator/machine/usage.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <span>
#include <utility>

namespace sandkey::machine {
namespace {

constexpr std::size_t kMaxFile = std::size_t{1024} * 1024;
constexpr std::chrono::seconds kPatience{10};

std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::optional<std::uint64_t> next_number(std::string_view& line) {
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  if (error != std::errc()) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  return value;
}

// Size and use of the file system there, by df.
asio::awaitable<std::pair<std::uint64_t, std::uint64_t>> disk_use(AgentClient& agent, std::string folder) {
  ExecCommand command;
  command.argv = {"/bin/df", "-B1", "--output=size,used", folder};
  command.input = false;
  command.timeout = kPatience;
  const std::unique_ptr<AgentStream> stream = agent.exec(command);
  std::string output;
  const ExecSink sink = [&output](std::size_t channel,
                                  std::span<const std::byte> bytes) -> asio::awaitable<void> {
    if (channel == 0 && output.size() < kMaxFile)
      output.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    co_return;
  };
  (void)co_await stream->follow(sink);
  std::string_view text = output;
  (void)next_line(text);
  std::string_view line = next_line(text);
  const std::uint64_t size = next_number(line).value_or(0);
  const std::uint64_t used = next_number(line).value_or(0);
  co_return std::make_pair(size, used);
}

}  // namespace

ProcessorTimes parse_processor_times(std::string_view proc_stat) {
  ProcessorTimes times;
  constexpr std::size_t kIdle = 3;
  constexpr std::size_t kWaiting = 4;
  while (!proc_stat.empty()) {
    std::string_view line = next_line(proc_stat);
    if (!line.starts_with("cpu")) continue;
    line.remove_prefix(3);
    if (!line.starts_with(' ')) {
      ++times.count;
      continue;
    }
    for (std::size_t column = 0; const auto ticks = next_number(line); ++column) {
      times.total += *ticks;
      if (column != kIdle && column != kWaiting) times.busy += *ticks;
    }
  }
  return times;
}

MemoryUse parse_memory_use(std::string_view proc_meminfo) {
  MemoryUse use;
  while (!proc_meminfo.empty()) {
    std::string_view line = next_line(proc_meminfo);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, colon);
    line.remove_prefix(colon + 1);
    const std::uint64_t bytes = next_number(line).value_or(0) * 1024;
    if (name == "MemTotal") use.total = bytes;
    if (name == "MemAvailable") use.available = bytes;
    if (name == "Cached") use.cached = bytes;
  }
  return use;
}

asio::awaitable<std::string> UsageMeter::read(std::string path) {
  HttpStream file = co_await agent_.open_file(std::move(path));
  co_return co_await file.read_all(kMaxFile);
}

asio::awaitable<Usage> UsageMeter::measure(std::string folder) {
  const std::string stat = co_await read("/proc/stat");
  const std::string meminfo = co_await read("/proc/meminfo");
  const auto [disk_total, disk_used] = co_await disk_use(agent_, std::move(folder));
  const ProcessorTimes now = parse_processor_times(stat);
  const ProcessorTimes before = std::exchange(last_, now);
  const std::uint64_t passed = now.total - before.total;
  const double share =
      passed == 0 ? 0 : static_cast<double>(now.busy - before.busy) / static_cast<double>(passed);
  const MemoryUse memory = parse_memory_use(meminfo);
  Usage usage;
  usage.processors = allotment_.processors.value_or(now.count);
  usage.processor_percent = static_cast<double>(static_cast<std::int64_t>(share * 10'000)) / 100;
  usage.memory_total = std::min(memory.total, allotment_.memory_bytes.value_or(memory.total));
  usage.memory_used = std::min(usage.memory_total, memory.total - std::min(memory.total, memory.available));
  usage.memory_cached = std::min(usage.memory_total, memory.cached);
  usage.disk_total = disk_total;
  usage.disk_used = disk_used;
  co_return usage;
}

}  // namespace sandkey::machine
