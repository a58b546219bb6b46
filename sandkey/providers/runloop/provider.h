// Sandboxes at Runloop, which calls them devboxes.
#pragma once

#include "sandkey/providers/provider_entry.h"
#include "sandkey/providers/runloop/account.h"
#include "sandkey/providers/runloop/credential_spec.h"

namespace sandkey::runloop {

// `account` is what authenticate() made.
[[nodiscard]] std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig& config,
                                             const std::shared_ptr<AuthenticatedAccount>& account);

inline constexpr ProviderEntry kEntry{
    .name = "runloop",
    .summary = "Runloop: https://runloop.ai",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate},
    .open = &open};

}  // namespace sandkey::runloop
