// Sandboxes on this machine: no account, no cost; bubblewrap keeps them in.
#pragma once

#include "sandkey/providers/provider_entry.h"

namespace sandkey::local {

// Throws Error(unsupported, permission_denied, ...) where this machine can make no sandboxes for us:
// bubblewrap must be there, user namespaces allowed, the state folder ours. There is no account.
[[nodiscard]] std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig& config,
                                             const std::shared_ptr<AuthenticatedAccount>& account);

inline constexpr ProviderEntry kEntry{
    .name = "local", .summary = "isolated sandboxes on this machine", .open = &open};

}  // namespace sandkey::local
