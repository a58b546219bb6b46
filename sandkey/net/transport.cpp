#include "sandkey/net/transport.h"

#include "sandkey/net/single_flight.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sandkey {

namespace {

// --- what the layers have in common ---

int status_of(const HttpResponse& answer) {
  return answer.status;
}
int status_of(const HttpStream& answer) {
  return answer.status();
}
const HttpResponseHeaders& headers_of(const HttpResponse& answer) {
  return answer.headers;
}
const HttpResponseHeaders& headers_of(const HttpStream& answer) {
  return answer.headers();
}

// Gives an answer up, to ask again.
asio::awaitable<void> discard(HttpStream answer) {
  co_await answer.close();
}
asio::awaitable<void> discard(HttpResponse) {
  co_return;
}

std::string operation_of(const HttpRequest& request) {
  return request.operation.empty() ? request.method : request.operation;
}

// A layer treats send() and open() alike: Derived has one `call` for either kind of answer.
template <typename Derived>
class Layer : public HttpTransport {
 public:
  explicit Layer(std::shared_ptr<HttpTransport> next) : next_(std::move(next)) {}

  asio::awaitable<HttpResponse> send(HttpRequest request) final {
    return static_cast<Derived*>(this)->template call<HttpResponse>(std::move(request));
  }
  asio::awaitable<HttpStream> open(HttpRequest request) final {
    return static_cast<Derived*>(this)->template call<HttpStream>(std::move(request));
  }

 protected:
  template <typename Answer>
  asio::awaitable<Answer> pass(HttpRequest&& request) {
    if constexpr (std::is_same_v<Answer, HttpResponse>) {
      return next_->send(std::move(request));
    } else {
      return next_->open(std::move(request));
    }
  }
  // Here, and not in a coroutine, whose frame would then hold two requests and be too large for Asio's and
  // malloc's caches of memory.
  template <typename Answer>
  asio::awaitable<Answer> pass_copy(const HttpRequest& request, const HttpHeaders* more = nullptr) {
    HttpRequest copy = request.clone();
    if (more != nullptr) copy.headers.set_all(*more);
    return pass<Answer>(std::move(copy));
  }

 private:
  const std::shared_ptr<HttpTransport> next_;
};

// --- trace and log ---

// What may come from outside, made fit for one line.
std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 256;
  std::string result(text.substr(0, kLongest));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c <= ' ' || c >= 0x7f; }, '?');
  return result;
}

class Observed final : public Layer<Observed> {
 public:
  Observed(Engine& engine, std::shared_ptr<HttpTransport> next, HttpObserver observer,
           std::string request_id_header)
      : Layer(std::move(next)),
        engine_(engine),
        observer_(std::move(observer)),
        request_id_header_(std::move(request_id_header)) {}

  template <typename Answer>
  asio::awaitable<Answer> call(HttpRequest request) {
    const Deadline began = engine_.steady_now();
    const HttpHeaders sent = request.headers.clone();
    HttpRecord record = describe(request);
    std::optional<Answer> answer;
    std::exception_ptr failure;
    try {
      answer.emplace(co_await pass<Answer>(std::move(request)));
    } catch (const Error& error) {
      failure = std::current_exception();
      record.error = error.code();
    } catch (...) {
      failure = std::current_exception();
      record.error = is_cancellation(failure) ? ErrorCode::cancelled : ErrorCode::internal;
    }
    record.took = std::chrono::duration_cast<std::chrono::microseconds>(engine_.steady_now() - began);
    record.path = sent.mask(std::move(record.path));
    if (answer) {
      record.status = status_of(*answer);
      if constexpr (std::is_same_v<Answer, HttpResponse>) record.bytes = answer->body.size();
      const auto id =
          request_id_header_.empty() ? std::nullopt : headers_of(*answer).find(request_id_header_);
      if (id) record.request_id = printable(sent.mask(std::string(*id)));
    }
    observer_(record);
    if (failure) std::rethrow_exception(failure);
    co_return std::move(*answer);
  }

 private:
  static HttpRecord describe(const HttpRequest& request) {
    HttpRecord record;
    record.operation = request.operation;
    record.method = request.method;
    const std::string_view url = request.url;
    const std::size_t scheme_end = url.find("://");
    const std::size_t path = scheme_end == url.npos ? url.npos : url.find_first_of("/?#", scheme_end + 3);
    record.origin = request.unix_socket.empty() ? origin_of(url) : "unix:" + request.unix_socket;
    if (path != url.npos) record.path = printable(url.substr(path, url.find_first_of("?#", path) - path));
    return record;
  }

  Engine& engine_;
  const HttpObserver observer_;
  const std::string request_id_header_;
};

// --- retry ---

class Retrying final : public Layer<Retrying> {
 public:
  Retrying(Engine& engine, std::shared_ptr<HttpTransport> next, RetryPolicy policy)
      : Layer(std::move(next)), engine_(engine), policy_(std::move(policy)) {}

  template <typename Answer>
  asio::awaitable<Answer> call(HttpRequest request) {
    budget_.on_request();
    int number = request.source ? policy_.max_attempts : 1;  // a source can be read only once
    for (;; ++number) {
      std::optional<Answer> answer;
      std::exception_ptr failure;
      try {
        // The request itself goes with the last attempt, after which nobody needs it.
        asio::awaitable<Answer> exchange =
            number < policy_.max_attempts ? pass_copy<Answer>(request) : pass<Answer>(std::move(request));
        answer.emplace(co_await std::move(exchange));
      } catch (const Error&) {
        failure = std::current_exception();
      }
      if (answer && status_of(*answer) < 300) co_return std::move(*answer);
      const auto delay = answer ? delay_after(answered(*answer), number, request)
                                : delay_after(failed(failure), number, request);
      if (!delay) {
        if (failure) std::rethrow_exception(failure);
        co_return std::move(*answer);
      }
      if (answer) co_await discard(std::move(*answer));
      co_await wait(*delay, operation_of(request), failed(failure).processed);
    }
  }

 private:
  template <typename Answer>
  Attempt answered(const Answer& answer) const {
    Attempt attempt;
    attempt.status = status_of(answer);
    attempt.server_wait = server_wait(policy_, headers_of(answer), engine_.system_now());
    attempt.server_verdict = verdict(headers_of(answer));
    return attempt;
  }

  static Attempt failed(const std::exception_ptr& failure) {
    Attempt attempt;
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const Error& error) {
      attempt.error = error.code();
      attempt.processed = error.context().processed;
      attempt.permanent = error.context().permanent;
      attempt.server_wait = error.context().retry_after;
    }
    return attempt;
  }

  // How long to wait before the next one, if there is to be one; then it is taken from the budget.
  std::optional<std::chrono::milliseconds> delay_after(Attempt attempt, int number,
                                                       const HttpRequest& request) {
    attempt.number = number;
    attempt.repeatable = request.may_repeat();
    attempt.time_left = request.deadline - engine_.steady_now();
    attempt.budget_left = budget_.has_left();
    attempt.random = engine_.random();
    const auto delay = retry_delay(policy_, attempt);
    if (!delay || !budget_.take()) return std::nullopt;
    return delay;
  }

  asio::awaitable<void> wait(std::chrono::milliseconds delay, std::string operation, Processed processed) {
    try {
      co_await engine_.sleep_for(delay);
    } catch (...) {
      if (!is_cancellation(std::current_exception())) throw;
      throw Error(ErrorCode::cancelled, operation + ": cancelled while waiting to try again",
                  {.provider = {},
                   .operation = operation,
                   .phase = "wait to try again",
                   .request_id = {},
                   .processed = processed});
    }
  }

  std::optional<bool> verdict(const HttpResponseHeaders& headers) const {
    if (policy_.verdict_header.empty()) return std::nullopt;
    const auto word = headers.find(policy_.verdict_header);
    if (word == "true") return true;
    if (word == "false") return false;
    return std::nullopt;
  }

  Engine& engine_;
  const RetryPolicy policy_;
  RetryBudget budget_;
};

// --- authenticate ---

// The headers in use; asks the source for them once at a time, whoever wants them.
class Credential {
 public:
  using Headers = std::shared_ptr<const HttpHeaders>;

  Credential(Engine& engine, CredentialSource source)
      : shared_(std::make_shared<Shared>(std::move(source))), flight_(engine) {}

  [[nodiscard]] Headers known() const { return shared_->get(); }

  // Those that are known unless they are the `refused` ones; then the source's, which are the very same if it
  // has no others.
  asio::awaitable<Headers> ask(Headers refused) {
    if (Headers headers = known(); headers && headers != refused) co_return headers;
    const std::function<asio::awaitable<Headers>()> fetch = [shared = shared_, refused] {
      return Shared::fetch(shared, refused);
    };
    co_return co_await flight_.join(fetch);
  }

 private:
  struct Shared {
    explicit Shared(CredentialSource the_source) : source(std::move(the_source)) {}

    Headers get() const {
      const std::lock_guard lock(mutex);
      return headers;
    }
    static asio::awaitable<Headers> fetch(std::shared_ptr<Shared> self, Headers refused) {
      Headers fresh = std::make_shared<const HttpHeaders>(co_await self->source(refused != nullptr));
      if (refused && *fresh == *refused) co_return refused;
      const std::lock_guard lock(self->mutex);
      self->headers = fresh;
      co_return fresh;
    }

    const CredentialSource source;
    mutable std::mutex mutex;
    Headers headers;
  };

  std::shared_ptr<Shared> shared_;
  SingleFlight<Headers> flight_;
};

class Authenticating final : public Layer<Authenticating> {
 public:
  Authenticating(Engine& engine, std::shared_ptr<HttpTransport> next, const std::vector<Endpoint>& endpoints,
                 CredentialSource source)
      : Layer(std::move(next)), engine_(engine), credential_(engine, std::move(source)) {
    for (const Endpoint& endpoint : endpoints) places_.push_back({endpoint.origin(), endpoint.unix_socket()});
  }

  template <typename Answer>
  asio::awaitable<Answer> call(HttpRequest request) {
    return request.source ? call_once<Answer>(std::move(request)) : call_twice<Answer>(std::move(request));
  }

 private:
  struct Place {
    std::string origin;
    std::string unix_socket;
  };

  // A second time with another credential, should the first be refused.
  template <typename Answer>
  asio::awaitable<Answer> call_twice(HttpRequest request) {
    check_place(request);
    Credential::Headers used = credential_.known();
    if (!used) used = co_await ask(request, nullptr);
    Answer answer = co_await pass_copy<Answer>(request, used.get());
    if (status_of(answer) != 401) co_return answer;
    const Credential::Headers fresh = co_await ask(request, used);
    if (fresh == used) co_return answer;
    co_await discard(std::move(answer));
    request.headers.set_all(*fresh);
    co_return co_await pass<Answer>(std::move(request));
  }

  // A source can be sent only once; what a refusal teaches is for the next request.
  template <typename Answer>
  asio::awaitable<Answer> call_once(HttpRequest request) {
    check_place(request);
    Credential::Headers used = credential_.known();
    if (!used) used = co_await ask(request, nullptr);
    const std::string operation = operation_of(request);
    const Deadline deadline = request.deadline;
    request.headers.set_all(*used);
    Answer answer = co_await pass<Answer>(std::move(request));
    if (status_of(answer) == 401) co_await ask(operation, deadline, used);
    co_return answer;
  }

  void check_place(const HttpRequest& request) const {
    const std::string_view url = request.url;
    for (const Place& place : places_) {
      if (!url.starts_with(place.origin) || request.unix_socket != place.unix_socket) continue;
      const std::string_view rest = url.substr(place.origin.size());
      if (rest.empty() || std::string_view("/?#").find(rest.front()) != rest.npos) return;
    }
    const std::string operation = operation_of(request);
    const std::string origin = origin_of(url);
    throw Error(ErrorCode::invalid_argument,
                operation + ": refused to send this account's credential to " +
                    (origin.empty() ? std::string("an address") : origin) + ", to which it is not bound",
                {.provider = {},
                 .operation = operation,
                 .phase = "authenticate",
                 .request_id = {},
                 .processed = Processed::no});
  }

  asio::awaitable<Credential::Headers> ask(const HttpRequest& request, Credential::Headers refused) {
    return ask(operation_of(request), request.deadline, std::move(refused));
  }
  asio::awaitable<Credential::Headers> ask(std::string operation, Deadline deadline,
                                           Credential::Headers refused) {
    return engine_.with_deadline(credential_.ask(std::move(refused)), deadline, std::move(operation),
                                 "get the credential");
  }

  Engine& engine_;
  std::vector<Place> places_;
  Credential credential_;
};

}  // namespace

// --- the stack ---

std::string to_string(const HttpRecord& record) {
  std::string line = "method=" + record.method + " origin=" + record.origin + " path=" + record.path;
  line += record.error ? " error=" + std::string(to_string(*record.error))
                       : " status=" + std::to_string(record.status);
  if (record.bytes) line += " bytes=" + std::to_string(*record.bytes);
  const auto tenths = record.took.count() / 100;
  line += " ms=" + std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
  if (!record.request_id.empty()) line += " request_id=" + record.request_id;
  if (!record.operation.empty()) line += " operation=\"" + record.operation + "\"";
  return line;
}

std::shared_ptr<HttpTransport> make_account_transport(Engine& engine, std::shared_ptr<HttpTransport> network,
                                                      AccountTransportOptions options) {
  for (const Endpoint& endpoint : options.endpoints) {
    if (!endpoint.is_https() && !endpoint.is_loopback() && !options.allow_cleartext) {
      throw Error(
          ErrorCode::invalid_argument,
          "a credential is not sent to " + endpoint.origin() +
              ", where it could be read on the way; use https, or set allow_cleartext in the profile");
    }
  }
  std::shared_ptr<HttpTransport> stack = std::move(network);
  if (options.log) {
    stack = std::make_shared<Observed>(engine, std::move(stack), std::move(options.log),
                                       options.request_id_header);
  }
  stack = std::make_shared<Authenticating>(engine, std::move(stack), options.endpoints,
                                           std::move(options.credential));
  stack = std::make_shared<Retrying>(engine, std::move(stack), std::move(options.retry));
  if (options.trace) {
    // Without the server's request id: here nothing is known of the credential it may repeat.
    stack = std::make_shared<Observed>(engine, std::move(stack), std::move(options.trace), std::string());
  }
  return stack;
}

}  // namespace sandkey
