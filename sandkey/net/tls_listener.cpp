#include "sandkey/net/tls_listener.h"

#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>

#include <array>
#include <chrono>
#include <set>
#include <utility>
#include <vector>

namespace sandkey::net {
namespace {

namespace asio = boost::asio;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using Plain = asio::local::stream_protocol::socket;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kHandshakeTimeout{30};
constexpr std::chrono::milliseconds kAcceptPause{20};
constexpr std::size_t kPiece = 16 * 1024;

// In our order of preference, not the client's.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned int offered_size, void*) {
  static constexpr std::array<unsigned char, 12> kOurs{2,   'h', '2', 8,   'h', 't',
                                                       't', 'p', '/', '1', '.', '1'};
  unsigned char* match = nullptr;
  if (SSL_select_next_proto(&match, chosen_size, kOurs.data(), kOurs.size(), offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = match;
  return SSL_TLSEXT_ERR_OK;
}

// Both ends of one connection. Whichever direction fails closes both.
struct Connection {
  Connection(tcp::socket accepted, ssl::context& context)
      : encrypted(std::move(accepted), context),
        plain(encrypted.get_executor()),
        patience(encrypted.get_executor(), kHandshakeTimeout) {}

  void close() noexcept {
    boost::system::error_code ignored;
    encrypted.lowest_layer().close(ignored);
    plain.close(ignored);
    patience.cancel();
  }

  ssl::stream<tcp::socket> encrypted;
  Plain plain;
  asio::steady_timer patience;
};

}  // namespace

class TlsListener::Impl : public std::enable_shared_from_this<TlsListener::Impl> {
 public:
  Impl(asio::any_io_executor executor, HttpServer& server, const TlsIdentity& identity)
      : executor_(std::move(executor)), server_(server), acceptor_(executor_) {
    boost::system::error_code error;
    (void)context_.set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                                   ssl::context::no_sslv3 | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1,
                               error);
    if (!error) (void)context_.use_certificate_chain(asio::buffer(identity.certificate), error);
    if (!error) (void)context_.use_private_key(asio::buffer(identity.key), ssl::context::pem, error);
    if (error) {
      throw Error(ErrorCode::invalid_argument,
                  "serving TLS: the certificate or its key cannot be used: " + error.message());
    }
    SSL_CTX_set_alpn_select_cb(context_.native_handle(), choose_protocol, nullptr);
  }

  std::uint16_t listen(std::uint16_t port) {
    boost::system::error_code error;
    const tcp::endpoint where(asio::ip::address_v4::loopback(), port);
    acceptor_.open(where.protocol(), error);
    if (!error) (void)::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);  // no program we start gets it
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(where, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) throw system_error("listening on 127.0.0.1:" + std::to_string(port), error.value());
    // Owned by the acceptor: stop() closes it, which ends the loop.
    asio::co_spawn(executor_, accept(shared_from_this()), asio::detached);
    return acceptor_.local_endpoint().port();
  }

  void stop() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    stopped_ = true;
    for (Connection* connection : connections_) connection->close();
  }

 private:
  static asio::awaitable<void> accept(std::shared_ptr<Impl> self) {
    while (!self->stopped_) {
      auto [error, socket] = co_await self->acceptor_.async_accept(kAsTuple);
      if (error == asio::error::operation_aborted || self->stopped_) co_return;
      if (error || self->connections_.size() >= kMaxTlsConnections) {
        asio::steady_timer pause(self->executor_, kAcceptPause);
        (void)co_await pause.async_wait(kAsTuple);
        continue;
      }
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      auto connection = std::make_shared<Connection>(std::move(socket), self->context_);
      // Owned by connections_ from the first step to the last: stop() closes its sockets, which ends it.
      asio::co_spawn(self->executor_, serve(self, std::move(connection)), asio::detached);
    }
  }

  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> connection) {
    struct Registration {
      std::set<Connection*>& all;
      Connection* connection;
      ~Registration() {
        all.erase(connection);
        connection->close();
      }
    };
    self->connections_.insert(connection.get());
    const Registration registration{self->connections_, connection.get()};

    connection->patience.async_wait([connection](boost::system::error_code error) {
      if (!error) connection->close();
    });
    const auto [refused] = co_await connection->encrypted.async_handshake(ssl::stream_base::server, kAsTuple);
    connection->patience.cancel();
    if (refused || self->stopped_) co_return;
    Plain theirs(self->executor_);
    boost::system::error_code error;
    asio::local::connect_pair(connection->plain, theirs, error);
    if (error) co_return;
    self->server_.serve_connection(UniqueFd(theirs.release()));
    // The other direction is part of this one: it ends when either closes the sockets.
    asio::co_spawn(self->executor_, encrypt(connection), asio::detached);
    co_await decrypt(connection);
  }

  static asio::awaitable<void> decrypt(std::shared_ptr<Connection> connection) {
    std::vector<char> piece(kPiece);
    while (true) {
      const auto [error, n] = co_await connection->encrypted.async_read_some(asio::buffer(piece), kAsTuple);
      if (error) break;
      const auto [write_error, written] =
          co_await asio::async_write(connection->plain, asio::buffer(piece.data(), n), kAsTuple);
      if (write_error) break;
    }
    connection->close();
  }

  static asio::awaitable<void> encrypt(std::shared_ptr<Connection> connection) {
    std::vector<char> piece(kPiece);
    while (true) {
      const auto [error, n] = co_await connection->plain.async_read_some(asio::buffer(piece), kAsTuple);
      if (error == asio::error::eof) (void)co_await connection->encrypted.async_shutdown(kAsTuple);
      if (error) break;
      const auto [write_error, written] =
          co_await asio::async_write(connection->encrypted, asio::buffer(piece.data(), n), kAsTuple);
      if (write_error) break;
    }
    connection->close();
  }

  asio::any_io_executor executor_;
  HttpServer& server_;
  ssl::context context_{ssl::context::tls_server};
  tcp::acceptor acceptor_;
  bool stopped_ = false;
  std::set<Connection*> connections_;
};

TlsListener::TlsListener(asio::any_io_executor executor, HttpServer& server, const TlsIdentity& identity)
    : impl_(std::make_shared<Impl>(std::move(executor), server, identity)) {}

TlsListener::~TlsListener() {
  stop();
}

std::uint16_t TlsListener::listen_loopback(std::uint16_t port) {
  return impl_->listen(port);
}

void TlsListener::stop() {
  impl_->stop();
}

}  // namespace sandkey::net
