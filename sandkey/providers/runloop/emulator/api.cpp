#include "sandkey/providers/runloop/emulator/api.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <optional>
#include <utility>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

// What an error of our own machinery is to a client: a devbox that goes while something is done in it is one
// that does not run any more.
ApiError refusal_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::sandbox_dead:
    case ErrorCode::unavailable:
    case ErrorCode::cancelled:
      return wrong_state("The devbox is not running any more");
    default:
      return {500, error.what(), "internal"};
  }
}

asio::awaitable<void> refuse(net::HttpExchange& exchange, const ApiError& refusal) {
  emu::Headers headers;
  if (const auto verdict = retryable(refusal))
    headers.emplace_back("X-Should-Retry", *verdict ? "true" : "false");
  headers.emplace_back("X-Runloop-Error-Code", refusal.error_code());
  return emu::reply_text(exchange, refusal.status(), to_body(refusal), std::move(headers));
}

asio::awaitable<void> unknown(net::HttpExchange& exchange) {
  const ApiError refusal(404, "There is no such route", "not_found");
  return refuse(exchange, refusal);
}

}  // namespace

asio::awaitable<void> answer_refusals(net::HttpExchange& exchange, asio::awaitable<void> work) {
  std::optional<ApiError> refusal;
  try {
    co_await std::move(work);
  } catch (const ApiError& error) {
    refusal = error;
  } catch (const net::HttpError& error) {
    refusal.emplace(error.status(), error.what(), "invalid_argument");
  } catch (const Error& error) {
    refusal = refusal_of(error);
  }
  if (!refusal) co_return;
  if (exchange.replied()) {
    exchange.abort();
    co_return;
  }
  co_await refuse(exchange, *refusal);
}

asio::awaitable<json::object> read_object(net::HttpExchange& exchange) {
  const std::string body = co_await exchange.read_body(kMaxRequestBody);
  co_return parse_body(body);
}

void Api::add(const char* route, Needs needs, Handler handler) {
  router_.add(route,
              [this, needs, handler = std::move(handler)](net::HttpExchange& exchange, Arguments arguments) {
                return answer_refusals(exchange, run(exchange, needs, handler, std::move(arguments)));
              });
}

void Api::add_not_emulated(const char* route) {
  add(route, kLook, [](net::HttpExchange& exchange, const Account&, Arguments) -> asio::awaitable<void> {
    throw not_emulated(std::string(exchange.method()) + " " + exchange.path());
    co_return;
  });
}

emu::Call Api::route(const net::HttpExchange& exchange) const {
  std::optional<emu::Router::Match> match = router_.match(exchange.method(), exchange.target());
  if (!match) return {.route = std::string(exchange.method()) + " (unknown)", .run = unknown};
  return {.route = *match->route,
          .run = [handler = match->handler, arguments = std::move(match->arguments)](
                     net::HttpExchange& other) { return (*handler)(other, arguments); }};
}

asio::awaitable<void> Api::run(net::HttpExchange& exchange, Needs needs, const Handler& handler,
                               Arguments arguments) const {
  const Account& account = authenticate(accounts_, exchange.header("authorization"));
  require_access(account, needs.resource, needs.access);
  if (needs.makes) require_enabled(account);
  co_await handler(exchange, account, std::move(arguments));
}

}  // namespace sandkey::runloop::emulator
