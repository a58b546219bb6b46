#include "sandkey/sandbox/confinement/control_group.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <ctime>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace sandkey::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kFreezePatience = std::chrono::seconds(1);
constexpr auto kKillPatience = std::chrono::seconds(1);
// The kernel counts an exiting task as a member for a moment after it has left cgroup.procs.
constexpr auto kRemovePatience = std::chrono::milliseconds(500);

std::optional<std::string> read_text(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  char part[4096];
  while (true) {
    const ssize_t size = ::read(file.get(), part, sizeof(part));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return std::nullopt;
    if (size == 0) return text;
    text.append(part, static_cast<std::size_t>(size));
  }
}

// An errno, or 0. Control files take a value as one write.
int write_text(const std::string& path, std::string_view text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return errno;
  return ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : errno;
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) out.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

bool contains(const std::vector<std::string_view>& list, std::string_view wanted) {
  return std::find(list.begin(), list.end(), wanted) != list.end();
}

// A control file of one line, such as "cpu memory pids".
std::string read_line(const std::string& path) {
  std::string text = read_text(path).value_or("");
  text.resize(std::min(text.find('\n'), text.size()));
  return text;
}

// mountinfo writes blanks and backslashes in octal.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned character = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, character, 8).ptr == text.data() + i + 4) {
      out += static_cast<char>(character);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

enum class Version { v1, v2 };

// One mounted hierarchy, and the folder in it that is our own group.
struct Hierarchy {
  Version version = Version::v2;
  std::string mount_point;
  std::string own;                       // empty: our own group is not below the mount
  std::vector<std::string> controllers;  // v1 only

  [[nodiscard]] bool has(std::string_view controller) const {
    return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
  }
  // Our own group and those around it, nearest first.
  [[nodiscard]] std::vector<std::string> candidates() const {
    std::vector<std::string> out;
    for (std::string folder = own; folder.size() > mount_point.size(); folder.resize(folder.rfind('/'))) {
      out.push_back(folder);
    }
    out.push_back(mount_point);
    return out;
  }
};

// The path of our own group in the hierarchy of these v1 controllers, or in v2's for none.
std::optional<std::string_view> own_path(std::string_view own_groups, const std::vector<std::string>& of) {
  for (const std::string_view line : split(own_groups, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view names = line.substr(first + 1, second - first - 1);
    const bool ours = of.empty() ? names.empty() : contains(split(names, ','), of.front());
    if (ours) return line.substr(second + 1);
  }
  return std::nullopt;
}

std::vector<Hierarchy> find_hierarchies(const ControlGroupSources& sources) {
  const std::string mounts = read_text(sources.mounts).value_or("");
  const std::string own_groups = read_text(sources.own_groups).value_or("");
  std::vector<Hierarchy> out;
  for (const std::string_view line : split(mounts, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto mount = split(line.substr(0, dash), ' ');
    const auto type = split(line.substr(dash + 3), ' ');
    if (mount.size() < 6 || type.size() < 3 || (type[0] != "cgroup" && type[0] != "cgroup2")) continue;

    Hierarchy hierarchy;
    hierarchy.version = type[0] == "cgroup" ? Version::v1 : Version::v2;
    hierarchy.mount_point = unescape(mount[4]);
    if (hierarchy.version == Version::v1) {
      for (const std::string_view option : split(type[2], ',')) {
        if (option == "memory" || option == "pids" || option == "freezer") {
          hierarchy.controllers.emplace_back(option);
        }
      }
      if (hierarchy.controllers.empty()) continue;
    }
    const std::string root = unescape(mount[3]);
    const auto own = own_path(own_groups, hierarchy.controllers);
    // Only what lies below the mounted part of the hierarchy has a path here.
    if (own && root == "/" && !own->starts_with("/..")) {
      hierarchy.own = hierarchy.mount_point + (*own == "/" ? "" : std::string(*own));
    } else if (own && (*own == root || own->starts_with(root + "/"))) {
      hierarchy.own = hierarchy.mount_point + std::string(own->substr(root.size()));
    }
    out.push_back(std::move(hierarchy));
  }
  return out;
}

std::string reason(const std::string& path, int error) {
  return path + ": " + std::generic_category().message(error);
}

// An errno, or 0 with the group there and nobody in it.
int make_group(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return 0;
  if (errno != EEXIST) return errno;
  return read_text(path + "/cgroup.procs") == "" ? 0 : EEXIST;
}

// Makes the children of this v2 group have the controller.
int enable(const std::string& parent, const std::string& controller) {
  const std::string enabled = read_line(parent + "/cgroup.subtree_control");
  if (contains(split(enabled, ' '), controller)) return 0;
  return write_text(parent + "/cgroup.subtree_control", "+" + controller);
}

void pause_briefly() {
  constexpr timespec kMoment{.tv_sec = 0, .tv_nsec = 500'000};
  ::nanosleep(&kMoment, nullptr);
}

std::vector<pid_t> processes_in(const std::string& group) {
  std::vector<pid_t> out;
  const std::string text = read_text(group + "/cgroup.procs").value_or("");
  for (const std::string_view line : split(text, '\n')) {
    pid_t pid = 0;
    // 0 stands for a process of another pid namespace; kill(0) would be us.
    if (std::from_chars(line.data(), line.data() + line.size(), pid).ec == std::errc() && pid > 0) {
      out.push_back(pid);
    }
  }
  return out;
}

}  // namespace

struct ControlGroup::Impl {
  struct Group {
    std::string path;
    Version version;
  };
  // Each of the three: the group it is in force through, or why it is not.
  struct Power {
    std::string group;
    std::string missing = "this machine has no such control group";
    [[nodiscard]] bool have() const noexcept { return !group.empty(); }
  };

  std::string name;
  bool only_remains = false;  // groups are found, not made
  std::uint64_t memory_bytes;
  unsigned processes;
  std::vector<Group> groups;
  Power memory;
  Power pids;
  Power freezer;
  Version freezer_version = Version::v2;

  void make(const std::vector<Hierarchy>& hierarchies) {
    // v2's freezer lets frozen processes be killed, so where v2 is there, it is asked first for that.
    for (const Hierarchy& hierarchy : hierarchies) {
      if (hierarchy.version == Version::v2) make_v2(hierarchy);
    }
    for (const Hierarchy& hierarchy : hierarchies) {
      if (hierarchy.version == Version::v1) make_v1(hierarchy);
    }
  }

  // The nearest place where all is possible, or else where most is.
  void make_v2(const Hierarchy& hierarchy) {
    const std::string offered = read_line(hierarchy.mount_point + "/cgroup.controllers");
    const auto controllers = split(offered, ' ');
    const unsigned wanted =
        1U + (contains(controllers, "memory") ? 1U : 0U) + (contains(controllers, "pids") ? 1U : 0U);
    for (unsigned enough = wanted; enough > 0; --enough) {
      for (const std::string& parent : hierarchy.candidates()) {
        if (try_v2(parent, enough)) return;
      }
    }
  }

  [[nodiscard]] int find_or_make(const std::string& path) const {
    if (only_remains) return exists(path) ? 0 : ENOENT;
    return make_group(path);
  }

  bool try_v2(const std::string& parent, unsigned enough) {
    const std::string path = parent + "/" + name;
    const int made = find_or_make(path);
    if (made != 0) {
      for (Power* power : {&memory, &pids, &freezer}) power->missing = unmade(path, made);
      return false;
    }
    // Before the limits are set: the files appear with the controller.
    const int memory_error = enable(parent, "memory");
    const int pids_error = enable(parent, "pids");
    Power found_memory = limit_v2(path, parent, "memory.max", std::to_string(memory_bytes), memory_error);
    Power found_pids = limit_v2(path, parent, "pids.max", std::to_string(processes), pids_error);
    Power found_freezer = limit_v2(path, parent, "cgroup.freeze", "0", 0);
    // Without this, what does not fit goes to the swap instead of being refused.
    if (found_memory.have() && exists(path + "/memory.swap.max")) write_text(path + "/memory.swap.max", "0");
    const unsigned have =
        (found_memory.have() ? 1U : 0U) + (found_pids.have() ? 1U : 0U) + (found_freezer.have() ? 1U : 0U);
    memory.missing = found_memory.missing;
    pids.missing = found_pids.missing;
    freezer.missing = found_freezer.missing;
    if (have < enough) {
      ::rmdir(path.c_str());
      return false;
    }
    groups.push_back({path, Version::v2});
    memory = std::move(found_memory);
    pids = std::move(found_pids);
    freezer = std::move(found_freezer);
    return true;
  }

  static Power limit_v2(const std::string& path, const std::string& parent, const std::string& file,
                        const std::string& value, int enable_error) {
    const std::string control = path + "/" + file;
    if (!exists(control)) {
      return {
          .group = {},
          .missing = "not among what the control group may hand on (" +
                     reason(parent + "/cgroup.subtree_control", enable_error == 0 ? ENOENT : enable_error) +
                     ")"};
    }
    const int error = write_text(control, value);
    if (error != 0) return {.group = {}, .missing = unmade(control, error)};
    return {.group = path, .missing = {}};
  }

  void make_v1(const Hierarchy& hierarchy) {
    struct Wish {
      std::string_view controller;
      Power* power;
      const char* file;
      std::string value;
    };
    std::vector<Wish> wishes = {{"memory", &memory, "memory.limit_in_bytes", std::to_string(memory_bytes)},
                                {"pids", &pids, "pids.max", std::to_string(processes)},
                                {"freezer", &freezer, "freezer.state", "THAWED"}};
    std::erase_if(wishes,
                  [&](const Wish& wish) { return wish.power->have() || !hierarchy.has(wish.controller); });
    if (wishes.empty()) return;

    for (const std::string& parent : hierarchy.candidates()) {
      const std::string path = parent + "/" + name;
      const int made = find_or_make(path);
      int error = made;
      std::string where = path;
      for (const Wish& wish : wishes) {
        if (error != 0) break;
        where = path + "/" + wish.file;
        if (!only_remains) error = write_text(where, wish.value);
      }
      if (error != 0) {
        for (const Wish& wish : wishes) wish.power->missing = unmade(where, error);
        if (made == 0) ::rmdir(path.c_str());
        continue;
      }
      for (const Wish& wish : wishes) {
        *wish.power = {.group = path, .missing = {}};
        if (wish.controller == "freezer") freezer_version = Version::v1;
        // Memory and swap together; not there unless the kernel counts swap.
        const std::string with_swap = path + "/memory.memsw.limit_in_bytes";
        if (wish.controller == "memory" && !only_remains && exists(with_swap))
          write_text(with_swap, wish.value);
      }
      groups.push_back({path, Version::v1});
      return;
    }
  }

  static std::string unmade(const std::string& path, int error) {
    return "no control group can be made here (" + reason(path, error) + ")";
  }

  [[nodiscard]] bool frozen() const {
    if (freezer_version == Version::v1) return read_text(freezer.group + "/freezer.state") == "FROZEN\n";
    const std::string events = read_text(freezer.group + "/cgroup.events").value_or("");
    return contains(split(events, '\n'), "frozen 1");
  }

  [[nodiscard]] bool wait_until_frozen() const {
    const Clock::time_point deadline = Clock::now() + kFreezePatience;
    // The kernel reports a change of this file to whoever polls it; v1 has nothing of the kind.
    const UniqueFd events(freezer_version == Version::v2
                              ? ::open((freezer.group + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC)
                              : -1);
    while (!frozen()) {
      if (Clock::now() > deadline) return false;
      if (events) {
        // Reading is what makes the next change count as one.
        char old[256];
        if (::pread(events.get(), old, sizeof(old), 0) < 0) return false;
        if (frozen()) break;
        pollfd change{.fd = events.get(), .events = POLLPRI, .revents = 0};
        constexpr int kAtMostMs = 20;
        ::poll(&change, 1, kAtMostMs);
      } else {
        pause_briefly();
      }
    }
    return true;
  }

  [[nodiscard]] std::vector<pid_t> members() const {
    std::vector<pid_t> out;
    for (const Group& group : groups) {
      for (const pid_t pid : processes_in(group.path)) out.push_back(pid);
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }
};

ControlGroup::ControlGroup(const std::string& name, std::uint64_t memory_bytes, unsigned processes,
                           const ControlGroupSources& sources)
    : impl_(std::make_unique<Impl>()) {
  impl_->name = "sandkey-" + name;
  impl_->memory_bytes = memory_bytes;
  impl_->processes = processes;
  impl_->make(find_hierarchies(sources));
}

ControlGroup::ControlGroup(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ControlGroup::~ControlGroup() {
  remove();
}

void ControlGroup::end_remains(const std::string& name, const ControlGroupSources& sources) {
  auto impl = std::make_unique<Impl>();
  impl->name = "sandkey-" + name;
  impl->only_remains = true;
  // Limits that nobody meets.
  impl->memory_bytes = std::uint64_t{1} << 60;
  impl->processes = 1'000'000;
  impl->make(find_hierarchies(sources));
  ControlGroup group(std::move(impl));
  group.thaw();
  group.kill();
}

ControlGroup::Entrances ControlGroup::entrances() const {
  Entrances entrances;
  for (const Impl::Group& group : impl_->groups) {
    const bool v2 = group.version == Version::v2;
    const std::string path = v2 ? group.path : group.path + "/tasks";
    UniqueFd fd(::open(path.c_str(), (v2 ? O_RDONLY | O_DIRECTORY : O_WRONLY) | O_CLOEXEC));
    if (!fd) throw system_error("entering a control group: " + path, errno);
    if (v2) {
      entrances.birth = std::move(fd);
    } else {
      entrances.tasks.push_back(std::move(fd));
    }
  }
  return entrances;
}

void ControlGroup::add(pid_t pid) {
  for (const Impl::Group& group : impl_->groups) {
    const int error = write_text(group.path + "/cgroup.procs", std::to_string(pid));
    if (error != 0) {
      throw system_error("putting process " + std::to_string(pid) + " under its limits: " + group.path,
                         error);
    }
  }
}

bool ControlGroup::limits_memory() const noexcept {
  return impl_->memory.have();
}
bool ControlGroup::limits_processes() const noexcept {
  return impl_->pids.have();
}
bool ControlGroup::can_freeze() const noexcept {
  return impl_->freezer.have();
}

std::vector<std::string> ControlGroup::not_enforced() const {
  std::vector<std::string> out;
  const auto tell = [&out](const char* what, const Impl::Power& power) {
    if (!power.have()) out.push_back(std::string(what) + ": " + power.missing);
  };
  tell("memory", impl_->memory);
  tell("processes", impl_->pids);
  tell("freezing", impl_->freezer);
  return out;
}

bool ControlGroup::freeze() {
  if (!can_freeze()) return false;
  const bool v1 = impl_->freezer_version == Version::v1;
  const int error = v1 ? write_text(impl_->freezer.group + "/freezer.state", "FROZEN")
                       : write_text(impl_->freezer.group + "/cgroup.freeze", "1");
  if (error == 0 && impl_->wait_until_frozen()) return true;
  thaw();
  return false;
}

void ControlGroup::thaw() {
  if (!can_freeze()) return;
  if (impl_->freezer_version == Version::v1) {
    write_text(impl_->freezer.group + "/freezer.state", "THAWED");
  } else {
    write_text(impl_->freezer.group + "/cgroup.freeze", "0");
  }
}

void ControlGroup::kill() {
  for (const Impl::Group& group : impl_->groups) {
    if (group.version == Version::v2) write_text(group.path + "/cgroup.kill", "1");
  }
  // Before Linux 5.14, and on v1: one by one, until none that was just being started is left.
  const Clock::time_point deadline = Clock::now() + kKillPatience;
  for (auto members = impl_->members(); !members.empty(); members = impl_->members()) {
    for (const pid_t pid : members) ::kill(pid, SIGKILL);
    // On v1 a frozen process does not even die.
    if (impl_->freezer_version == Version::v1) thaw();
    if (Clock::now() > deadline) break;
    pause_briefly();
  }
}

bool ControlGroup::remove() {
  const Clock::time_point deadline = Clock::now() + kRemovePatience;
  std::vector<Impl::Group>& groups = impl_->groups;
  while (!groups.empty()) {
    if (::rmdir(groups.back().path.c_str()) == 0 || errno == ENOENT) {
      groups.pop_back();
    } else if (errno != EBUSY || !processes_in(groups.back().path).empty() || Clock::now() > deadline) {
      return false;
    } else {
      pause_briefly();
    }
  }
  return true;
}

}  // namespace sandkey::sandbox
