#include "sandkey/runtime/fixed_agent.h"

#include "sandkey/base/error.h"

#include <utility>

namespace sandkey {
namespace {

Error unsupported(std::string operation) {
  std::string message =
      operation + ": the agent at a fixed address was started by somebody else, and only they can do that";
  return Error(ErrorCode::unsupported, message,
               {.provider = "agent",
                .operation = std::move(operation),
                .phase = {},
                .request_id = {},
                .processed = Processed::no});
}

}  // namespace

FixedAgent::FixedAgent(Endpoint endpoint, Secret session_key)
    : endpoint_(std::move(endpoint)), session_key_(std::move(session_key)) {}

Capabilities FixedAgent::capabilities() const {
  return {.create = false,
          .pause = false,
          .renew = false,
          .expose = false,
          .image = false,
          .network_switch = false,
          .outlives_client = "as its owner wishes"};
}

Account FixedAgent::account() const {
  return {};
}

asio::awaitable<std::optional<SandboxId>> FixedAgent::find(std::string, Deadline) {
  co_return SandboxId{endpoint_.to_string()};
}

asio::awaitable<std::vector<SandboxInfo>> FixedAgent::list(Deadline) {
  co_return std::vector<SandboxInfo>{};  // it carries no label of ours
}

asio::awaitable<SandboxInfo> FixedAgent::describe(SandboxId id, Deadline) {
  SandboxInfo info;
  info.id = std::move(id);
  info.kept = true;
  co_return info;
}

void FixedAgent::check(const SandboxIntent&) const {
  throw unsupported("create a sandbox");
}

asio::awaitable<void> FixedAgent::start_agent(SandboxId, Deadline) {
  co_return;
}

asio::awaitable<AgentAccess> FixedAgent::agent_endpoint(SandboxId, Deadline) {
  co_return AgentAccess{endpoint_, session_key_.clone()};
}

asio::awaitable<void> FixedAgent::destroy(SandboxId, Deadline) {
  co_return;
}

asio::awaitable<CreatedSandbox> FixedAgent::create(SandboxIntent, Deadline) {
  throw unsupported("create a sandbox");
  co_return CreatedSandbox{};
}

asio::awaitable<ExposedPort> FixedAgent::expose(SandboxId, std::uint16_t, Deadline) {
  throw unsupported("expose a port");
  co_return ExposedPort{};
}

asio::awaitable<std::chrono::system_clock::time_point> FixedAgent::renew(SandboxId, std::chrono::seconds,
                                                                         Deadline) {
  throw unsupported("renew a lease");
  co_return std::chrono::system_clock::time_point();
}

asio::awaitable<void> FixedAgent::pause(SandboxId, Deadline) {
  throw unsupported("pause");
  co_return;
}

asio::awaitable<void> FixedAgent::resume(SandboxId, Deadline) {
  throw unsupported("resume");
  co_return;
}

}  // namespace sandkey
