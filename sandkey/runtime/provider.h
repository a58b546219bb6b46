// What a sandbox cloud can do, the same for all of them.
#pragma once

#include "sandkey/accounts/account.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/url.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

// A provider's own id of a sandbox. Not a session id, and not a string by accident.
struct SandboxId {
  std::string value = {};
  bool operator==(const SandboxId&) const = default;
};

// What a session wants its sandbox to be. What a provider cannot give, it refuses (`unsupported`); what is
// unset is the provider's to choose.
struct SandboxIntent {
  std::string sid = {};          // our label on it, by which any process finds it again
  std::string attempt = {};      // another one: by it what this create() made is told from all else
  std::string working_dir = {};  // of the agent
  std::map<std::string, std::string> environment = {};
  std::string image = {};
  std::string workspace = {};  // a folder of this machine to appear as the working directory
  std::optional<bool> network = std::nullopt;
  std::optional<std::uint64_t> memory_bytes = std::nullopt;
  std::optional<std::uint64_t> disk_bytes = std::nullopt;
  std::optional<unsigned> processes = std::nullopt;
  std::optional<std::chrono::seconds> lease = std::nullopt;
  // Outlives us and ends when its lease runs out. One that is not kept ends with this process where the
  // provider can see that (local), and with its lease elsewhere.
  bool keep = false;
  // Told, a line at a time and on an engine's thread, what takes long about making it, such as the build of
  // an image. May be empty.
  std::function<void(const std::string& line)> progress = {};
};

// What became of a create().
struct CreatedSandbox {
  SandboxId id = {};
  bool own = true;  // false: somebody else made it meanwhile, for the same session
};

// How to reach the agent in a sandbox.
struct AgentAccess {
  Endpoint endpoint;
  Secret session_key = {};  // empty where only the owner can connect anyway
  // What else every request carries, such as the sandbox's name where one host serves many.
  HttpHeaders headers = {};
};

// Where a port of a sandbox is reached from here.
struct ExposedPort {
  std::string url = {};
  // What a request needs to be let in, by header name; empty: nothing.
  std::map<std::string, Secret> headers = {};
};

enum class SandboxState { starting, running, paused, ended };
[[nodiscard]] std::string_view to_string(SandboxState state) noexcept;

// One sandbox, as its provider tells.
struct SandboxInfo {
  SandboxId id = {};
  std::string sid = {};      // empty: not labelled by us
  std::string attempt = {};  // of the create() that made it, where it is told
  SandboxState state = SandboxState::running;
  bool kept = false;
  std::optional<std::chrono::system_clock::time_point> created = std::nullopt;
  std::optional<std::chrono::seconds> lease = std::nullopt;  // its length, where the provider tells
  std::optional<std::chrono::system_clock::time_point> lease_end = std::nullopt;
  std::string image = {};
  // For people: what is not as it was asked for, such as a limit this machine cannot enforce.
  std::vector<std::string> remarks = {};
};

// What a provider can do at all. What it cannot, it also refuses as `unsupported`.
struct Capabilities {
  bool create = true;    // false: an agent somebody else started
  bool accounts = true;  // sandboxes belong to one of several accounts
  bool pause = true;
  bool pause_keeps_processes = true;  // false: only files outlast a pause, and the agent is started anew
  bool renew = true;
  bool fixed_lease = false;  // renew() begins the lease anew, as long as it was said to be at creation
  bool expose = true;
  bool image = true;
  bool workspace = false;      // a folder of this machine as the workspace
  bool network_switch = true;  // SandboxIntent::network
  // The time limit of a sandbox whose intent names none.
  std::optional<std::chrono::seconds> default_lease = std::nullopt;
  bool survives_reboot = true;  // of this machine: then the ledger is written through to the disk
  // The longest a sandbox that is not kept outlives a client that vanished; for people ("at once", "24 h").
  std::string outlives_client = {};
};

// One authenticated account. Implementations are used from several coroutines at once, all on the engine's
// threads.
//
// Every call throws Error with a closed code; what a provider cannot do is `unsupported`, never silence.
// `deadline` bounds the whole call. Cancelling a call is safe; what it had started on the provider is found
// again by find(). A sandbox that is not there (any more) is `not_found`.
class Provider {
 public:
  virtual ~Provider() = default;

  // "e2b", "local", ...: for messages.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual Capabilities capabilities() const = 0;
  // What it told when it accepted the credential.
  [[nodiscard]] virtual Account account() const = 0;

  // The sandbox that carries the session's label, if there is one; the oldest if there are several.
  virtual asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) = 0;
  // All that carry a label of ours.
  virtual asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) = 0;
  virtual asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) = 0;

  // Whether this intent can be had, as far as that can be told without starting anything.
  virtual void check(const SandboxIntent& intent) const = 0;
  // A new sandbox. Nothing is left behind by a create that failed.
  virtual asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) = 0;
  // Puts the agent in and starts it, unless it runs; it need not answer yet.
  virtual asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) = 0;
  virtual asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) = 0;
  // Where the port inside can be reached until the sandbox ends. Never without a secret, except from this
  // machine.
  virtual asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) = 0;
  // From now on it may live this long (or as long as it was made for: Capabilities::fixed_lease); one that
  // may live longer already, may so still. Returns when it would end.
  virtual asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId id,
                                                                       std::chrono::seconds lease,
                                                                       Deadline deadline) = 0;
  // Both idempotent.
  virtual asio::awaitable<void> pause(SandboxId id, Deadline deadline) = 0;
  virtual asio::awaitable<void> resume(SandboxId id, Deadline deadline) = 0;
  // Idempotent: a sandbox that is gone is what was wanted.
  virtual asio::awaitable<void> destroy(SandboxId id, Deadline deadline) = 0;
};

}  // namespace sandkey
