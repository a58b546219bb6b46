// Sandboxes on this machine: no account, no cost; bubblewrap keeps them in.
#pragma once

#include "sandkey/providers/provider_entry.h"

namespace sandkey::local {

// "Authentication" is that this machine can make sandboxes for us: bubblewrap is there, user namespaces are
// allowed, the state folder is ours. Throws Error(unsupported, permission_denied, ...) where it cannot.
[[nodiscard]] std::shared_ptr<Provider> authenticate(Engine& engine, const OpenHandsConfig& config);
asio::awaitable<std::shared_ptr<Provider>> async_authenticate(Engine& engine, OpenHandsConfig config);

inline constexpr ProviderEntry kEntry{"local", "isolated sandboxes on this machine", &async_authenticate};

}  // namespace sandkey::local
