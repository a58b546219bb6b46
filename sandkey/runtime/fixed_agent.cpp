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

asio::awaitable<std::optional<SandboxId>> FixedAgent::find(std::string, Deadline) {
  co_return SandboxId{endpoint_.to_string()};
}

asio::awaitable<SandboxId> FixedAgent::create(SandboxIntent, Deadline) {
  throw unsupported("create a sandbox");
  co_return SandboxId{};
}

asio::awaitable<AgentAccess> FixedAgent::agent_endpoint(SandboxId, Deadline) {
  co_return AgentAccess{endpoint_, session_key_.clone()};
}

asio::awaitable<void> FixedAgent::pause(SandboxId, Deadline) {
  throw unsupported("pause");
  co_return;
}

asio::awaitable<void> FixedAgent::resume(SandboxId, Deadline) {
  throw unsupported("resume");
  co_return;
}

asio::awaitable<void> FixedAgent::destroy(SandboxId, Deadline) {
  co_return;
}

}  // namespace sandkey
