#include "sandkey/sandbox/confinement/process_tree.h"

#include "sandkey/base/unique_fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::seconds(1);
// A process that waits for the disk, or for its vfork()ed child to execute a program, stops only afterwards.
// After this long it counts as standing still: it will stop before it does anything else.
constexpr auto kUninterruptible = std::chrono::milliseconds(20);

struct CloseDir {
  void operator()(DIR* dir) const noexcept { ::closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

// The numbers among a folder's entries.
std::vector<pid_t> numbered_entries(const std::string& path) {
  std::vector<pid_t> out;
  const Dir dir(::opendir(path.c_str()));
  while (const dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    const std::string_view name = entry->d_name;
    pid_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) out.push_back(number);
  }
  return out;
}

struct Stat {
  char state = '?';
  pid_t parent = 0;
  std::uint64_t start_time = 0;  // tells a process from a later one with the same number
};

std::optional<Stat> read_stat(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t size = file ? ::read(file.get(), text, sizeof(text)) : -1;
  if (size <= 0) return std::nullopt;
  std::string_view rest(text, static_cast<std::size_t>(size));
  // The name, in parentheses, may hold anything, parentheses included.
  const std::size_t name_end = rest.rfind(')');
  if (name_end == std::string_view::npos || name_end + 2 >= rest.size()) return std::nullopt;
  rest.remove_prefix(name_end + 2);
  Stat stat;
  stat.state = rest[0];
  for (int field = 3; field <= 22; ++field) {
    const std::string_view value = rest.substr(0, rest.find(' '));
    if (field == 4) std::from_chars(value.data(), value.data() + value.size(), stat.parent);
    if (field == 22) std::from_chars(value.data(), value.data() + value.size(), stat.start_time);
    if (value.size() == rest.size()) break;
    rest.remove_prefix(value.size() + 1);
  }
  return stat;
}

std::string proc(pid_t pid) {
  return "/proc/" + std::to_string(pid);
}

struct Process {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
};

// Generation by generation; each process after its parent.
std::vector<std::vector<Process>> family(pid_t init) {
  std::multimap<pid_t, Process> by_parent;
  std::vector<std::vector<Process>> generations;
  for (const pid_t pid : numbered_entries("/proc")) {
    const std::optional<Stat> stat = read_stat(proc(pid) + "/stat");
    if (!stat) continue;
    if (pid == init) generations.push_back({{pid, stat->start_time}});
    by_parent.emplace(stat->parent, Process{pid, stat->start_time});
  }
  while (!generations.empty() && !generations.back().empty()) {
    std::vector<Process> children;
    for (const Process& parent : generations.back()) {
      const auto [first, last] = by_parent.equal_range(parent.pid);
      for (auto child = first; child != last; ++child) children.push_back(child->second);
    }
    generations.push_back(std::move(children));
  }
  return generations;
}

bool is_stopped(char state) {
  return state == 'T' || state == 't';
}
bool is_dead(char state) {
  return state == 'Z' || state == 'X' || state == 'x';
}

// Nothing if it is gone.
std::optional<Stat> look_at(const Process& process) {
  std::optional<Stat> stat = read_stat(proc(process.pid) + "/stat");
  if (stat && stat->start_time != process.start_time) stat.reset();
  return stat;
}

void send(const Process& process, int signal) {
  // Looked at again once the descriptor holds it, so that no successor with its number is hit.
  const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (handle && look_at(process)) ::syscall(SYS_pidfd_send_signal, handle.get(), signal, nullptr, 0);
}

enum class Rest { still, waiting_for_the_kernel, running };

Rest rest_of(const Process& process) {
  Rest rest = Rest::still;
  const std::string threads = proc(process.pid) + "/task";
  for (const pid_t thread : numbered_entries(threads)) {
    const std::optional<Stat> stat = read_stat(threads + "/" + std::to_string(thread) + "/stat");
    if (!stat || is_stopped(stat->state) || is_dead(stat->state)) continue;
    if (stat->state != 'D') return Rest::running;
    rest = Rest::waiting_for_the_kernel;
  }
  return rest;
}

void pause_briefly() {
  constexpr timespec kMoment{.tv_sec = 0, .tv_nsec = 200'000};
  ::nanosleep(&kMoment, nullptr);
}

bool wait_until_still(const std::vector<Process>& processes, Clock::time_point deadline) {
  for (const Process& process : processes) {
    const Clock::time_point begin = Clock::now();
    while (true) {
      const Rest rest = rest_of(process);
      if (rest == Rest::still) break;
      const Clock::time_point now = Clock::now();
      if (rest == Rest::waiting_for_the_kernel && now - begin > kUninterruptible) break;
      if (now > deadline) return false;
      pause_briefly();
    }
  }
  return true;
}

}  // namespace

bool ProcessTree::stop() {
  if (stopped_) return true;
  stopped_before_.clear();
  stopped_ = true;
  if (stop_all()) return true;
  go_on();
  return false;
}

bool ProcessTree::stop_all() {
  const Clock::time_point deadline = Clock::now() + kPatience;
  std::set<pid_t> seen;
  for (bool something_new = true; something_new;) {
    something_new = false;
    for (const std::vector<Process>& generation : family(init_)) {
      std::vector<Process> told;
      for (const Process& process : generation) {
        if (!seen.insert(process.pid).second) continue;
        const std::optional<Stat> stat = look_at(process);
        if (!stat) continue;
        something_new = true;
        if (is_stopped(stat->state)) {
          stopped_before_.insert(process.pid);
          continue;
        }
        send(process, SIGSTOP);
        told.push_back(process);
      }
      // Only a parent that stands still cannot see its children stop.
      if (!wait_until_still(told, deadline)) return false;
    }
    if (Clock::now() > deadline) return false;
  }
  return true;
}

void ProcessTree::go_on() {
  if (!stopped_) return;
  const std::vector<std::vector<Process>> generations = family(init_);
  for (auto generation = generations.rbegin(); generation != generations.rend(); ++generation) {
    for (const Process& process : *generation) {
      if (!stopped_before_.contains(process.pid)) send(process, SIGCONT);
    }
  }
  stopped_before_.clear();
  stopped_ = false;
}

}  // namespace sandkey::sandbox
