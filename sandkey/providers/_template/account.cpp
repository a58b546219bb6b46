#include "sandkey/providers/_template/account.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/_template/credential_spec.h"

namespace sandkey::example {
namespace {

// The first row that fits counts; where none does, the status alone does.
constexpr ErrorRule kErrors[] = {
    {.status = 401, .code = ErrorCode::unauthenticated, .meaning = "the cloud does not know this key"},
    {.status = 403,
     .text = "suspended",
     .code = ErrorCode::permission_denied,
     .meaning = "the account is suspended",
     .next = "see https://cloud.example/billing"},
    {.status = 429,
     .wait = ErrorRule::Wait::absent,
     .code = ErrorCode::quota_exceeded,
     .meaning = "the account has as many sandboxes as it may",
     .next = "end some (sandkey ls, sandkey rm)"},
    {.status = 429, .code = ErrorCode::rate_limited, .meaning = "the cloud was asked too often"},
};

HttpHeaders headers(const Credential& credential) {
  HttpHeaders headers;
  headers.set("Authorization", credential.part("api_key"), "Bearer ");
  return headers;
}

asio::awaitable<Account> probe(RestAccount& account, Deadline deadline) {
  const QueryParameters no_query;
  const RestAnswer answer = co_await account.check("/v1/account", no_query, deadline);
  const auto name = answer.body.is_object() ? find_string(answer.body.get_object(), "name") : std::nullopt;
  if (!name) throw Error(ErrorCode::protocol, account.checking() + ": the answer names no account");
  Account told;
  told.name = *name;
  if (find_bool(answer.body.get_object(), "suspended").value_or(false)) {
    told.blocked = "the account is suspended";
  }
  co_return told;
}

const RestDialect kDialect{
    .credential_spec = &credential_spec, .headers = &headers, .errors = kErrors, .retry = {}};

}  // namespace

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in) {
  std::shared_ptr<RestAccount> account =
      co_await RestAccount::authenticate(std::move(sign_in), kDialect, &probe);
  co_return account;
}

}  // namespace sandkey::example
