// Sandboxes at a cloud that is invented, with the simplest API that has all a provider needs.
#pragma once

#include "sandkey/providers/_template/account.h"
#include "sandkey/providers/_template/credential_spec.h"
#include "sandkey/providers/provider_entry.h"

namespace sandkey::example {

// `account` is what authenticate() made.
[[nodiscard]] std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig& config,
                                             const std::shared_ptr<AuthenticatedAccount>& account);

inline constexpr ProviderEntry kEntry{
    .name = "example",
    .summary = "Example: https://cloud.example",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate},
    .open = &open};

}  // namespace sandkey::example
