// An agent that somebody else started, at a known address.
#pragma once

#include "sandkey/runtime/provider.h"

#include <string>

namespace sandkey {

// A provider of exactly one sandbox: every session finds it, nobody creates or destroys it. Serves Sandkey's
// agent as well as OpenHands' own action execution server.
class FixedAgent final : public Provider {
 public:
  explicit FixedAgent(Endpoint endpoint, Secret session_key = {});

  [[nodiscard]] std::string_view name() const noexcept override { return "agent"; }
  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override;
  asio::awaitable<SandboxId> create(SandboxIntent intent, Deadline deadline) override;  // unsupported
  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override;
  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override;    // unsupported
  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override;   // unsupported
  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override;  // leaves it alone

 private:
  Endpoint endpoint_;
  Secret session_key_;
};

}  // namespace sandkey
