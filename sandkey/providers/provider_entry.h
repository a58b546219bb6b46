// How a provider's folder presents itself to the registry.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string_view>

namespace sandkey {

// `constexpr ProviderEntry kEntry` of namespace sandkey::NAME, in sandkey/providers/NAME/provider.h.
struct ProviderEntry {
  std::string_view name;     // what config.runtime says
  std::string_view summary;  // one line for people
  // Makes the authenticated provider, or throws (AuthenticationError where a credential is at fault).
  asio::awaitable<std::shared_ptr<Provider>> (*authenticate)(Engine& engine, OpenHandsConfig config);
};

}  // namespace sandkey
