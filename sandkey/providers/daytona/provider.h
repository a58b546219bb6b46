// Sandboxes at Daytona.
#pragma once

#include "sandkey/providers/daytona/account.h"
#include "sandkey/providers/daytona/credential_spec.h"
#include "sandkey/providers/provider_entry.h"

namespace sandkey::daytona {

// `account` is what authenticate() made.
[[nodiscard]] std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig& config,
                                             const std::shared_ptr<AuthenticatedAccount>& account);

inline constexpr ProviderEntry kEntry{
    .name = "daytona",
    .summary = "Daytona: https://www.daytona.io",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate},
    .open = &open};

}  // namespace sandkey::daytona
