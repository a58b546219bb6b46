// What no cloud can give a sandbox, and how it is refused.
#pragma once

#include "sandkey/accounts/account.h"
#include "sandkey/runtime/provider.h"

#include <string>
#include <string_view>

namespace sandkey {

// Error(unsupported): "creating a sandbox at NAME: what; instead".
[[noreturn]] void refuse_intent(std::string_view provider, const std::string& what,
                                const std::string& instead);

// Refuses a workspace of this machine and a limit of processes; and any sandbox to an account that may create
// none, as AuthenticationError(permission_denied).
void check_cloud_intent(std::string_view provider, const SandboxIntent& intent, const Account& account);

// The intent's, or a new one where whoever made it did not care.
[[nodiscard]] std::string attempt_of(const SandboxIntent& intent, const Engine& engine);

}  // namespace sandkey
