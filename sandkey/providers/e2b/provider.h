// Sandboxes at E2B.
#pragma once

#include "sandkey/providers/e2b/account.h"
#include "sandkey/providers/e2b/credential_spec.h"
#include "sandkey/providers/provider_entry.h"

namespace sandkey::e2b {

// `account` is what authenticate() made.
[[nodiscard]] std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig& config,
                                             const std::shared_ptr<AuthenticatedAccount>& account);

inline constexpr ProviderEntry kEntry{
    .name = "e2b",
    .summary = "E2B: https://e2b.dev",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate},
    .open = &open};

}  // namespace sandkey::e2b
