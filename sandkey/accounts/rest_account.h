// The requests of one account of a cloud with a REST API: JSON out, JSON in, and the cloud's own errors.
//
//   RestAnswer answer = co_await account->call({.path = "/v2/sandboxes", .operation = "listing the sandboxes
//   of e2b"});
#pragma once

#include "sandkey/accounts/authenticated_account.h"
#include "sandkey/accounts/rest_error.h"
#include "sandkey/accounts/sign_in.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/credentials/credential.h"
#include "sandkey/credentials/credential_spec.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/retry.h"
#include "sandkey/net/url.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sandkey {

// What is peculiar to one cloud: data and pure functions, in its folder.
struct RestDialect {
  const CredentialSpec& (*credential_spec)();
  std::string_view endpoint = "api_url";  // which of the credential's endpoints is the API
  // The headers that carry the credential.
  HttpHeaders (*headers)(const Credential& credential);
  std::span<const ErrorRule> errors = {};
  RetryPolicy retry = {};
  std::string_view request_id_header = {};  // of answers
};

struct RestCall {
  std::string method = "GET";
  std::string path =
      {};  // plain text from the API's own prefix on: "/v2/sandboxes"; Endpoint::url() encodes it
  QueryParameters query = {};
  std::optional<json::value> body = std::nullopt;
  // Instead of `body`: bytes that are no JSON, of the kind that `headers` say.
  std::string bytes = {};
  HttpHeaders headers = {};    // besides the credential's, and over those of a JSON body
  std::string operation = {};  // "listing the sandboxes of e2b": begins the message of an error
  Deadline deadline = kNoDeadline;
  std::optional<bool> repeatable = std::nullopt;  // as of HttpRequest
};

struct RestAnswer {
  int status = 0;
  HttpResponseHeaders headers;
  json::value body;  // null where there was none
};

class RestAccount final : public AuthenticatedAccount {
 public:
  // Sends the cheapest request that proves the credential, and gives what it learned.
  using Probe = asio::awaitable<Account> (*)(RestAccount& account, Deadline deadline);
  // Throws what the probe throws. The engine must outlive the account, and `dialect` be static.
  static asio::awaitable<std::shared_ptr<RestAccount>> authenticate(SignIn sign_in,
                                                                    const RestDialect& dialect, Probe probe);
  ~RestAccount() override;

  // The answer, if it is a success (2xx) with JSON or nothing in it. Else Error: the cloud's own, as its
  // table has it (`not_found`, `conflict`, ...), those of HttpClient, and `protocol` for what is no JSON. A
  // 401 for which the credential's source has no other is `unauthenticated`, and names source and
  // fingerprint.
  asio::awaitable<RestAnswer> call(RestCall call);

  // For probes: a GET whose operation is checking(), "checking the credential of e2b".
  asio::awaitable<RestAnswer> check(std::string path, QueryParameters query, Deadline deadline);
  [[nodiscard]] std::string checking() const;

  [[nodiscard]] const Account& account() const noexcept override;
  [[nodiscard]] std::shared_ptr<const Credential> credential() const override;
  [[nodiscard]] bool accepted() const noexcept override;

  [[nodiscard]] Engine& engine() const noexcept;
  // A text of the provider's without the account's secrets, and not endless.
  [[nodiscard]] std::string quoted(std::string_view text) const;

 private:
  struct Impl;
  explicit RestAccount(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

}  // namespace sandkey
