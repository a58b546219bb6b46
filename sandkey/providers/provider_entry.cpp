#include "sandkey/providers/provider_entry.h"

#include "sandkey/accounts/accounts.h"
#include "sandkey/base/error.h"

#include <string>
#include <utility>

namespace sandkey {

asio::awaitable<std::shared_ptr<Provider>> async_authenticate(Engine& engine, ProviderEntry entry,
                                                              OpenHandsConfig config) {
  if (entry.open == nullptr) {
    throw Error(ErrorCode::unsupported,
                "opening the provider " + std::string(entry.name) +
                    ": this version of Sandkey can check its credentials, but make no "
                    "sandboxes there yet; 'sandkey providers' shows where it can");
  }
  std::shared_ptr<AuthenticatedAccount> account;
  if (entry.cloud) account = co_await engine.shared<Accounts>()->sign_in(*entry.cloud, config);
  co_return entry.open(engine, config, account);
}

std::shared_ptr<Provider> authenticate(Engine& engine, const ProviderEntry& entry,
                                       const OpenHandsConfig& config) {
  return engine.wait(async_authenticate(engine, entry, config));
}

}  // namespace sandkey
