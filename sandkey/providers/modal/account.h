// Proves a Modal token, and says whose it is (reference: Modal's clients of 2026).
#pragma once

#include "sandkey/accounts/authenticated_account.h"
#include "sandkey/accounts/sign_in.h"
#include "sandkey/providers/modal/control_plane.h"

#include <memory>
#include <utility>

namespace sandkey::modal {

class ModalAccount final : public AuthenticatedAccount {
 public:
  ModalAccount(std::shared_ptr<ControlPlane> control, Account account)
      : control_(std::move(control)), account_(std::move(account)) {}

  [[nodiscard]] const Account& account() const noexcept override { return account_; }
  [[nodiscard]] std::shared_ptr<const Credential> credential() const override {
    return control_->credential();
  }
  [[nodiscard]] bool accepted() const noexcept override { return control_->accepted(); }
  [[nodiscard]] const std::shared_ptr<ControlPlane>& control() const noexcept { return control_; }

 private:
  const std::shared_ptr<ControlPlane> control_;
  const Account account_;
};

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in);

}  // namespace sandkey::modal
