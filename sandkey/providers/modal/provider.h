// Sandboxes at Modal.
#pragma once

#include "sandkey/providers/modal/account.h"
#include "sandkey/providers/modal/credential_spec.h"
#include "sandkey/providers/provider_entry.h"

namespace sandkey::modal {

// `account` is what authenticate() made.
[[nodiscard]] std::shared_ptr<Provider> open(Engine& engine, const OpenHandsConfig& config,
                                             const std::shared_ptr<AuthenticatedAccount>& account);

inline constexpr ProviderEntry kEntry{
    .name = "modal",
    .summary = "Modal: https://modal.com",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate},
    .open = &open};

}  // namespace sandkey::modal
