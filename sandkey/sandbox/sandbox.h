// Isolated sandboxes on this machine.
//
// Each sandbox is a bubblewrap container whose process 1 is one static program, and a small process beside
// it, its keeper (`sandkey-keeper`), which belongs to nobody: it ends the sandbox when the client that wanted
// it is gone (where it is bound to it), when its lease runs out, when it is told to, or when process 1 ends,
// and then leaves nothing behind. Any process of the same user reaches a sandbox through its folder.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/unique_fd.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandkey::sandbox {

struct Limits {
  // Enforced by a control group where one can be made; unset: half of the machine's.
  std::optional<std::uint64_t> memory_bytes = std::nullopt;
  unsigned processes = 1024;  // always enforced
  // Of each of /workspace, /tmp, /home and /dev/shm, which live in memory.
  std::uint64_t disk_bytes = std::uint64_t{1} << 30;
};

struct Spec {
  // Letters, digits and '-', at most 40; random if empty.
  std::string id = {};
  std::map<std::string, std::string> labels = {};  // not interpreted, but told by describe()
  // A folder with a root file system, read-only inside; empty: this machine's own /usr.
  std::string image = {};
  // A folder of this machine that the sandbox may write, at `working_dir`; empty: an empty one, in memory.
  // What it makes there belongs to the folder's owner, also when root starts it.
  std::string workspace = {};
  std::string working_dir = "/workspace";
  // More empty folders in memory that the sandbox may write; as `working_dir` they are none of the system's.
  std::vector<std::string> writable_folders = {};
  // What the user inside is called, and its home: /home/NAME. Lower-case letters, digits and '-', at most 31,
  // and none that the system has.
  std::string user = "sandkey";
  // The internet, without anything private: no address of this machine, no private, link-local or metadata
  // range. Otherwise no network at all.
  bool network = false;
  Limits limits = {};
  std::optional<std::chrono::seconds> lease = std::nullopt;
  // Ends when this process does, however that is, or lets go of its SandboxHost.
  bool bound_to_client = true;
  std::map<std::string, std::string> environment = {};
  // A static program of this machine, started as process 1 inside. Its descriptor 3 listens on the sandbox's
  // socket; to 4 it writes a byte when it is ready.
  std::filesystem::path program = {};
  std::vector<std::string> arguments = {};
  // It also lies in /usr/local/bin, for those inside who look for it there. Not with an image.
  bool program_on_path = false;
};

struct Status {
  std::string id = {};
  std::map<std::string, std::string> labels = {};
  bool paused = false;
  bool bound_to_client = true;
  std::chrono::system_clock::time_point created = {};
  std::optional<std::chrono::seconds> lease = std::nullopt;  // its length, as it was last set
  std::optional<std::chrono::system_clock::time_point> lease_end = std::nullopt;
  std::string image = {};
  std::vector<std::string> not_enforced = {};  // for people: "memory: no writable control group"
  std::int64_t init_pid = 0;                   // of process 1, as this machine counts
};

// A folder of sandboxes, and the lifelines of those that are bound to this process. Thread-safe; coroutines
// run on the engine's threads.
//
// Throws Error: invalid_argument, unsupported (no bubblewrap, no user namespaces), permission_denied,
// not_found (no such sandbox), conflict (the id is taken), sandbox_dead (it ended while being started; with
// what it said), capacity_unavailable (disk full, no more processes), deadline_exceeded.
class SandboxHost {
 public:
  // `folder` is made (0700) if missing. `keeper` is the program; empty: the one beside our own executable,
  // or the installed one.
  SandboxHost(Engine& engine, std::filesystem::path folder, std::filesystem::path keeper = {});
  ~SandboxHost();  // ends the sandboxes that are bound to this process
  SandboxHost(const SandboxHost&) = delete;
  SandboxHost& operator=(const SandboxHost&) = delete;

  // Whether this machine can make sandboxes at all, and this one in particular; starts nothing, takes well
  // under a millisecond.
  void check() const;
  void check(const Spec& spec) const;

  // Returns the id when the program is ready. A failure, or being cancelled, leaves nothing.
  asio::awaitable<std::string> create(Spec spec, Deadline deadline);

  // Folders of sandboxes that ended without tidying up (a power cut) are removed on the way.
  asio::awaitable<std::vector<Status>> list(Deadline deadline);
  asio::awaitable<Status> describe(std::string id, Deadline deadline);
  asio::awaitable<std::chrono::system_clock::time_point> renew(std::string id, std::chrono::seconds lease,
                                                               Deadline deadline);
  // All processes stop where they are, and go on later. Idempotent.
  asio::awaitable<void> pause(std::string id, Deadline deadline);
  asio::awaitable<void> resume(std::string id, Deadline deadline);
  // Returns when all of it is gone. Idempotent.
  asio::awaitable<void> destroy(std::string id, Deadline deadline);

  // The Unix socket on which the program listens; only its owner can connect.
  [[nodiscard]] std::filesystem::path socket(const std::string& id) const;
  // A TCP connection to 127.0.0.1:port inside, or to [::1]:port where only that is listened on.
  asio::awaitable<UniqueFd> dial(std::string id, std::uint16_t port, Deadline deadline);
  // A port of this machine's loopback that leads to 127.0.0.1:port inside, until the sandbox ends. The same
  // one when asked again.
  asio::awaitable<std::uint16_t> expose(std::string id, std::uint16_t port, Deadline deadline);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::sandbox
