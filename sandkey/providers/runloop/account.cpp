#include "sandkey/providers/runloop/account.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/runloop/credential_spec.h"

#include <string>

namespace sandkey::runloop {
namespace {

constexpr ErrorRule kErrors[] = {
    {.status = 401,
     .code = ErrorCode::unauthenticated,
     .meaning = "Runloop does not know this key: it is mistyped, revoked or expired"},
    {.status = 403,
     .text = "quota",
     .code = ErrorCode::quota_exceeded,
     .meaning = "the account has used up its quota",
     .next = "see https://platform.runloop.ai"},
    {.status = 403,
     .code = ErrorCode::permission_denied,
     .meaning = "the key may not do this",
     .next = "give a restricted key (rk_...) the scope it lacks, or use another"},
    // It held a question as long as it holds one, or waited as long for our bytes.
    {.status = 408, .code = ErrorCode::deadline_exceeded},
    {.status = 429,
     .text = "devbox_limit",
     .code = ErrorCode::quota_exceeded,
     .meaning = "the account has as many devboxes as it may have",
     .next = "end some: sandkey ls, sandkey rm"},
    {.status = 429, .code = ErrorCode::rate_limited, .meaning = "Runloop was asked too often"},
};

// What an account's status means for those who want sandboxes; empty: nothing bad.
struct StatusMeaning {
  std::string_view status;
  std::string_view blocked;
};
constexpr StatusMeaning kStatuses[] = {
    {"ACCOUNT_STATUS_DISABLED_BY_ADMIN", "the account was disabled by Runloop; ask its support"},
    {"ACCOUNT_STATUS_DISABLED_QUOTA_REACHED",
     "the account has used up its quota; see https://platform.runloop.ai"},
    {"ACCOUNT_STATUS_TRIAL_CANCELLED", "the account's trial was cancelled; see https://platform.runloop.ai"},
    {"ACCOUNT_STATUS_INVALID", "the account is not valid; ask Runloop's support"},
};

HttpHeaders headers(const Credential& credential) {
  HttpHeaders headers;
  headers.set("Authorization", credential.part("api_key"), "Bearer ");
  return headers;
}

// "ACCOUNT_TIER_PRO" is "pro".
std::string plain(std::string_view word, std::string_view prefix) {
  if (word.starts_with(prefix)) word.remove_prefix(prefix.size());
  std::string text(word);
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c == '_' ? ' ' : c);
  return text;
}

Account read_account(const RestAccount& account, const json::object& body) {
  Account told;
  const auto text = [&](std::string_view key) { return account.quoted(find_string(body, key).value_or("")); };
  told.name = text("name");
  if (const std::string id = text("id"); !id.empty()) told.details.emplace_back("account", id);
  if (const std::string tier = text("tier"); !tier.empty()) {
    told.details.emplace_back("tier", plain(tier, "ACCOUNT_TIER_"));
  }
  if (const std::string status = text("account_status"); !status.empty()) {
    told.details.emplace_back("status", plain(status, "ACCOUNT_STATUS_"));
    for (const StatusMeaning& known : kStatuses) {
      if (known.status == status) told.blocked = std::string(known.blocked);
    }
  }
  return told;
}

[[noreturn]] void not_runloop(const RestAccount& account) {
  throw Error(ErrorCode::protocol,
              account.checking() + ": the answer is none of Runloop's; is the address one of its API?");
}

asio::awaitable<Account> probe(RestAccount& account, Deadline deadline) {
  const QueryParameters nothing;
  std::optional<RestAnswer> answer;
  try {
    answer.emplace(co_await account.check("/v1/accounts/me", nothing, deadline));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::permission_denied && error.code() != ErrorCode::not_found) throw;
  }
  if (answer) {
    if (!answer->body.is_object() || find(answer->body.get_object(), "id") == nullptr) not_runloop(account);
    co_return read_account(account, answer->body.get_object());
  }
  const QueryParameters one{{"limit", "1"}, {"include_total_count", "false"}};
  const RestAnswer list = co_await account.check("/v1/devboxes", one, deadline);
  if (!list.body.is_object()) not_runloop(account);
  co_return Account{};
}

}  // namespace

const RestDialect& dialect() {
  static const RestDialect dialect{
      .credential_spec = &credential_spec,
      .headers = &headers,
      .errors = kErrors,
      .retry = {.statuses = {408, 429, 500, 502, 503, 504},
                .wait_headers = {{.name = "Retry-After-Ms", .unit = WaitHeader::Unit::milliseconds},
                                 {.name = "Retry-After"}},
                .verdict_header = "X-Should-Retry"},
      .request_id_header = "X-Runloop-Request-Id"};
  return dialect;
}

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in) {
  std::shared_ptr<RestAccount> account =
      co_await RestAccount::authenticate(std::move(sign_in), dialect(), &probe);
  co_return account;
}

}  // namespace sandkey::runloop
