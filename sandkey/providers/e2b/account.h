// Proves an E2B key, and what E2B's API answers when something is wrong.
//
// There is no request that says whose key it is: a short list is the cheapest that needs one (reference:
// E2B's OpenAPI description and server of August 2026). It also succeeds for a team that is blocked, which
// only shows when something is created.
#pragma once

#include "sandkey/accounts/rest_account.h"
#include "sandkey/accounts/sign_in.h"

namespace sandkey::e2b {

[[nodiscard]] const RestDialect& dialect();

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in);

}  // namespace sandkey::e2b
