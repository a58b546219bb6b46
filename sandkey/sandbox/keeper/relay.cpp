#include "sandkey/sandbox/keeper/relay.h"

#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

namespace sandkey::sandbox {
namespace {

using asio::ip::tcp;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = 16 * 1024;
constexpr int kMaxConnections = 256;  // of one port; more wait to be accepted
constexpr std::chrono::milliseconds kAcceptPause{20};

}  // namespace

struct Relay::State {
  State(const asio::any_io_executor& executor, Dial dial_inside)
      : acceptor(executor), room(executor), dial(std::move(dial_inside)) {}

  struct Connection {
    Connection(std::shared_ptr<State> owner, tcp::socket accepted)
        : state(std::move(owner)), outside(std::move(accepted)), inside(outside.get_executor()) {
      ++state->connections;
    }
    ~Connection() {
      --state->connections;
      state->room.cancel();
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    std::shared_ptr<State> state;
    tcp::socket outside;
    tcp::socket inside;
  };

  static asio::awaitable<void> accept(std::shared_ptr<State> state);
  static asio::awaitable<void> serve(std::shared_ptr<Connection> connection);
  static asio::awaitable<void> copy(std::shared_ptr<Connection> connection, tcp::socket* from,
                                    tcp::socket* to);

  tcp::acceptor acceptor;
  asio::steady_timer room;  // wakes the acceptor early when a connection has ended
  Dial dial;
  int connections = 0;
};

asio::awaitable<void> Relay::State::accept(std::shared_ptr<State> state) {
  while (state->acceptor.is_open()) {
    if (state->connections < kMaxConnections) {
      auto [error, accepted] = co_await state->acceptor.async_accept(kAsTuple);
      if (!error) {
        auto connection = std::make_shared<Connection>(state, std::move(accepted));
        asio::co_spawn(state->acceptor.get_executor(), serve(std::move(connection)), asio::detached);
        continue;
      }
      if (error == asio::error::operation_aborted) co_return;
    }
    // No room, or no descriptors.
    state->room.expires_after(kAcceptPause);
    (void)co_await state->room.async_wait(kAsTuple);
  }
}

asio::awaitable<void> Relay::State::serve(std::shared_ptr<Connection> connection) {
  try {
    connection->inside = co_await connection->state->dial();
  } catch (const std::exception&) {
    co_return;  // nobody listens inside: the connection is closed, as it would be there
  }
  asio::co_spawn(connection->outside.get_executor(),
                 copy(connection, &connection->inside, &connection->outside), asio::detached);
  co_await copy(connection, &connection->outside, &connection->inside);
}

// Until the end of `from`, which `to` is then told. A failure ends both ways.
asio::awaitable<void> Relay::State::copy(std::shared_ptr<Connection> connection, tcp::socket* from,
                                         tcp::socket* to) {
  std::vector<char> piece(kPiece);
  boost::system::error_code ignored;
  while (true) {
    const auto [read_error, size] = co_await from->async_read_some(asio::buffer(piece), kAsTuple);
    if (read_error == asio::error::eof) {
      to->shutdown(tcp::socket::shutdown_send, ignored);
      co_return;
    }
    if (!read_error) {
      const auto [write_error, written] =
          co_await asio::async_write(*to, asio::buffer(piece.data(), size), kAsTuple);
      if (!write_error) continue;
    }
    connection->outside.close(ignored);
    connection->inside.close(ignored);
    co_return;
  }
}

Relay::Relay(const asio::any_io_executor& executor, Dial dial)
    : state_(std::make_shared<State>(executor, std::move(dial))) {
  boost::system::error_code error;
  const tcp::endpoint loopback(asio::ip::address_v4::loopback(), 0);
  state_->acceptor.open(loopback.protocol(), error);
  if (!error) state_->acceptor.bind(loopback, error);
  if (!error) state_->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) throw system_error("exposing a port of a sandbox", error.value());

  asio::co_spawn(executor, State::accept(state_), asio::detached);
}

Relay::~Relay() {
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
}

std::uint16_t Relay::port() const {
  return state_->acceptor.local_endpoint().port();
}

}  // namespace sandkey::sandbox
