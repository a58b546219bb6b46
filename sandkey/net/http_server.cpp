#include "sandkey/net/http_server.h"

#include "sandkey/base/error.h"
#include "sandkey/base/percent.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/base/utf8.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace sandkey::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Protocol = asio::generic::stream_protocol;
using Socket = asio::basic_stream_socket<Protocol>;
using Acceptor = asio::basic_socket_acceptor<Protocol>;
using Parser = http::request_parser<http::buffer_body>;

using TimePoint = std::chrono::steady_clock::time_point;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
// A body nobody read is drained up to this much to keep the connection; beyond it, closing is cheaper.
constexpr std::size_t kMaxDrain = 256 * 1024;
constexpr std::size_t kHeadPiece = 4 * 1024;
constexpr std::chrono::milliseconds kAcceptPause{20};  // when descriptors ran out
constexpr std::chrono::milliseconds kMaxSweepPause{10'000};

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

// A socket and the one timer that bounds what is done with it.
struct Connection : std::enable_shared_from_this<Connection> {
  Connection(Socket accepted, const asio::any_io_executor& executor)
      : socket(std::move(accepted)), timer(executor) {}

  void close() noexcept {
    boost::system::error_code ignored;
    socket.close(ignored);
    if (session) session->close();
  }

  Socket socket;
  asio::steady_timer timer;
  std::uint64_t deadlines = 0;                     // counts them, so that one that is over does nothing
  std::shared_ptr<HttpProtocol::Session> session;  // has taken over the socket
};

// Cancels the connection's operations when time is up. Unlike Beast's it leaves the socket open, so that a
// peer who is too slow can be told.
class Deadline {
 public:
  Deadline(Connection& connection, std::chrono::milliseconds timeout)
      : connection_(connection), expired_(std::make_shared<bool>(false)) {
    const std::uint64_t number = ++connection.deadlines;
    connection.timer.expires_after(timeout);
    connection.timer.async_wait(
        [self = connection.shared_from_this(), expired = expired_, number](boost::system::error_code error) {
          if (error || self->deadlines != number) return;
          *expired = true;
          boost::system::error_code ignored;
          self->socket.cancel(ignored);
        });
  }
  ~Deadline() {
    ++connection_.deadlines;
    connection_.timer.cancel();
  }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  [[nodiscard]] bool expired() const noexcept { return *expired_; }

 private:
  Connection& connection_;
  std::shared_ptr<bool> expired_;
};

}  // namespace

class HttpServer::Impl : public std::enable_shared_from_this<HttpServer::Impl> {
 public:
  Impl(asio::any_io_executor executor, Handler handler, HttpServerOptions options,
       std::shared_ptr<HttpProtocol> other)
      : executor_(std::move(executor)),
        handler_(std::move(handler)),
        options_(options),
        other_(std::move(other)),
        sweep_timer_(executor_) {}

  void listen(UniqueFd fd, int family, int protocol) {
    start_sweeping();
    auto acceptor = std::make_shared<Acceptor>(executor_);
    acceptor->assign(Protocol(family, protocol), fd.release());
    acceptors_.push_back(acceptor);
    // Owned by acceptors_: stop() closes the socket, which ends the loop.
    asio::co_spawn(executor_, accept_loop(shared_from_this(), acceptor), asio::detached);
  }

  void adopt(UniqueFd connection) {
    if (stopped_ || connections_.size() >= options_.max_connections) return;
    start_sweeping();
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getsockname(connection.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
      throw system_error("serving a connection", errno);
    }
    Socket socket(executor_);
    socket.assign(Protocol(storage.ss_family, 0), connection.release());
    asio::co_spawn(executor_, serve(shared_from_this(), std::move(socket)), asio::detached);
  }

  void stop() {
    stopped_ = true;
    boost::system::error_code ignored;
    for (const auto& acceptor : acceptors_) acceptor->close(ignored);
    acceptors_.clear();
    for (const auto& [connection, idle_since] : connections_) connection->close();
    sweep_timer_.cancel();
  }

  [[nodiscard]] std::size_t connections() const noexcept { return connections_.size(); }
  [[nodiscard]] const HttpServerOptions& options() const noexcept { return options_; }
  void remember_path(std::string path) { unix_paths_.push_back(std::move(path)); }
  void remove_paths() {
    for (const std::string& path : unix_paths_) ::unlink(path.c_str());
    unix_paths_.clear();
  }

 private:
  static asio::awaitable<void> accept_loop(std::shared_ptr<Impl> self, std::shared_ptr<Acceptor> acceptor) {
    while (!self->stopped_) {
      auto [error, socket] = co_await acceptor->async_accept(kAsTuple);
      if (error == asio::error::operation_aborted || !acceptor->is_open()) co_return;
      if (error || self->connections_.size() >= self->options_.max_connections) {
        // Out of descriptors, or full: let others finish instead of spinning.
        asio::steady_timer pause(self->executor_, kAcceptPause);
        (void)co_await pause.async_wait(kAsTuple);
        continue;
      }
      const int on = 1;  // fails harmlessly on a Unix socket
      ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      // Owned by connections_, from its first step to its last: stop() closes its socket, which ends it.
      asio::co_spawn(self->executor_, serve(self, std::move(socket)), asio::detached);
    }
  }

  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, Socket socket);

  // Owned like the acceptors: stop() ends it.
  void start_sweeping() {
    if (sweeping_) return;
    sweeping_ = true;
    asio::co_spawn(executor_, close_idle_connections(shared_from_this()), asio::detached);
  }

  // One timer for all idle connections instead of one each. Ended by stop().
  static asio::awaitable<void> close_idle_connections(std::shared_ptr<Impl> self) {
    while (!self->stopped_) {
      self->sweep_timer_.expires_after(
          std::min<std::chrono::milliseconds>(self->options_.idle_timeout / 2, kMaxSweepPause));
      (void)co_await self->sweep_timer_.async_wait(kAsTuple);
      const auto limit = std::chrono::steady_clock::now() - self->options_.idle_timeout;
      boost::system::error_code ignored;
      for (const auto& [connection, idle_since] : self->connections_) {
        if (idle_since < limit) connection->socket.close(ignored);
      }
    }
  }

  asio::any_io_executor executor_;
  Handler handler_;
  HttpServerOptions options_;
  std::shared_ptr<HttpProtocol> other_;
  bool stopped_ = false;
  bool sweeping_ = false;
  std::vector<std::shared_ptr<Acceptor>> acceptors_;
  std::unordered_map<Connection*, TimePoint> connections_;  // idle since; TimePoint::max() while at work
  asio::steady_timer sweep_timer_;
  std::vector<std::string> unix_paths_;
};

namespace {

class Exchange final : public HttpExchange {
 public:
  Exchange(Connection& connection, beast::flat_buffer& buffer, Parser& parser,
           const HttpServerOptions& options)
      : connection_(connection), buffer_(buffer), parser_(parser), options_(options) {
    const std::string_view target = without_authority(view(parser_.get().target()));
    const std::size_t mark = target.find('?');
    auto decoded = percent_decode(target.substr(0, mark), false);
    if (!decoded) throw HttpError(400, "The request target has a malformed percent escape.");
    path_ = std::move(*decoded);
    if (mark != std::string_view::npos) query_ = target.substr(mark + 1);
    keep_alive_ = parser_.get().keep_alive();
  }

  std::string_view method() const override { return view(parser_.get().method_string()); }
  std::string_view target() const override { return view(parser_.get().target()); }
  const std::string& path() const override { return path_; }

  std::optional<std::string> query(std::string_view name) const override { return query_value(query_, name); }

  std::string_view header(std::string_view name) const override {
    const auto found = parser_.get().find(beast::string_view(name.data(), name.size()));
    return found == parser_.get().end() ? std::string_view() : view(found->value());
  }

  std::vector<Header> headers() const override {
    std::vector<Header> all;
    for (const auto& field : parser_.get()) all.emplace_back(view(field.name_string()), view(field.value()));
    return all;
  }

  asio::awaitable<std::size_t> read_some(std::span<char> into) override {
    if (upgraded_) co_return co_await read_raw(into);
    if (parser_.is_done()) co_return 0;
    if (!continued_) {
      continued_ = true;
      if (beast::iequals(parser_.get()[http::field::expect], "100-continue")) {
        constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
        const Deadline deadline(connection_, options_.transfer_timeout);
        (void)co_await asio::async_write(connection_.socket, asio::buffer(kContinue), kAsTuple);
      }
    }
    auto& body = parser_.get().body();
    body.data = into.data();
    body.size = into.size();
    body.more = true;
    while (true) {
      const Deadline deadline(connection_, options_.transfer_timeout);
      auto [error, n] = co_await http::async_read_some(connection_.socket, buffer_, parser_, kAsTuple);
      const std::size_t got = into.size() - body.size;
      if (error == http::error::need_buffer) error = {};
      if (error) {
        keep_alive_ = false;
        if (error == http::error::body_limit) throw HttpError(413, "The request body is too large.");
        if (deadline.expired()) throw HttpError(408, "The request body did not arrive in time.");
        throw HttpError(400, "The request body broke off: " + error.message() + ".");
      }
      if (got > 0 || parser_.is_done()) co_return got;
    }
  }

  asio::awaitable<std::string> read_body(std::size_t limit) override {
    const auto length = parser_.content_length();
    if (length && *length > limit) {
      keep_alive_ = false;  // what is too much is not waited for either
      throw HttpError(413, "The request body of " + std::to_string(*length) + " bytes is over the limit of " +
                               std::to_string(limit) + ".");
    }
    std::string body;
    if (length) body.reserve(static_cast<std::size_t>(*length));
    std::array<char, 16 * 1024> piece;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
    while (true) {
      const std::size_t n = co_await read_some(piece);
      if (n == 0) break;
      if (body.size() + n > limit) {
        keep_alive_ = false;
        throw HttpError(413, "The request body is over the limit of " + std::to_string(limit) + " bytes.");
      }
      body.append(piece.data(), n);
    }
    co_return body;
  }

  asio::awaitable<void> reply(int status, std::string body, std::string_view content_type,
                              std::span<const Header> headers) override {
    // Whether the connection can go on must be known before the head is written.
    co_await drain();
    const std::string head = make_head(status, content_type, body.size(), headers);
    replied_ = true;
    const Deadline deadline(connection_, options_.transfer_timeout);
    const bool bare = is_head() || status == 204 || status == 304;
    const std::array<asio::const_buffer, 2> buffers{asio::buffer(head),
                                                    bare ? asio::const_buffer() : asio::buffer(body)};
    const auto [error, n] = co_await asio::async_write(connection_.socket, buffers, kAsTuple);
    if (error) abort();
  }

  asio::awaitable<bool> start(int status, std::string_view content_type, std::optional<std::uint64_t> length,
                              std::span<const Header> headers) override {
    co_await drain();
    chunked_ = !length && parser_.get().version() >= 11;
    if (!length && !chunked_) keep_alive_ = false;  // HTTP/1.0: the end of the connection ends the body
    const std::string head = make_head(status, content_type, length, headers);
    replied_ = true;
    co_return co_await send(asio::buffer(head));
  }

  asio::awaitable<bool> write(std::span<const char> data) override {
    if (data.empty() || is_head()) co_return !broken_;
    if (!chunked_) co_return co_await send(asio::buffer(data.data(), data.size()));
    std::array<char, 20> size;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
    char* end = std::to_chars(size.data(), size.data() + 16, data.size(), 16).ptr;
    *end++ = '\r';
    *end++ = '\n';
    const std::array<asio::const_buffer, 3> buffers{
        asio::buffer(size.data(), static_cast<std::size_t>(end - size.data())),
        asio::buffer(data.data(), data.size()), asio::buffer("\r\n", 2)};
    co_return co_await send(buffers);
  }

  asio::awaitable<bool> finish() override { co_return co_await finish_with({}); }

  asio::awaitable<bool> finish_with(std::span<const Header> trailers) override {
    if (!chunked_ || is_head()) co_return !broken_;
    std::string end = "0\r\n";
    for (const auto& [name, value] : trailers) end.append(name).append(": ").append(value).append("\r\n");
    end.append("\r\n");
    co_return co_await send(asio::buffer(end));
  }

  asio::awaitable<bool> upgrade(std::span<const Header> headers) override {
    if (parser_.get().version() < 11 || !parser_.is_done()) co_return false;
    std::string head = "HTTP/1.1 101 Switching Protocols\r\n";
    for (const auto& [name, value] : headers) head.append(name).append(": ").append(value).append("\r\n");
    head.append("\r\n");
    replied_ = true;
    upgraded_ = true;
    keep_alive_ = false;
    co_return co_await send(asio::buffer(head));
  }

  bool peer_gone() const override {
    pollfd entry{connection_.socket.native_handle(), POLLRDHUP, 0};
    return !connection_.socket.is_open() || ::poll(&entry, 1, 0) > 0;
  }

  void abort() override {
    broken_ = true;
    keep_alive_ = false;
    connection_.close();
  }

  bool replied() const override { return replied_; }
  [[nodiscard]] bool keep_alive() const { return keep_alive_ && !broken_; }

 private:
  [[nodiscard]] bool is_head() const { return parser_.get().method() == http::verb::head; }

  template <class Buffers>
  asio::awaitable<bool> send(const Buffers& buffers) {
    if (broken_) co_return false;
    const Deadline deadline(connection_, options_.transfer_timeout);
    const auto [error, n] = co_await asio::async_write(connection_.socket, buffers, kAsTuple);
    if (error) abort();
    co_return !error;
  }

  // Of a connection that no longer speaks HTTP: silence may be long.
  asio::awaitable<std::size_t> read_raw(std::span<char> into) {
    if (buffer_.size() > 0) {
      const std::size_t n = asio::buffer_copy(asio::buffer(into.data(), into.size()), buffer_.data());
      buffer_.consume(n);
      co_return n;
    }
    const auto [error, n] =
        co_await connection_.socket.async_read_some(asio::buffer(into.data(), into.size()), kAsTuple);
    co_return error ? 0 : n;
  }

  // Takes the rest of a body that the handler left, so that the next request starts where it should.
  asio::awaitable<void> drain() {
    if (parser_.is_done() || !keep_alive_) co_return;
    if (!continued_ && beast::iequals(parser_.get()[http::field::expect], "100-continue")) {
      keep_alive_ = false;  // the client still waits for leave to send it
      co_return;
    }
    std::array<char, 16 * 1024> scrap;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
    std::size_t total = 0;
    try {
      while (true) {
        const std::size_t n = co_await read_some(scrap);
        if (n == 0) break;
        total += n;
        if (total > kMaxDrain) {
          keep_alive_ = false;
          break;
        }
      }
    } catch (const HttpError&) {
      keep_alive_ = false;  // the reply may still reach a peer that only stopped sending
    }
  }

  std::string make_head(int status, std::string_view content_type, std::optional<std::uint64_t> length,
                        std::span<const Header> headers) const {
    std::string head = "HTTP/1.1 ";
    head.append(std::to_string(status)).append(" ").append(reason_phrase(status)).append("\r\n");
    if (!content_type.empty()) head.append("Content-Type: ").append(content_type).append("\r\n");
    if (length) {
      if (status != 204) head.append("Content-Length: ").append(std::to_string(*length)).append("\r\n");
    } else if (parser_.get().version() >= 11) {
      head.append("Transfer-Encoding: chunked\r\n");
    }
    for (const auto& [name, value] : headers) head.append(name).append(": ").append(value).append("\r\n");
    if (!keep_alive_) {
      head.append("Connection: close\r\n");
    } else if (parser_.get().version() < 11) {
      head.append("Connection: keep-alive\r\n");
    }
    return head.append("\r\n");
  }

  Connection& connection_;
  beast::flat_buffer& buffer_;
  Parser& parser_;
  const HttpServerOptions& options_;
  std::string path_;
  std::string_view query_;
  bool keep_alive_ = true;
  bool continued_ = false;
  bool replied_ = false;
  bool chunked_ = false;
  bool broken_ = false;
  bool upgraded_ = false;
};

// Beast's own reader takes no account of header lines it has already stored, so many small ones would grow
// without limit.
asio::awaitable<boost::system::error_code> read_head(Connection& connection, beast::flat_buffer& buffer,
                                                     Parser& parser, std::size_t limit) {
  boost::system::error_code error;
  std::size_t size = 0;
  while (true) {
    if (buffer.size() > 0) {
      const std::size_t used = parser.put(buffer.data(), error);
      buffer.consume(used);
      size += used;
      if (error && error != http::error::need_more) co_return error;
      const bool done = parser.is_header_done();
      if (size + (done ? 0 : buffer.size()) > limit)
        co_return http::make_error_code(http::error::header_limit);
      if (done) co_return boost::system::error_code();
    }
    std::size_t n = 0;
    std::tie(error, n) = co_await connection.socket.async_read_some(buffer.prepare(kHeadPiece), kAsTuple);
    if (error) co_return error;
    buffer.commit(n);
  }
}

// Whether the connection begins with the preface; reads no further than it takes to tell.
asio::awaitable<bool> begins_with(Connection& connection, beast::flat_buffer& buffer,
                                  std::string_view preface, std::chrono::milliseconds timeout) {
  const Deadline deadline(connection, timeout);
  while (true) {
    const std::string_view begun(static_cast<const char*>(buffer.data().data()), buffer.size());
    if (begun.substr(0, preface.size()) != preface.substr(0, begun.size())) co_return false;
    if (begun.size() >= preface.size()) co_return true;
    const auto [error, n] = co_await connection.socket.async_read_some(buffer.prepare(kHeadPiece), kAsTuple);
    if (error) co_return false;
    buffer.commit(n);
  }
}

asio::awaitable<void> refuse(Connection& connection, int status, std::string_view detail) {
  const std::string body = error_body(detail);
  const std::string head =
      "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason_phrase(status)) +
      "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\nConnection: close\r\n\r\n";
  const std::array<asio::const_buffer, 2> buffers{asio::buffer(head), asio::buffer(body)};
  const Deadline deadline(connection, std::chrono::seconds(5));
  (void)co_await asio::async_write(connection.socket, buffers, kAsTuple);
}

// Ends a connection whose peer may still be sending: a plain close would reset it and lose our reply.
asio::awaitable<void> linger(Connection& connection) {
  boost::system::error_code ignored;
  connection.socket.shutdown(asio::socket_base::shutdown_send, ignored);
  std::array<char, 16 * 1024> scrap;  // NOLINT(cppcoreguidelines-pro-type-member-init): never read
  const Deadline deadline(connection, std::chrono::seconds(2));
  for (std::size_t total = 0; total < 64 * kMaxDrain;) {
    const auto [error, n] = co_await connection.socket.async_read_some(asio::buffer(scrap), kAsTuple);
    if (error) break;
    total += n;
  }
}

}  // namespace

asio::awaitable<void> HttpServer::Impl::serve(std::shared_ptr<Impl> self, Socket socket) {
  const auto shared = std::make_shared<Connection>(std::move(socket), self->executor_);
  Connection& connection = *shared;
  struct Registration {
    std::unordered_map<Connection*, TimePoint>& connections;
    Connection* connection;
    ~Registration() {
      connections.erase(connection);
      connection->close();
    }
  };
  TimePoint& idle_since = self->connections_.emplace(&connection, TimePoint::max()).first->second;
  const Registration registration{self->connections_, &connection};
  const HttpServerOptions& options = self->options_;

  beast::flat_buffer buffer(std::max(options.max_header_bytes, std::size_t{64 * 1024}));
  bool first = true;
  while (!self->stopped_) {
    if (buffer.size() == 0) {
      buffer.shrink_to_fit();  // an idle connection holds no memory
      idle_since = std::chrono::steady_clock::now();
      const auto [error] = co_await connection.socket.async_wait(Socket::wait_read, kAsTuple);
      idle_since = TimePoint::max();
      if (error) co_return;
    }
    if (first && self->other_) {
      const bool other =
          co_await begins_with(connection, buffer, self->other_->preface(), options.header_timeout);
      if (other) {
        std::string begun(static_cast<const char*>(buffer.data().data()), buffer.size());
        connection.session = self->other_->start(self->executor_, UniqueFd(connection.socket.release()),
                                                 std::move(begun), self->handler_, options);
        co_await connection.session->run();
        co_return;
      }
    }
    first = false;
    Parser parser;
    parser.header_limit(static_cast<std::uint32_t>(options.max_header_bytes));
    parser.body_limit(boost::none);  // handlers bound what they read
    boost::system::error_code error;
    bool too_slow = false;
    {
      const Deadline deadline(connection, options.header_timeout);
      error = co_await read_head(connection, buffer, parser, options.max_header_bytes);
      too_slow = deadline.expired();
    }
    if (error) {
      if (error == http::error::header_limit) {
        co_await refuse(connection, 431, "The request head is too large.");
        co_await linger(connection);
      } else if (too_slow) {
        co_await refuse(connection, 408, "The request head did not arrive in time.");
        co_await linger(connection);
      } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
                 error != http::error::end_of_stream && error != http::error::partial_message) {
        co_await refuse(connection, 400, "This is not an HTTP request: " + error.message() + ".");
        co_await linger(connection);
      }
      co_return;
    }

    std::optional<HttpError> failure;
    std::optional<Exchange> exchange;
    try {
      exchange.emplace(connection, buffer, parser, options);
      co_await self->handler_(*exchange);
      if (!exchange->replied()) failure.emplace(500, "The handler gave no reply.");
    } catch (const HttpError& caught) {
      failure = caught;
    } catch (const std::exception&) {
      failure.emplace(500, "An unexpected error occurred. Please try again later.");
    }
    if (!exchange) {
      co_await refuse(connection, failure->status(), failure->what());
      co_await linger(connection);
      co_return;
    }
    if (failure) {
      if (exchange->replied()) {
        exchange->abort();  // in mid-reply the only honest signal is a broken one
      } else {
        co_await exchange->reply(failure->status(), error_body(failure->what()), "application/json", {});
      }
    }
    if (!exchange->keep_alive()) {
      if (!parser.is_done() && connection.socket.is_open()) co_await linger(connection);
      boost::system::error_code ignored;
      connection.socket.shutdown(asio::socket_base::shutdown_both, ignored);
      co_return;
    }
  }
}

HttpServer::HttpServer(asio::any_io_executor executor, Handler handler, HttpServerOptions options,
                       std::shared_ptr<HttpProtocol> other)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(handler), options, std::move(other))) {}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::stop() {
  impl_->stop();
  impl_->remove_paths();
}

std::size_t HttpServer::connections() const noexcept {
  return impl_->connections();
}

void HttpServer::listen_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw Error(ErrorCode::invalid_argument, "listening on unix:" + path + ": the path must have 1 to " +
                                                 std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());

  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw system_error("listening on unix:" + path, errno);
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      throw Error(ErrorCode::conflict,
                  "listening on unix:" + path + ": something that is not a socket is there");
    }
    // Only a refusal says that nobody listens: one whose queue is full answers EAGAIN.
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
        errno != ECONNREFUSED) {
      throw Error(ErrorCode::conflict, "listening on unix:" + path + ": another process listens there");
    }
    ::unlink(path.c_str());
  }
  // The mode is that of the moment of bind; there is no window in which others could connect.
  const mode_t before = ::umask(0177);
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_error = errno;
  ::umask(before);
  if (bound != 0) throw system_error("listening on unix:" + path, bind_error);
  if (::listen(fd.get(), SOMAXCONN) != 0) throw system_error("listening on unix:" + path, errno);
  impl_->remember_path(path);
  impl_->listen(std::move(fd), AF_UNIX, 0);
}

std::uint16_t HttpServer::listen_tcp(const std::string& host, std::uint16_t port) {
  const std::string where = "listening on " + host + ":" + std::to_string(port);
  sockaddr_storage storage{};
  socklen_t size = 0;
  const std::string numeric = host == "localhost" ? "127.0.0.1" : host;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (::inet_pton(AF_INET, numeric.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, numeric.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    size = sizeof *v6;
  } else {
    throw Error(ErrorCode::invalid_argument, where + ": the host must be a numeric address or 'localhost'");
  }
  UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw system_error(where, errno);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    throw system_error(where, errno);
  }
  size = sizeof storage;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  const std::uint16_t bound = ntohs(storage.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
  impl_->listen(std::move(fd), storage.ss_family, IPPROTO_TCP);
  return bound;
}

void HttpServer::listen_descriptor(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    throw system_error("listening on descriptor " + std::to_string(fd), errno);
  }
  impl_->listen(UniqueFd(fd), storage.ss_family, storage.ss_family == AF_UNIX ? 0 : IPPROTO_TCP);
}

void HttpServer::serve_connection(UniqueFd connection) {
  impl_->adopt(std::move(connection));
}

std::string error_body(std::string_view detail) {
  return "{\"detail\":" +
         boost::json::serialize(boost::json::value(boost::json::string(utf8::sanitize(detail)))) + "}";
}

std::string_view without_authority(std::string_view target) noexcept {
  constexpr std::string_view kScheme = "http://";
  if (!target.starts_with(kScheme)) return target;
  const std::size_t path = target.find_first_of("/?", kScheme.size());
  return path == std::string_view::npos ? std::string_view("/") : target.substr(path);
}

std::optional<std::string> query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    const std::size_t equals = pair.find('=');
    const auto key = percent_decode(pair.substr(0, equals), true);
    if (key && *key == name) {
      if (equals == std::string_view::npos) return std::string();
      auto value = percent_decode(pair.substr(equals + 1), true);
      if (!value) throw HttpError(400, "The query parameter '" + *key + "' has a malformed percent escape.");
      return value;
    }
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  return std::nullopt;
}

std::string_view reason_phrase(int status) noexcept {
  const auto phrase = http::obsolete_reason(static_cast<http::status>(status));
  return phrase.empty() ? std::string_view("Status") : view(phrase);
}

}  // namespace sandkey::net
