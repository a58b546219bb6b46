// A credential that its provider has accepted. What is not authenticated does not exist as one of these.
#pragma once

#include "sandkey/accounts/account.h"

#include <memory>
#include <string>

namespace sandkey {

class Credential;

// Shared by all runtimes of the account in this process (accounts.h). Thread-safe.
class AuthenticatedAccount {
 public:
  AuthenticatedAccount() = default;
  virtual ~AuthenticatedAccount() = default;
  AuthenticatedAccount(const AuthenticatedAccount&) = delete;
  AuthenticatedAccount& operator=(const AuthenticatedAccount&) = delete;

  // What the provider told.
  [[nodiscard]] virtual const Account& account() const noexcept = 0;
  // The credential in use: another one than at first, if it was changed at its source meanwhile.
  [[nodiscard]] virtual std::shared_ptr<const Credential> credential() const = 0;
  // False from the moment on at which the provider refused the credential and its source had no other.
  [[nodiscard]] virtual bool accepted() const noexcept = 0;
};

}  // namespace sandkey
