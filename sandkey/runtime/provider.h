// What a sandbox cloud can do, the same for all of them.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/net/url.h"

#include <boost/asio/awaitable.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

// A provider's own id of a sandbox. Not a session id, and not a string by accident.
struct SandboxId {
  std::string value = {};
  bool operator==(const SandboxId&) const = default;
};

// What a session wants its sandbox to be.
struct SandboxIntent {
  std::string sid = {};          // our label on it, by which any process finds it again
  std::string working_dir = {};  // of the agent
  std::map<std::string, std::string> environment = {};
};

// How to reach the agent in a sandbox.
struct AgentAccess {
  Endpoint endpoint;
  Secret session_key = {};  // empty where only the owner can connect anyway
};

// One authenticated account. Implementations are used from several coroutines at once, all on the engine's
// threads.
//
// Every call throws Error with a closed code; what a provider cannot do is `unsupported`, never silence.
// `deadline` bounds the whole call. Cancelling a call is safe; what it had started on the provider is found
// again by find().
class Provider {
 public:
  virtual ~Provider() = default;

  // "e2b", "local", ...: for messages.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  // The sandbox that carries the session's label, if there is one.
  virtual asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) = 0;
  // A new sandbox with the agent in it, started but not necessarily answering yet.
  virtual asio::awaitable<SandboxId> create(SandboxIntent intent, Deadline deadline) = 0;
  virtual asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) = 0;
  virtual asio::awaitable<void> pause(SandboxId id, Deadline deadline) = 0;
  virtual asio::awaitable<void> resume(SandboxId id, Deadline deadline) = 0;
  // Idempotent: a sandbox that is gone is what was wanted.
  virtual asio::awaitable<void> destroy(SandboxId id, Deadline deadline) = 0;
};

}  // namespace sandkey
