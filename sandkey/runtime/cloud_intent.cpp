#include "sandkey/runtime/cloud_intent.h"

#include "sandkey/base/error.h"

#include <fmt/format.h>

namespace sandkey {

void refuse_intent(std::string_view provider, const std::string& what, const std::string& instead) {
  throw Error(ErrorCode::unsupported,
              fmt::format("creating a sandbox at {}: {}; {}", provider, what, instead),
              {.provider = std::string(provider),
               .operation = "create",
               .phase = {},
               .request_id = {},
               .processed = Processed::no});
}

void check_cloud_intent(std::string_view provider, const SandboxIntent& intent, const Account& account) {
  if (!intent.workspace.empty()) {
    refuse_intent(provider, "a folder of this machine cannot be its workspace",
                  "copy the folder in (sandkey cp)");
  }
  if (intent.processes) refuse_intent(provider, "its processes cannot be limited", "leave the limit out");
  if (account.blocked.empty()) return;
  throw AuthenticationError(ErrorCode::permission_denied,
                            fmt::format("creating a sandbox at {}: {}", provider, account.blocked));
}

std::string attempt_of(const SandboxIntent& intent, const Engine& engine) {
  return intent.attempt.empty() ? fmt::format("{:016x}", engine.random()) : intent.attempt;
}

}  // namespace sandkey
