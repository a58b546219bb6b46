// The accounts that the users of one engine are signed in to.
#pragma once

#include "sandkey/accounts/sign_in.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/credentials/credential_chain.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <memory>

namespace sandkey {

// How long an account counts as accepted by whoever comes later, without being asked again.
inline constexpr std::chrono::minutes kAcceptanceLasts{10};
// How long a provider has to accept or refuse a credential.
inline constexpr std::chrono::seconds kSignInTimeout{30};

// Of one engine: engine.shared<Accounts>(). Thread-safe; coroutines run on the engine's threads.
class Accounts {
 public:
  explicit Accounts(Engine& engine);
  ~Accounts();
  Accounts(const Accounts&) = delete;
  Accounts& operator=(const Accounts&) = delete;

  // The authenticated account of the credential that the chain finds for `config`. One that was accepted a
  // short while ago, by the same key for the same places, is shared without asking its provider; those who
  // come at the same time share one request. A refusal is never shared with those who come later. Throws what
  // the chain and the cloud's authenticate() throw, and Error(unsupported) for a cloud that cannot be
  // authenticated with yet.
  asio::awaitable<std::shared_ptr<AuthenticatedAccount>> sign_in(Cloud cloud, OpenHandsConfig config,
                                                                 Deadline deadline = kNoDeadline);
  // The same, for a credential that is at hand. Without `renewal` a key that changes is not noticed.
  asio::awaitable<std::shared_ptr<AuthenticatedAccount>> sign_in(Cloud cloud, Credential credential,
                                                                 CredentialRenewal renewal,
                                                                 Deadline deadline = kNoDeadline);

  // Told of every request of the accounts that are signed in to from now on.
  void set_log(HttpObserver log);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Which account `config` means: its profile.
[[nodiscard]] CredentialChoice choice_of(const OpenHandsConfig& config);

}  // namespace sandkey
