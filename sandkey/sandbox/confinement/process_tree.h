// Stopping and continuing all processes of a sandbox by signals, where no control group can freeze them.
#pragma once

#include <sys/types.h>

#include <set>

namespace sandkey::sandbox {

// Process 1 of a pid namespace and all that descends from it, seen from outside. Whatever was started in
// there does, in nested namespaces too: orphans become children of a process 1.
class ProcessTree {
 public:
  explicit ProcessTree(pid_t init) : init_(init) {}

  // SIGSTOP for all, parents before their children so that no shell sees a job stop; repeated until nothing
  // new has appeared. Those that were stopped already are remembered. False if it did not come to rest within
  // a second or so: then all go on. Idempotent.
  [[nodiscard]] bool stop();
  // SIGCONT, children first, but not for those that were stopped before.
  void go_on();

 private:
  [[nodiscard]] bool stop_all();

  pid_t init_;
  bool stopped_ = false;
  std::set<pid_t> stopped_before_;
};

}  // namespace sandkey::sandbox
