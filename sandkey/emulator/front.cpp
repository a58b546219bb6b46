#include "sandkey/emulator/front.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/net/http2_protocol.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace sandkey::emulator {
namespace {

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kClosePatience{10};
constexpr std::string_view kGarbage = "\x16\x03<!-- not JSON {\"sandbox";

net::HttpServerOptions server_options() {
  net::HttpServerOptions options;
  options.max_header_bytes = 64 * 1024;
  options.transfer_timeout = std::chrono::minutes(10);
  return options;
}

std::vector<net::HttpExchange::Header> views(
    const std::vector<std::pair<std::string, std::string>>& headers) {
  return {headers.begin(), headers.end()};
}

}  // namespace

asio::awaitable<void> Pauses::wait(std::chrono::milliseconds time) {
  if (ended_) co_return;
  asio::steady_timer timer(executor_, time);
  struct Registration {
    std::set<asio::steady_timer*>& all;
    asio::steady_timer* timer;
    ~Registration() { all.erase(timer); }
  };
  timers_.insert(&timer);
  const Registration registration{timers_, &timer};
  (void)co_await timer.async_wait(kAsTuple);
}

void Pauses::end() {
  ended_ = true;
  for (asio::steady_timer* timer : timers_) timer->cancel();
}

Front::Front(World world, const CloudEntry& entry, const asio::any_io_executor& executor, Journal& journal,
             FaultScript& faults, const net::CertificateAuthority& authority)
    : world_(std::move(world)),
      name_(entry.name),
      journal_(journal),
      faults_(faults),
      pauses_(executor),
      cloud_(entry.make(world_)),
      none_running_(executor, asio::steady_timer::time_point::max()),
      server_(
          executor, [this](net::HttpExchange& exchange) { return serve(exchange); }, server_options(),
          net::http2_protocol()) {
  const std::string host = name_ + ".localhost";
  tls_ = std::make_unique<net::TlsListener>(
      executor, server_, authority.issue({"127.0.0.1", "::1", "localhost", host, "*." + host}));
  const std::string port = std::to_string(server_.listen_tcp("127.0.0.1", 0));
  const std::string tls_port = std::to_string(tls_->listen_loopback(0));
  addresses_ = {.http = "http://127.0.0.1:" + port,
                .https = "https://127.0.0.1:" + tls_port,
                .domain = host + ":" + tls_port};
  cloud_->serve_at(addresses_);
}

asio::awaitable<void> Front::serve(net::HttpExchange& raw) {
  struct Running {
    Front& front;
    explicit Running(Front& owner) : front(owner) { ++front.running_; }
    ~Running() {
      if (--front.running_ == 0) front.none_running_.cancel();
    }
  };
  const Running running(*this);
  const auto entry = std::make_shared<JournalEntry>();
  entry->provider = name_;
  entry->time = world_.clock.now();
  const auto began = world_.engine.steady_now();
  Call call;  // outlives the exchange, which writes its body down at its end
  RecordedExchange exchange(raw, journal_, entry, world_.secrets);
  call = cloud_->route(exchange);
  entry->route = call.route;
  exchange.show_body_by(
      [this, &call](std::string body) { return cloud_->readable_body(call.route, std::move(body)); });
  journal_.count(name_, call.route);
  std::optional<Fault> fault = faults_.take(name_, call.route);
  if (fault) {
    entry->fault = to_string(fault->kind);
    co_await break_it(exchange, call, std::move(*fault));
  } else {
    co_await run(exchange, call);
  }
  entry->took = world_.engine.steady_now() - began;
}

// What a handler throws is worded as the cloud would.
asio::awaitable<void> Front::run(net::HttpExchange& exchange, const Call& call) {
  std::optional<std::pair<int, std::string>> failure;
  try {
    co_await call.run(exchange);
  } catch (const net::HttpError& error) {
    failure = {error.status(), error.what()};
  } catch (const Error& error) {
    failure = {500, std::string("the emulator failed: ") + error.what()};
  }
  if (!failure) co_return;
  if (exchange.replied()) {
    exchange.abort();
    co_return;
  }
  co_await cloud_->refuse(exchange, failure->first, std::move(failure->second));
}

asio::awaitable<void> Front::break_it(RecordedExchange& exchange, const Call& call, Fault fault) {
  switch (fault.kind) {
    case FaultKind::status: {
      const bool typed = std::ranges::any_of(fault.headers, [](const auto& header) {
        return header.first == "content-type" || header.first == "Content-Type";
      });
      const auto headers = views(fault.headers);
      const std::string_view type = typed ? std::string_view() : kJsonType;
      co_await exchange.reply(fault.status, std::move(fault.body), type, headers);
      co_return;
    }
    case FaultKind::drop_before:
      co_await exchange.read_rest();
      exchange.abort();
      co_return;
    case FaultKind::drop_after: {
      SilentExchange silent(exchange);
      co_await run(silent, call);
      co_await exchange.read_rest();
      exchange.abort();
      co_return;
    }
    case FaultKind::hang:
      co_await exchange.read_rest();
      co_await pauses_.wait_for_end();
      exchange.abort();
      co_return;
    case FaultKind::slow:
      co_await pauses_.wait(fault.delay);
      co_await run(exchange, call);
      co_return;
    case FaultKind::garbage:
      co_await exchange.reply(200, std::string(kGarbage), kJsonType, {});
      co_return;
    case FaultKind::half: {
      HalfExchange half(exchange);
      co_await run(half, call);
      co_return;
    }
    case FaultKind::echo:
      co_await echo(exchange);
      co_return;
    case FaultKind::cut: {
      CutExchange cut(exchange, fault.bytes);
      co_await run(cut, call);
      co_return;
    }
    case FaultKind::grpc_status: {
      CallFailure failure{
          .status = fault.status, .message = std::move(fault.body), .retry_after = fault.retry_after};
      co_await cloud_->fail_call(exchange, std::move(failure));
      co_return;
    }
  }
}

asio::awaitable<void> Front::echo(RecordedExchange& exchange) {
  std::string message = "cannot use the credential " + cloud_->credential(exchange);
  co_await cloud_->refuse(exchange, 400, std::move(message));
}

asio::awaitable<void> Front::close() {
  server_.stop();
  tls_->stop();
  pauses_.end();
  co_await cloud_->close();
  const Deadline deadline = world_.engine.in(kClosePatience);
  while (running_ > 0 && world_.engine.steady_now() < deadline) {
    none_running_.expires_at(deadline);
    (void)co_await none_running_.async_wait(kAsTuple);
  }
}

}  // namespace sandkey::emulator
