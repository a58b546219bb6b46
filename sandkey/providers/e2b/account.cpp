#include "sandkey/providers/e2b/account.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/e2b/credential_spec.h"

namespace sandkey::e2b {
namespace {

using Wait = ErrorRule::Wait;

constexpr ErrorRule kErrors[] = {
    {.status = 401,
     .text = "authorization header",
     .code = ErrorCode::unauthenticated,
     .meaning = "E2B does not take this for one of its keys"},
    {.status = 401,
     .code = ErrorCode::unauthenticated,
     .meaning = "E2B does not know this key: it is mistyped, deleted or revoked"},
    {.status = 403,
     .text = "banned",
     .code = ErrorCode::permission_denied,
     .meaning = "the key's team is banned",
     .next = "ask E2B's support why"},
    {.status = 403,
     .text = "blocked",
     .code = ErrorCode::permission_denied,
     .meaning = "the key's team is blocked, and may only look at what it has and end it",
     .next = "see https://e2b.dev/dashboard?tab=billing"},
    {.status = 429,
     .wait = Wait::absent,
     .code = ErrorCode::quota_exceeded,
     .meaning = "the team has as many sandboxes as its plan allows",
     .next = "end some (sandkey ls, sandkey rm), or get a larger plan"},
    {.status = 429, .code = ErrorCode::rate_limited, .meaning = "E2B was asked too often"},
    {.status = 503,
     .text = "capacity",
     .code = ErrorCode::capacity_unavailable,
     .meaning = "E2B has no room for another sandbox now",
     .next = "try again later"},
    {.status = 503,
     .text = "sandbox_no_compatible_node",
     .code = ErrorCode::capacity_unavailable,
     .meaning = "E2B has no machine for this sandbox now",
     .next = "try again later"},
    {.status = 504,
     .text = "sandbox_placement_timeout",
     .code = ErrorCode::capacity_unavailable,
     .meaning = "E2B found no place for the sandbox in time",
     .next = "try again later"},
};

HttpHeaders headers(const Credential& credential) {
  HttpHeaders headers;
  headers.set("X-API-Key", credential.part("api_key"));
  return headers;
}

asio::awaitable<void> list(RestAccount& account, std::string path, QueryParameters query, Deadline deadline) {
  const RestAnswer answer = co_await account.check(std::move(path), std::move(query), deadline);
  if (!answer.body.is_array()) {
    throw Error(
        ErrorCode::protocol,
        account.checking() + ": the answer is no list of sandboxes; is the address one of E2B's API?");
  }
}

asio::awaitable<Account> probe(RestAccount& account, Deadline deadline) {
  // Running ones alone spare the server a query.
  const QueryParameters short_list{{"state", "running"}, {"limit", "1"}};
  const QueryParameters old_list;
  std::optional<ErrorCode> first;
  try {
    co_await list(account, "/v2/sandboxes", short_list, deadline);
  } catch (const Error& error) {
    first = error.code();
    if (first != ErrorCode::unauthenticated && first != ErrorCode::not_found) throw;
  }
  // E2B also says 401 when it failed to look the key up, so one alone is not its last word. A server that is
  // older than the second version of the list has the first.
  if (first == ErrorCode::unauthenticated) co_await list(account, "/v2/sandboxes", short_list, deadline);
  if (first == ErrorCode::not_found) co_await list(account, "/sandboxes", old_list, deadline);
  co_return Account{};
}

}  // namespace

const RestDialect& dialect() {
  static const RestDialect dialect{
      .credential_spec = &credential_spec, .headers = &headers, .errors = kErrors, .retry = {}};
  return dialect;
}

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in) {
  std::shared_ptr<RestAccount> account =
      co_await RestAccount::authenticate(std::move(sign_in), dialect(), &probe);
  co_return account;
}

}  // namespace sandkey::e2b
