// Proves a Daytona key or token, and what Daytona's API answers when something is wrong.
//
// A key's own record (`GET /api-keys/current`) needs no permission and tells what the key may do and until
// when, so that a key which could create a sandbox but not delete it is known before anything is created. A
// token gets a 401 there, and is proved by a short list (reference: Daytona's OpenAPI description 0.205 and
// server 0.190).
#pragma once

#include "sandkey/accounts/rest_account.h"
#include "sandkey/accounts/sign_in.h"

namespace sandkey::daytona {

[[nodiscard]] const RestDialect& dialect();

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in);

}  // namespace sandkey::daytona
