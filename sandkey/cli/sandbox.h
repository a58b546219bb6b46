// The way from a verb's options to a sandbox, and out of it again.
#pragma once

#include "sandkey/cli/context.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/provider.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::cli {

// An agent that somebody else started.
struct AgentOptions {
  std::optional<std::string> address = std::nullopt;           // else SANDKEY_AGENT: URL or unix:PATH
  std::optional<std::string> session_key_file = std::nullopt;  // else SANDKEY_SESSION_KEY_FILE
};

// What run, python and shell need: a sandbox to make, one that exists, or an agent.
struct SandboxOptions {
  AgentOptions agent = {};
  std::optional<std::string> provider = std::nullopt;  // else SANDKEY_PROVIDER, else local
  std::optional<std::string> sid = std::nullopt;       // else a new one
  std::optional<std::string> image = std::nullopt;
  std::optional<std::string> workspace = std::nullopt;
  std::optional<std::string> lease = std::nullopt;
  std::optional<std::string> memory = std::nullopt;
  std::optional<std::string> disk = std::nullopt;
  std::optional<std::string> processes = std::nullopt;
  std::optional<std::string> start_timeout = std::nullopt;
  bool network = false;
  bool keep = false;
};

inline constexpr std::string_view kDefaultProvider = "local";

// A connected runtime and who provides for it.
struct Sandbox {
  std::shared_ptr<Provider> provider;
  std::unique_ptr<ActionExecutionClient> runtime;
  bool generated_sid = false;  // made up by us, so nobody knows it yet
};

// Makes the sandbox or finds it, runs `body`, and ends what is to end, also when `body` throws or a signal
// came meanwhile. The agent is Sandkey's own unless `any_agent`. Gives what `body` gives.
//
// A kept sandbox whose name we made up is announced on stderr at the end.
int with_sandbox(Context& context, const SandboxOptions& options, std::string_view what, bool any_agent,
                 const std::function<int(Sandbox&)>& body);

// An agent at a known address, or the one in the sandbox of a session that exists; for verbs that never
// create one. close() leaves both running.
[[nodiscard]] Sandbox attach_to_agent(Context& context, const AgentOptions& options, std::string_view what);
[[nodiscard]] Sandbox attach_to_session(Context& context, const std::string& sid, std::string_view what);

// Whether --agent, or else SANDKEY_AGENT, names one.
[[nodiscard]] bool has_agent(const Context& context, const AgentOptions& options);

// A session's sandbox, whoever made it.
struct Located {
  std::string sid;
  std::shared_ptr<Provider> provider;
  std::optional<std::string> profile;  // whose account it is in, where the ledger says that
  SandboxId id;
};

// By the ledger, or else (it may be another machine's) by the label at `provider` (default: local). Throws
// Error(not_found) for a session without one, Error(conflict) while its sandbox is still being created.
[[nodiscard]] Located locate(Context& context, const std::string& sid,
                             const std::optional<std::string>& provider = std::nullopt);

// The provider that is meant where the option does not say: SANDKEY_PROVIDER, else what the configuration
// says, else local.
[[nodiscard]] std::string provider_name(Context& context, const std::optional<std::string>& option);

// The deadline of one request to a provider.
[[nodiscard]] Deadline request_deadline(Context& context);

}  // namespace sandkey::cli
