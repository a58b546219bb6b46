// A cloud whose answers a test chooses.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/runtime/provider.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::runtime_test {

// Of one sandbox, "box", whose agent is at `agent`. Used on one engine thread.
class FakeCloud final : public Provider {
 public:
  std::optional<SandboxId> sandbox;
  std::string why_dead;  // unless empty, what it says of a sandbox that ended
  std::string agent;
  SandboxState state = SandboxState::running;
  std::optional<std::chrono::system_clock::time_point> lease_end;
  Capabilities can = {};
  Account told = {};
  std::function<void()> on_create = [] {};
  std::function<void()> on_describe = [] {};
  std::function<void()> on_renew = [] {};
  std::function<void()> on_destroy = [] {};
  bool others = false;  // what is created turns out to be somebody else's
  bool kept = false;
  std::string attempt;  // of the sandbox
  std::vector<std::string> calls;
  int agents_started = 0;
  std::optional<std::chrono::seconds> lease_length;

  [[nodiscard]] std::string_view name() const noexcept override { return "fake"; }
  [[nodiscard]] Capabilities capabilities() const override { return can; }
  [[nodiscard]] Account account() const override { return told; }

  asio::awaitable<std::optional<SandboxId>> find(std::string sid, Deadline) override {
    calls.push_back("find " + sid);
    co_return sandbox;
  }
  asio::awaitable<std::vector<SandboxInfo>> list(Deadline) override { co_return std::vector<SandboxInfo>{}; }
  asio::awaitable<SandboxInfo> describe(SandboxId id, Deadline) override {
    on_describe();
    if (!sandbox && !why_dead.empty()) throw Error(ErrorCode::sandbox_dead, why_dead);
    if (!sandbox) throw Error(ErrorCode::not_found, "there is no sandbox " + id.value);
    SandboxInfo info;
    info.id = id;
    info.state = state;
    info.kept = kept;
    info.attempt = attempt;
    info.lease = lease_length;
    info.lease_end = lease_end;
    co_return info;
  }
  void check(const SandboxIntent&) const override {}
  asio::awaitable<CreatedSandbox> create(SandboxIntent intent, Deadline) override {
    calls.push_back("create " + intent.sid);
    attempt = others ? "another" : intent.attempt;
    on_create();
    sandbox = SandboxId{"box"};
    co_return CreatedSandbox{.id = *sandbox, .own = !others};
  }
  asio::awaitable<void> start_agent(SandboxId, Deadline) override {
    ++agents_started;
    co_return;
  }
  asio::awaitable<AgentAccess> agent_endpoint(SandboxId, Deadline) override {
    co_return AgentAccess{Endpoint::parse(agent)};
  }
  asio::awaitable<ExposedPort> expose(SandboxId, std::uint16_t, Deadline) override {
    co_return ExposedPort{};
  }
  asio::awaitable<std::chrono::system_clock::time_point> renew(SandboxId, std::chrono::seconds lease,
                                                               Deadline) override {
    calls.push_back("renew " + std::to_string(lease.count()));
    on_renew();
    co_return std::chrono::system_clock::time_point(lease);
  }
  asio::awaitable<void> pause(SandboxId, Deadline) override {
    calls.emplace_back("pause");
    co_return;
  }
  asio::awaitable<void> resume(SandboxId, Deadline) override {
    calls.emplace_back("resume");
    state = SandboxState::running;
    co_return;
  }
  asio::awaitable<void> destroy(SandboxId id, Deadline) override {
    calls.push_back("destroy " + id.value);
    on_destroy();
    sandbox.reset();
    co_return;
  }
};

}  // namespace sandkey::runtime_test
