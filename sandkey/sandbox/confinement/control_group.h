// Memory and process limits for a group of processes, and freezing it: cgroup v2, or v1, or both mixed.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sandkey::sandbox {

// Where this machine says what control groups there are; tests say otherwise.
struct ControlGroupSources {
  std::string own_groups = "/proc/self/cgroup";
  std::string mounts = "/proc/self/mountinfo";
};

// A group of its own for one sandbox, as far as this machine lets us make one: each of the three (memory,
// processes, freezing) is in force or not, and said so. It is made below our own group where that is
// possible, otherwise below the nearest group around it. Removed by remove() or the destructor, which needs
// it empty.
class ControlGroup {
 public:
  // Never fails for want of permission: what cannot be had is told by not_enforced(). `name` is unique; an
  // empty group of that name, left by somebody who crashed, is taken over.
  ControlGroup(const std::string& name, std::uint64_t memory_bytes, unsigned processes,
               const ControlGroupSources& sources = {});
  ~ControlGroup();
  ControlGroup(const ControlGroup&) = delete;
  ControlGroup& operator=(const ControlGroup&) = delete;

  // Kills what is in the group of that name, frozen or not, and removes it: for one whose owner was killed.
  static void end_remains(const std::string& name, const ControlGroupSources& sources = {});

  // How a new process gets in at once. Moving one that runs (add) makes every fork on this machine wait for
  // an RCU grace period, 10 to 20 ms.
  struct Entrances {
    UniqueFd birth;               // v2: the group's folder, for clone3's CLONE_INTO_CGROUP; none without v2
    std::vector<UniqueFd> tasks;  // v1: for a process that has one thread to write "0" to
  };
  [[nodiscard]] Entrances entrances() const;
  // The process moves in, with what it will start. Throws Error.
  void add(pid_t pid);

  [[nodiscard]] bool limits_memory() const noexcept;
  [[nodiscard]] bool limits_processes() const noexcept;
  [[nodiscard]] bool can_freeze() const noexcept;
  // For people, such as "memory: no control group can be made here (/sys/fs/cgroup: Read-only file system)".
  [[nodiscard]] std::vector<std::string> not_enforced() const;

  // Returns when every process stands still (true), or false if they did not within a second or so: then they
  // go on. False where can_freeze() is.
  [[nodiscard]] bool freeze();
  void thaw();
  // SIGKILL for all in it, also while frozen.
  void kill();
  // False while there are processes in it.
  bool remove();

 private:
  struct Impl;
  explicit ControlGroup(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::sandbox
