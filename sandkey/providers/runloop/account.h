// Proves a Runloop key, and what Runloop's API answers when something is wrong.
//
// `GET /v1/accounts/me` tells whose key it is and whether the account may be used. A restricted key may lack
// the right to ask that, and an older deployment the route: then a short list proves it (reference: Runloop's
// clients 1.29 to 1.32; the bodies of its refusals are in no source, so they are read leniently).
#pragma once

#include "sandkey/accounts/rest_account.h"
#include "sandkey/accounts/sign_in.h"

namespace sandkey::runloop {

[[nodiscard]] const RestDialect& dialect();

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in);

}  // namespace sandkey::runloop
