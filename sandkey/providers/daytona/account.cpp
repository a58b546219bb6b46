#include "sandkey/providers/daytona/account.h"

#include "sandkey/base/error.h"
#include "sandkey/credentials/helper_command.h"
#include "sandkey/providers/daytona/credential_spec.h"

#include <algorithm>
#include <string>
#include <vector>

namespace sandkey::daytona {
namespace {

constexpr ErrorRule kErrors[] = {
    {.status = 401,
     .code = ErrorCode::unauthenticated,
     .meaning = "Daytona does not know this credential: it is mistyped, revoked or expired"},
    {.status = 403,
     .text = "suspended",
     .code = ErrorCode::permission_denied,
     .meaning = "the organization is suspended",
     .next = "see https://app.daytona.io/dashboard/billing"},
    {.status = 403,
     .text = "authentication context",
     .code = ErrorCode::permission_denied,
     .meaning = "the credential does not belong to this organization",
     .next = "check the organization's id"},
    {.status = 403,
     .code = ErrorCode::permission_denied,
     .meaning = "the key lacks the permission for this",
     .next = "give it the permission at https://app.daytona.io/dashboard/keys"},
    {.status = 400,
     .text = "limit exceeded",
     .code = ErrorCode::quota_exceeded,
     .meaning = "the organization has no more of this",
     .next = "end sandboxes that are not needed (sandkey ls), or see "
             "https://app.daytona.io/dashboard/limits"},
    {.status = 400,
     .text = "exceeds maximum allowed",
     .code = ErrorCode::quota_exceeded,
     .meaning = "the organization may not have one this large",
     .next = "ask for less"},
    {.status = 400,
     .text = "no available runners",
     .code = ErrorCode::capacity_unavailable,
     .meaning = "Daytona has no machine free for it",
     .next = "try again later, or in another region (daytona_target)"},
    {.status = 400,
     .text = "not in valid state",
     .code = ErrorCode::conflict,
     .meaning = "the sandbox is on its way to another state"},
    {.status = 400,
     .text = "not in a stoppable state",
     .code = ErrorCode::conflict,
     .meaning = "the sandbox is on its way to another state"},
    {.status = 400,
     .text = "failed to start",
     .code = ErrorCode::unavailable,
     .meaning = "Daytona could not start it"},
    {.status = 404,
     .text = "region",
     .code = ErrorCode::invalid_argument,
     .meaning = "there is no such region",
     .next = "check daytona_target"},
    {.status = 429,
     .code = ErrorCode::rate_limited,
     .meaning = "Daytona was asked too often, or had too many failed sign-ins from this address"},
    {.status = 503,
     .text = "maintenance",
     .code = ErrorCode::unavailable,
     .meaning = "Daytona is down for maintenance",
     .next = "try again later"},
    {.status = 503,
     .text = "authentication service",
     .code = ErrorCode::unavailable,
     .meaning = "Daytona cannot check credentials now",
     .next = "try again later"},
};

HttpHeaders headers(const Credential& credential) {
  HttpHeaders headers;
  if (credential.has("api_key")) {
    headers.set("Authorization", credential.part("api_key"), "Bearer ");
  } else {
    headers.set("Authorization", credential.part("jwt_token"), "Bearer ");
    headers.set("X-Daytona-Organization-ID", credential.part("organization_id"));
  }
  headers.set("X-Daytona-Source", "sandkey");
  return headers;
}

std::vector<std::string> permissions_of(const json::object& record) {
  std::vector<std::string> permissions;
  const json::value* list = find(record, "permissions");
  if (list == nullptr || !list->is_array()) return permissions;
  for (const json::value& item : list->get_array()) {
    if (item.is_string()) permissions.emplace_back(item.get_string());
  }
  return permissions;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string text;
  for (const std::string& item : texts) text += (text.empty() ? "" : ", ") + item;
  return text.empty() ? "none" : text;
}

Account read_record(const RestAccount& account, const json::object& record) {
  Account told;
  const auto text = [&](std::string_view key) {
    return account.quoted(find_string(record, key).value_or(""));
  };
  told.name = text("name");
  if (const std::string id = text("organizationId"); !id.empty())
    told.details.emplace_back("organization", id);
  if (const std::string id = text("userId"); !id.empty()) told.details.emplace_back("user", id);
  const std::vector<std::string> permissions = permissions_of(record);
  told.details.emplace_back("permissions", account.quoted(joined(permissions)));
  if (const auto end = find_string(record, "expiresAt")) told.expires_at = time_from_text(*end);
  const auto may = [&](const char* what) {
    return std::find(permissions.begin(), permissions.end(), what) != permissions.end();
  };
  if (!may("write:sandboxes")) {
    told.blocked = "the key lacks the permission write:sandboxes, without which it cannot create any";
  } else if (!may("delete:sandboxes")) {
    told.warnings.emplace_back(
        "the key may create sandboxes but not delete them (it lacks delete:sandboxes); they end by their own "
        "time "
        "limits only");
  }
  return told;
}

[[noreturn]] void not_daytona(const RestAccount& account) {
  throw Error(ErrorCode::protocol,
              account.checking() +
                  ": the answer is none of Daytona's; its API's address ends in /api, as in "
                  "https://app.daytona.io/api");
}

asio::awaitable<Account> probe(RestAccount& account, Deadline deadline) {
  if (account.credential()->has("api_key")) {
    const QueryParameters nothing;
    std::optional<RestAnswer> answer;
    try {
      answer.emplace(co_await account.check("/api-keys/current", nothing, deadline));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;  // an older server, perhaps
    }
    if (answer) {
      if (!answer->body.is_object() || find(answer->body.get_object(), "permissions") == nullptr)
        not_daytona(account);
      co_return read_record(account, answer->body.get_object());
    }
  }
  const QueryParameters one{{"limit", "1"}};
  const RestAnswer answer = co_await account.check("/sandbox", one, deadline);
  if (!answer.body.is_array() && !answer.body.is_object()) not_daytona(account);
  Account told;
  if (account.credential()->has("organization_id")) {
    told.details.emplace_back("organization",
                              std::string(account.credential()->part("organization_id").expose()));
  }
  co_return told;
}

}  // namespace

const RestDialect& dialect() {
  static const RestDialect dialect{
      .credential_spec = &credential_spec,
      .headers = &headers,
      .errors = kErrors,
      // Each of its limits has a header of its own.
      .retry = {.wait_headers = {{.name = "Retry-After"}, {.name = "Retry-After-*"}}}};
  return dialect;
}

asio::awaitable<std::shared_ptr<AuthenticatedAccount>> authenticate(SignIn sign_in) {
  std::shared_ptr<RestAccount> account =
      co_await RestAccount::authenticate(std::move(sign_in), dialect(), &probe);
  co_return account;
}

}  // namespace sandkey::daytona
