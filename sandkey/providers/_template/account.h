// Proves a key, and what the API answers when something is wrong.
//
// The API is invented: `GET /v1/account` says whose key it is, and costs nothing.
#pragma once

#include "sandkey/accounts/rest_account.h"
#include "sandkey/accounts/sign_in.h"

namespace sandkey::example {

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in);

}  // namespace sandkey::example
