#include "sandkey/providers/modal/control_plane.h"

#include "sandkey/accounts/rest_error.h"
#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/base/percent.h"
#include "sandkey/base/utf8.h"
#include "sandkey/credentials/redactor.h"
#include "sandkey/net/retry.h"
#include "sandkey/net/single_flight.h"
#include "sandkey/providers/modal/credential_spec.h"
#include "sandkey/providers/modal/web_token.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <utility>

namespace sandkey::modal {
namespace {

using namespace std::chrono_literals;
using std::chrono::system_clock;

constexpr std::string_view kService = "/modal.client.ModalClient/";
// Modal tells its clients apart by number and has none for us. This is its JavaScript client's, which behaves
// as we do; the library's own name and version say who we are.
constexpr std::string_view kClientType = "8";
constexpr std::string_view kClientVersion = "1.0.0";
constexpr std::string_view kLibraryVersion = "sandkey/" SANDKEY_VERSION;

constexpr std::chrono::seconds kAuthTokenTime = 5s;          // to get one
constexpr std::chrono::minutes kAuthTokenUsualLife = 20min;  // of one that does not say
constexpr std::chrono::milliseconds kFirstHoldOff = 500ms;   // after a failure to renew it
constexpr std::chrono::seconds kLongestHoldOff = 60s;

constexpr char kGettingToken[] = "getting a short-lived token of modal";
constexpr int kTooManyRequests = 429;  // to the retry policy, which thinks in HTTP's terms

RetryPolicy retry_policy() {
  return {.max_attempts = 4, .first_delay = 100ms, .max_delay = 1s};
}

// How long the server asks us to wait, if it does.
std::optional<std::chrono::milliseconds> wait_in(const GrpcStatus& status) {
  const json::value* details = find(status.details, "details");
  if (details == nullptr || !details->is_array()) return std::nullopt;
  for (const json::value& detail : details->get_array()) {
    if (!detail.is_object()) continue;
    const json::object& object = detail.get_object();
    if (!find_string(object, "type_url").value_or("").ends_with("/modal.client.RPCRetryPolicy")) continue;
    const json::value* policy = find(object, "value");
    double seconds = 0;
    if (policy != nullptr && policy->is_object()) {
      seconds = find_number(policy->get_object(), "retry_after_secs").value_or(0);
    }
    constexpr double kLongest = 1e8;
    if (!(seconds >= 0 && seconds <= kLongest)) continue;
    return std::max(std::chrono::milliseconds(static_cast<long long>(seconds * 1000)), 100ms);
  }
  return std::nullopt;
}

// Too fast, which passes, and too much, which does not, have one status.
bool speaks_of_rate(const std::string& text) {
  const auto same = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
  for (const std::string_view words : {"rate limit", "too many requests", "too often", "/s)"}) {
    if (std::search(text.begin(), text.end(), words.begin(), words.end(), same) != text.end()) return true;
  }
  return text.empty();
}

struct Meaning {
  ErrorCode code;
  std::string_view what;
  std::string_view next = {};
};

Meaning meaning_of(const GrpcStatus& status, bool told_to_wait) {
  const ErrorCode code = error_code_of(status);
  switch (status.code) {
    case GrpcCode::unauthenticated:
      return {code, "Modal does not know this token: it is mistyped, revoked or expired"};
    case GrpcCode::permission_denied:
      return {code, "the token may not do this", "ask the workspace's owner for the role"};
    case GrpcCode::resource_exhausted:
      if (told_to_wait || speaks_of_rate(status.message)) {
        return {code, "Modal was asked too often"};
      }
      return {ErrorCode::quota_exceeded, "the workspace has no more of this",
              "end sandboxes that are not needed (sandkey ls), or see https://modal.com/settings/usage"};
    case GrpcCode::not_found:
      return {code, "there is none at Modal"};
    case GrpcCode::already_exists:
      return {code, "it exists already"};
    case GrpcCode::failed_precondition:
    case GrpcCode::aborted:
      return {code, "its state does not allow this"};
    case GrpcCode::invalid_argument:
    case GrpcCode::out_of_range:
      return {code, "Modal does not take this request"};
    case GrpcCode::unimplemented:
      return {code, "this server cannot do it"};
    case GrpcCode::deadline_exceeded:
      return {code, "Modal did not answer in time"};
    case GrpcCode::malformed:
    case GrpcCode::data_loss:
      return {code, "the answer is none of Modal's", "check modal_server_url"};
    default:
      break;
  }
  if (processed_of(status) == Processed::no) {
    return {code, "the server cannot be reached", "check the network and modal_server_url"};
  }
  return {code, "Modal failed to answer", "try again later"};
}

struct AuthToken {
  Secret value;
  system_clock::time_point renew_at;
  system_clock::time_point expires_at;
};
using SharedToken = std::shared_ptr<const AuthToken>;

}  // namespace

GrpcDestination modal_destination() {
  return {.module = "libsandkey-modal.so",
          .how_to_get =
              "Modal needs it: install Sandkey completely and gRPC (Debian: apt-get install "
              "libgrpc++1.51), or build Sandkey with -DSANDKEY_MODAL=ON",
          .details = "modal.client.RPCStatus"};
}

std::string random_uuid(const Engine& engine) {
  const std::uint64_t high = engine.random();
  const std::uint64_t low = engine.random();
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xfff,
                     0x8000 | (low >> 48 & 0x3fff), low & 0xffffffffffff);
}

// Shared with the renewal of the short-lived token, which may outlive whoever wanted it.
struct ControlPlane::Impl : std::enable_shared_from_this<ControlPlane::Impl> {
  Impl(Engine& the_engine, Endpoint the_server, SignIn& sign_in, GrpcChannel the_channel)
      : engine(the_engine),
        server(std::move(the_server)),
        channel(std::move(the_channel)),
        renewal(std::move(sign_in.renewal)),
        log(std::move(sign_in.log)),
        renewing(the_engine) {
    use(std::move(sign_in.credential));
  }

  void use(Credential fresh) {
    auto taught = std::make_shared<Redactor>();
    fresh.teach(*taught);
    auto shared = std::make_shared<const Credential>(std::move(fresh));
    const std::lock_guard lock(mutex);
    redactors.push_back(std::move(taught));
    current = std::move(shared);
    auth_token = nullptr;
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
      for (const auto& redactor : auth_redactors) {
        if (redactor) knowing.push_back(redactor);
      }
    }
    std::string result(text);
    for (const auto& redactor : knowing) result = redactor->redact(result);
    result = utf8::sanitize(result);
    for (char& c : result) c = static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    const std::size_t end = utf8::offset_of(result, kMaxQuoted);
    return end == result.size() ? result : result.substr(0, end) + "...";
  }

  // In place of `old`, which was refused, one that was changed at its source, if it is for the same places.
  // False if there is no other.
  asio::awaitable<bool> take_changed_token(std::shared_ptr<const Credential> old) {
    if (credential() != old) co_return true;  // somebody was quicker
    if (!renewal) co_return false;
    std::optional<Credential> fresh = co_await run_blocking(renewal);
    if (!fresh || !fresh->same_places(*old) || fresh->fingerprint() == old->fingerprint()) co_return false;
    use(std::move(*fresh));
    co_return true;
  }

  // One that the server refuses is of no use, whatever our clock says.
  void drop_auth_token(const SharedToken& refused) {
    const std::lock_guard lock(mutex);
    if (auth_token != refused) return;
    auth_token = nullptr;
    no_renewal_before = {};
  }

  [[nodiscard]] GrpcHeaders headers() const { return headers(credential()); }
  [[nodiscard]] GrpcHeaders headers(const std::shared_ptr<const Credential>& used) const {
    GrpcHeaders headers;
    const auto add = [&](const char* name, std::string_view value) {
      headers.emplace_back(name, Secret(value));
    };
    add("x-modal-client-type", kClientType);
    add("x-modal-client-version", kClientVersion);
    add("x-modal-libmodal-version", kLibraryVersion);
    add("x-modal-host", server.host());
    add("x-modal-token-id", used->part("token_id").expose());
    add("x-modal-token-secret", used->part("token_secret").expose());
    return headers;
  }

  // One attempt on the wire.
  asio::awaitable<GrpcReply> send(const ModalCall& call, GrpcHeaders headers) {
    GrpcCall sent{.method = std::string(kService) + call.method,
                  .request = call.request,
                  .data = {},
                  .headers = std::move(headers),
                  .deadline = call.deadline};
    const auto begin = engine.steady_now();
    GrpcReply reply = co_await channel.unary(std::move(sent));
    hear(reply.status);
    if (log) note(call, reply.status, begin);
    if (reply.status.code == GrpcCode::unauthenticated) accepted = false;
    if (reply.status.ok()) accepted = true;
    co_return reply;
  }

  void note(const ModalCall& call, const GrpcStatus& status,
            std::chrono::steady_clock::time_point begin) const {
    HttpRecord record;
    record.operation = call.operation;
    record.method = "POST";
    record.origin = server.origin();
    record.path = std::string(kService) + call.method;
    if (status.ok())
      record.status = 200;
    else
      record.error = error_code_of(status);
    record.took = std::chrono::duration_cast<std::chrono::microseconds>(engine.steady_now() - begin);
    log(record);
  }

  // With repeats.
  asio::awaitable<GrpcReply> exchange(ModalCall call) {
    const RetryPolicy policy = retry_policy();
    budget.on_request();
    const std::string key = call.key.empty() ? random_uuid(engine) : call.key;
    bool dropped_auth_token = false;
    bool changed_token = false;
    int failures = 0;
    for (int number = 1;; ++number) {
      SharedToken auth;
      if (call.with_auth_token) auth = co_await current_auth_token(call.deadline);
      const std::shared_ptr<const Credential> used = credential();  // for which that was given
      GrpcHeaders sent = headers(used);
      if (auth) sent.emplace_back("x-modal-auth-token", auth->value.clone());
      // By it the server knows a request again.
      sent.emplace_back("x-idempotency-key", Secret(key));
      sent.emplace_back("x-retry-attempt", Secret(std::to_string(number - 1)));
      GrpcReply reply = co_await send(call, std::move(sent));
      if (reply.status.ok()) co_return reply;
      const bool refused = reply.status.code == GrpcCode::unauthenticated;
      if (refused && auth && !dropped_auth_token) {
        dropped_auth_token = true;
        drop_auth_token(auth);
        continue;
      }
      if (refused && !changed_token) {
        changed_token = co_await take_changed_token(used);
        if (changed_token) continue;
      }
      auto delay = wait_told(policy, reply.status, call);
      if (!delay) delay = delay_after(policy, reply.status, ++failures, call);
      if (!delay) co_return reply;
      co_await engine.sleep_for(*delay);
    }
  }

  // The server has more to do than it can, and says when to come back; many who were told so come back one
  // after the other. That is no failure, and may happen as often as there is time for.
  std::optional<std::chrono::milliseconds> wait_told(const RetryPolicy& policy, const GrpcStatus& status,
                                                     const ModalCall& call) {
    if (status.code != GrpcCode::resource_exhausted) return std::nullopt;
    const auto wait = wait_in(status);
    if (!wait || *wait > policy.max_server_wait) return std::nullopt;
    const auto spread = *wait / 1000 * static_cast<int>(engine.random() % 1000);
    const auto delay = *wait + spread;
    if (engine.in(delay) >= call.deadline) return std::nullopt;
    return delay;
  }

  std::optional<std::chrono::milliseconds> delay_after(const RetryPolicy& policy, const GrpcStatus& status,
                                                       int number, const ModalCall& call) {
    Attempt attempt{.number = number,
                    .repeatable = call.repeatable,
                    .error = error_code_of(status),
                    .processed = processed_of(status),
                    .time_left = call.deadline - engine.steady_now(),
                    .random = engine.random()};
    if (status.code == GrpcCode::resource_exhausted) {
      attempt.status = kTooManyRequests;
      attempt.server_wait = wait_in(status);
    }
    attempt.budget_left = budget.has_left();
    const auto delay = retry_delay(policy, attempt);
    if (delay && !budget.take()) return std::nullopt;
    return delay;
  }

  // The short-lived token: one that is good. Whoever needs one while it is renewed waits only if the old one
  // has expired.
  asio::awaitable<SharedToken> current_auth_token(Deadline deadline) {
    const system_clock::time_point now = engine.system_now();
    SharedToken known;
    bool held_off = false;
    {
      const std::lock_guard lock(mutex);
      known = auth_token;
      held_off = now < no_renewal_before;
    }
    const bool good = known && now < known->expires_at;
    if (known && (now < known->renew_at || held_off || (good && is_renewing))) co_return known;
    const std::function<asio::awaitable<SharedToken>()> renew = [self = shared_from_this()] {
      return renewed(self);
    };
    co_return co_await engine.with_deadline(renewing.join(renew), deadline, kGettingToken);
  }

  static asio::awaitable<SharedToken> renewed(std::shared_ptr<Impl> self) {
    struct Renewing {
      std::atomic<bool>& flag;
      explicit Renewing(std::atomic<bool>& the_flag) : flag(the_flag) { flag = true; }
      ~Renewing() { flag = false; }
    };
    const Renewing renewing_now(self->is_renewing);
    SharedToken known;
    {
      const std::lock_guard lock(self->mutex);
      known = self->auth_token;
    }
    ModalCall call{.method = "AuthTokenGet",
                   .operation = kGettingToken,
                   .deadline = self->engine.in(kAuthTokenTime),
                   .with_auth_token = false};
    std::optional<GrpcReply> reply;
    bool thorough = !known;  // else there is something to go on with
    if (known) {
      reply.emplace(co_await self->send(call, self->headers()));
      thorough = reply->status.code == GrpcCode::unauthenticated;  // perhaps it was changed at its source
    }
    if (thorough) reply.emplace(co_await self->exchange(call));
    const std::string text(find_string(reply->message.fields, "token").value_or(""));
    if (!reply->status.ok() || text.empty()) {
      const bool refused = reply->status.code == GrpcCode::unauthenticated ||
                           reply->status.code == GrpcCode::permission_denied;
      if (reply->status.ok()) reply->status.code = GrpcCode::malformed;
      if (refused || !known) throw_error(self->error(call.operation, reply->status));
      self->hold_off();
      co_return known;  // even if it has expired: the server has the last word
    }
    co_return self->keep_auth_token(text);
  }

  void hold_off() {
    const std::lock_guard lock(mutex);
    next_hold_off = std::clamp<std::chrono::milliseconds>(next_hold_off * 2, kFirstHoldOff, kLongestHoldOff);
    no_renewal_before = engine.system_now() + next_hold_off;
  }

  SharedToken keep_auth_token(const std::string& text) {
    const system_clock::time_point now = engine.system_now();
    const system_clock::time_point end = expiry_of(text).value_or(now + kAuthTokenUsualLife);
    const auto life = std::max<system_clock::duration>(end - now, 0s);
    // Half of its life, and a little more that is not the same for all.
    const auto token = std::make_shared<const AuthToken>(
        AuthToken{.value = Secret(text),
                  .renew_at = now + life / 2 + life / 1000 * static_cast<int>(engine.random() % 100),
                  .expires_at = end});
    auto taught = std::make_shared<Redactor>();
    taught->add(token->value);
    const std::lock_guard lock(mutex);
    // Of those that were replaced the last may be echoed still.
    auth_redactors[0] = std::exchange(auth_redactors[1], std::move(taught));
    auth_token = token;
    next_hold_off = {};
    return token;
  }

  [[nodiscard]] Error error(const std::string& operation, const GrpcStatus& status) const {
    const std::optional<std::chrono::milliseconds> wait = wait_in(status);
    const Meaning meant = meaning_of(status, wait.has_value());
    const std::shared_ptr<const Credential> used = credential();
    std::string text = fmt::format("{}: {}", operation, meant.what);
    std::string next(meant.next);
    if (meant.code == ErrorCode::unauthenticated || meant.code == ErrorCode::permission_denied) {
      text += fmt::format(" ({})", used->described());
      if (meant.code == ErrorCode::unauthenticated) {
        next = fmt::format("make a new one at {} and run: sandkey auth login modal",
                           credential_spec().keys_page);
      }
    }
    text += fmt::format("; {} from {}", to_string(status.code), server.to_string());
    if (const std::string said = quoted(status.message); !said.empty()) {
      text += fmt::format(", which says \"{}\"", said);
    }
    if (wait) {
      text +=
          fmt::format("; it asks to wait for {} s", std::chrono::ceil<std::chrono::seconds>(*wait).count());
    }
    if (!next.empty()) text += "; " + next;
    return Error(meant.code, text,
                 {.provider = "modal",
                  .operation = operation,
                  .phase = {},
                  .request_id = {},
                  .retry_after = wait,
                  .processed = processed_of(status)});
  }

  void hear(const GrpcStatus& status) {
    std::string_view list = status.trailer("x-modal-warning");
    while (!list.empty()) {
      const std::size_t end = std::min(list.find(','), list.size());
      const std::string_view sent = list.substr(0, end);
      std::string warning = quoted(percent_decode(sent, false).value_or(std::string(sent)));
      list.remove_prefix(std::min(end + 1, list.size()));
      const std::size_t begin = std::min(warning.find_first_not_of(' '), warning.size());
      warning.erase(0, begin);
      constexpr std::size_t kMost = 100;
      const std::lock_guard lock(mutex);
      if (warning.empty() || heard.size() >= kMost) continue;
      if (heard.insert(warning).second) untold.push_back(std::move(warning));
    }
  }

  Engine& engine;
  const Endpoint server;
  const GrpcChannel channel;
  const CredentialRenewal renewal;
  const HttpObserver log;
  std::atomic<bool> accepted = true;
  std::atomic<bool> is_renewing = false;
  RetryBudget budget;
  SingleFlight<SharedToken> renewing;

  mutable std::mutex mutex;
  // Guarded by mutex. What knew an earlier token stays: it may be echoed still.
  std::vector<std::shared_ptr<const Redactor>> redactors;
  std::shared_ptr<const Redactor> auth_redactors[2];
  std::shared_ptr<const Credential> current;
  SharedToken auth_token;
  system_clock::time_point no_renewal_before = {};
  std::chrono::milliseconds next_hold_off{};
  std::set<std::string> heard;
  std::vector<std::string> untold;
};

ControlPlane::ControlPlane(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

asio::awaitable<std::shared_ptr<ControlPlane>> ControlPlane::open(SignIn sign_in) {
  const Credential::Place* place = sign_in.credential.endpoint("server_url");
  if (place == nullptr) {
    throw Error(ErrorCode::internal, "reading the credential of modal: it names no server_url");
  }
  Endpoint server = Endpoint::parse(place->value, "modal_server_url");
  GrpcDestination destination = modal_destination();
  GrpcChannel channel = co_await GrpcChannel::open(sign_in.engine, server, std::move(destination));
  Engine& engine = sign_in.engine;
  auto impl = std::make_shared<Impl>(engine, std::move(server), sign_in, std::move(channel));
  co_return std::shared_ptr<ControlPlane>(new ControlPlane(std::move(impl)));
}

asio::awaitable<json::object> ControlPlane::call(ModalCall call) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::string operation = call.operation;
  GrpcReply reply = co_await impl->exchange(std::move(call));
  if (!reply.status.ok()) throw_error(impl->error(operation, reply.status));
  co_return std::move(reply.message.fields);
}

asio::awaitable<GrpcStream> ControlPlane::stream(ModalCall call) {
  const std::shared_ptr<Impl> impl = impl_;
  const SharedToken token = co_await impl->current_auth_token(call.deadline);
  GrpcCall sent{.method = std::string(kService) + call.method,
                .request = std::move(call.request),
                .data = {},
                .headers = impl->headers(),
                .deadline = call.deadline};
  sent.headers.emplace_back("x-modal-auth-token", token->value.clone());
  co_return impl->channel.stream(sent);
}

Error ControlPlane::error(const std::string& operation, const GrpcStatus& status) const {
  return impl_->error(operation, status);
}
bool ControlPlane::accepted() const noexcept {
  return impl_->accepted;
}
Engine& ControlPlane::engine() const noexcept {
  return impl_->engine;
}
std::shared_ptr<const Credential> ControlPlane::credential() const {
  return impl_->credential();
}
const Endpoint& ControlPlane::server() const noexcept {
  return impl_->server;
}
std::string ControlPlane::quoted(std::string_view text) const {
  return impl_->quoted(text);
}
std::string ControlPlane::environment() const {
  const std::shared_ptr<const Credential> used = credential();
  const Credential::Place* place = used->setting("environment");
  return place == nullptr ? std::string() : place->value;
}
void ControlPlane::hear(const GrpcStatus& status) {
  impl_->hear(status);
}
std::vector<std::string> ControlPlane::take_warnings() {
  const std::lock_guard lock(impl_->mutex);
  return std::exchange(impl_->untold, {});
}

}  // namespace sandkey::modal
