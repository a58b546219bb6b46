#include "sandkey/accounts/rest_account.h"

#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/credentials/redactor.h"

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

namespace sandkey {

// Shared with the transport's source of headers, which may run while the account is given up.
struct RestAccount::Impl {
  Impl(Engine& the_engine, const RestDialect& the_dialect, Credential the_credential,
       CredentialRenewal the_renewal)
      : engine(the_engine),
        dialect(the_dialect),
        api(Endpoint::parse(endpoint_of(the_dialect, the_credential), the_dialect.endpoint)),
        renewal(std::move(the_renewal)) {
    use(std::move(the_credential));
  }

  static std::string endpoint_of(const RestDialect& dialect, const Credential& credential) {
    const Credential::Place* place = credential.endpoint(dialect.endpoint);
    if (place != nullptr) return place->value;
    throw Error(ErrorCode::internal, fmt::format("reading the credential of {}: it names no {}",
                                                 credential.provider(), dialect.endpoint));
  }

  void use(Credential fresh) {
    auto taught = std::make_shared<Redactor>();
    fresh.teach(*taught);
    auto shared = std::make_shared<const Credential>(std::move(fresh));
    const std::lock_guard lock(mutex);
    redactors.push_back(std::move(taught));
    current = std::move(shared);
  }

  [[nodiscard]] std::shared_ptr<const Credential> credential() const {
    const std::lock_guard lock(mutex);
    return current;
  }
  [[nodiscard]] std::string quoted(std::string_view text) const {
    std::vector<std::shared_ptr<const Redactor>> knowing;
    {
      const std::lock_guard lock(mutex);
      knowing = redactors;
    }
    std::string result(text);
    for (const auto& redactor : knowing) result = redactor->redact(result);
    result = utf8::sanitize(result);
    const std::size_t end = utf8::offset_of(result, kMaxQuoted);
    return end == result.size() ? result : result.substr(0, end) + "...";
  }

  // A changed key is taken up if it is for the same places: those are what this account is bound to.
  static asio::awaitable<HttpHeaders> headers(std::shared_ptr<Impl> self, bool refused) {
    if (refused && self->renewal) {
      std::optional<Credential> fresh = co_await run_blocking(self->renewal);
      const std::shared_ptr<const Credential> old = self->credential();
      if (fresh && fresh->form() == old->form() && fresh->same_places(*old)) self->use(std::move(*fresh));
    }
    co_return self->dialect.headers(*self->credential());
  }

  [[nodiscard]] std::string place() const { return api.to_string(); }

  [[nodiscard]] Error error(const RestCall& call, const HttpResponse& response) {
    const RestFailure failure =
        read_failure(response, dialect.retry, dialect.request_id_header, engine.system_now());
    const ErrorMeaning meant = meaning_of(failure, dialect.errors);
    if (meant.code == ErrorCode::unauthenticated) accepted = false;
    const std::string said = quoted(failure.message);
    std::string text = fmt::format("{}: {}", call.operation, meant.meaning);
    std::string next(meant.next);
    if (meant.code == ErrorCode::unauthenticated || meant.code == ErrorCode::permission_denied) {
      const std::shared_ptr<const Credential> used = credential();
      text += fmt::format(" ({})", used->described());
      if (next.empty() && meant.code == ErrorCode::unauthenticated) {
        next = fmt::format("make a new one at {} and run: sandkey auth login {}",
                           dialect.credential_spec().keys_page, used->provider());
      }
    }
    text += fmt::format("; HTTP {} from {}", failure.status, place());
    if (!said.empty()) text += fmt::format(", which says \"{}\"", said);
    const std::string id = quoted(failure.request_id);
    if (!id.empty()) text += fmt::format(" (request {})", id);
    if (failure.wait) {
      text += fmt::format("; it asks to wait for {} s",
                          std::chrono::ceil<std::chrono::seconds>(*failure.wait).count());
    }
    if (!next.empty()) text += "; " + next;
    return Error(meant.code, text,
                 {.provider = credential()->provider(),
                  .operation = call.operation,
                  .phase = {},
                  .request_id = id,
                  .retry_after = failure.wait,
                  .processed = processed_of(failure.status)});
  }

  Engine& engine;
  const RestDialect& dialect;
  const Endpoint api;
  const CredentialRenewal renewal;
  std::shared_ptr<HttpTransport> http;
  Account account;
  std::atomic<bool> accepted = true;

  mutable std::mutex mutex;
  // Guarded by mutex. What knew an earlier key stays: it may be echoed still.
  std::vector<std::shared_ptr<const Redactor>> redactors;
  std::shared_ptr<const Credential> current;
};

RestAccount::RestAccount(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
RestAccount::~RestAccount() = default;

asio::awaitable<std::shared_ptr<RestAccount>> RestAccount::authenticate(SignIn sign_in,
                                                                        const RestDialect& dialect,
                                                                        Probe probe) {
  auto impl = std::make_shared<Impl>(sign_in.engine, dialect, std::move(sign_in.credential),
                                     std::move(sign_in.renewal));
  AccountTransportOptions options;
  options.endpoints = {impl->api};
  options.allow_cleartext = true;  // the chain has judged that, with the profile at hand
  options.credential = [weak = std::weak_ptr(impl)](bool refused) {
    // The transport belongs to the account and makes its calls within those of the account.
    return Impl::headers(weak.lock(), refused);
  };
  options.retry = dialect.retry;
  options.request_id_header = std::string(dialect.request_id_header);
  options.log = std::move(sign_in.log);
  impl->http = make_account_transport(sign_in.engine, std::move(sign_in.network), std::move(options));
  const std::shared_ptr<RestAccount> account(new RestAccount(impl));
  Account told = co_await probe(*account, sign_in.deadline);
  impl->account = std::move(told);
  co_return account;
}

asio::awaitable<RestAnswer> RestAccount::call(RestCall call) {
  const std::shared_ptr<Impl> impl = impl_;
  HttpRequest request;
  request.method = call.method;
  request.url = impl->api.url(call.path, call.query);
  request.unix_socket = impl->api.unix_socket();
  request.operation = call.operation;
  request.deadline = call.deadline;
  request.repeatable = call.repeatable;
  request.headers.set("Accept", "application/json");
  if (call.body) {
    request.headers.set("Content-Type", "application/json");
    request.body = json::serialize(*call.body);
  } else {
    request.body = std::move(call.bytes);
  }
  request.headers.set_all(call.headers);
  HttpResponse response = co_await impl->http->send(std::move(request));
  if (response.status >= 300 && response.status < 400) {
    throw redirect_error(call.operation, response.status, response.headers);
  }
  if (response.status < 200 || response.status >= 300) throw_error(impl->error(call, response));
  impl->accepted = true;
  RestAnswer answer;
  answer.status = response.status;
  if (!response.body.empty()) {
    answer.body = parse_json(response.body, call.operation + ": the answer of " + impl->place());
  }
  answer.headers = std::move(response.headers);
  co_return answer;
}

asio::awaitable<RestAnswer> RestAccount::check(std::string path, QueryParameters query, Deadline deadline) {
  RestCall request{
      .path = std::move(path), .query = std::move(query), .operation = checking(), .deadline = deadline};
  return call(std::move(request));
}

std::string RestAccount::checking() const {
  return fmt::format("checking the credential of {}", impl_->dialect.credential_spec().provider);
}

const Account& RestAccount::account() const noexcept {
  return impl_->account;
}
std::shared_ptr<const Credential> RestAccount::credential() const {
  return impl_->credential();
}
bool RestAccount::accepted() const noexcept {
  return impl_->accepted;
}
Engine& RestAccount::engine() const noexcept {
  return impl_->engine;
}
std::string RestAccount::quoted(std::string_view text) const {
  return impl_->quoted(text);
}

}  // namespace sandkey
