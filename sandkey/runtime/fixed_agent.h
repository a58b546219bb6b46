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
  [[nodiscard]] Capabilities capabilities() const override;
  [[nodiscard]] Account account() const override;
  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline deadline) override;
  asio::awaitable<std::vector<SandboxInfo>> list(Deadline deadline) override;
  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline deadline) override;
  void check(const SandboxIntent& intent) const override;
  asio::awaitable<void> start_agent(SandboxId id, Deadline deadline) override;  // it runs already
  asio::awaitable<AgentAccess> agent_endpoint(SandboxId id, Deadline deadline) override;
  asio::awaitable<void> destroy(SandboxId id, Deadline deadline) override;  // leaves it alone
  // All unsupported.
  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline deadline) override;
  asio::awaitable<ExposedPort> expose(SandboxId id, std::uint16_t port, Deadline deadline) override;
  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId id, std::chrono::seconds lease,
                                                               Deadline deadline) override;
  asio::awaitable<void> pause(SandboxId id, Deadline deadline) override;
  asio::awaitable<void> resume(SandboxId id, Deadline deadline) override;

 private:
  Endpoint endpoint_;
  Secret session_key_;
};

}  // namespace sandkey
