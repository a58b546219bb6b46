// How a provider's folder presents itself to the registry.
#pragma once

#include "sandkey/accounts/sign_in.h"
#include "sandkey/base/engine.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <optional>
#include <string_view>

namespace sandkey {

// `constexpr ProviderEntry kEntry` of namespace sandkey::NAME, in sandkey/providers/NAME/provider.h.
struct ProviderEntry {
  std::string_view name;     // what config.runtime says
  std::string_view summary;  // one line for people
  // Whose accounts its sandboxes belong to; nothing where there are none (local).
  std::optional<Cloud> cloud = std::nullopt;
  // Makes the provider of an account; sends nothing. `account` is what `cloud` authenticated, or null without
  // one. Null: this version can sign in, but make no sandboxes yet.
  std::shared_ptr<Provider> (*open)(Engine& engine, const OpenHandsConfig& config,
                                    const std::shared_ptr<AuthenticatedAccount>& account) = nullptr;
};

// The authenticated provider: finds the credential, has it accepted (accounts.h) and opens the provider, or
// throws what stopped that. The blocking form must not be called on an engine thread.
[[nodiscard]] std::shared_ptr<Provider> authenticate(Engine& engine, const ProviderEntry& entry,
                                                     const OpenHandsConfig& config);
asio::awaitable<std::shared_ptr<Provider>> async_authenticate(Engine& engine, ProviderEntry entry,
                                                              OpenHandsConfig config);

}  // namespace sandkey
