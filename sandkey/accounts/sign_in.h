// What a cloud's folder is given to authenticate with, and what it says of itself for that.
#pragma once

#include "sandkey/accounts/authenticated_account.h"
#include "sandkey/base/engine.h"
#include "sandkey/credentials/credential.h"
#include "sandkey/credentials/credential_spec.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/transport.h"

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace sandkey {

// Looks for the credential again where it came from; nothing if it is not there any more. Never throws.
// Blocks: called on a thread of its own. Holds what it needs.
using CredentialRenewal = std::function<std::optional<Credential>()>;

struct SignIn {
  Engine& engine;
  std::shared_ptr<HttpTransport> network;
  Credential credential;
  CredentialRenewal renewal = {};
  HttpObserver log = {};
  Deadline deadline = kNoDeadline;
};

// A provider whose sandboxes belong to accounts.
struct Cloud {
  const CredentialSpec& (*credential_spec)();
  // Proves the credential with one cheap request, two at most, and changes nothing. Throws
  // AuthenticationError (unauthenticated, permission_denied) or Error (unavailable, rate_limited, ...). Null:
  // this version cannot.
  asio::awaitable<std::shared_ptr<AuthenticatedAccount>> (*authenticate)(SignIn sign_in);
};

}  // namespace sandkey
