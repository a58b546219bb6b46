// An HTTP/1.1 server on Unix and TCP sockets: one coroutine per connection, bounded in every direction.
//
// It knows nothing of routes. Beast stays behind this header; only http_server.cpp includes it. HTTP/2 and
// TLS plug in from libraries of their own (http2_protocol.h, tls_listener.h), so that a program which needs
// neither is not made larger by them.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::net {

struct HttpServerOptions {
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_connections = 15'000;
  std::chrono::milliseconds header_timeout{30'000};     // for a whole request head, from its first byte on
  std::chrono::milliseconds idle_timeout{300'000};      // between requests
  std::chrono::milliseconds transfer_timeout{120'000};  // for each piece of a body to move, either way
};

// What a handler throws to answer with a status and a JSON body {"detail": message}.
class HttpError : public std::runtime_error {
 public:
  HttpError(int status, const std::string& detail) : std::runtime_error(detail), status_(status) {}
  [[nodiscard]] int status() const noexcept { return status_; }

 private:
  int status_;
};

// One request and its reply. Handed to the handler by reference and valid until that returns. Not
// thread-safe; one operation at a time.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  [[nodiscard]] virtual std::string_view method() const = 0;
  [[nodiscard]] virtual std::string_view target() const = 0;  // as it came: undecoded, with its query
  [[nodiscard]] virtual const std::string& path() const = 0;  // percent-decoded
  // The first value of a query parameter, percent-decoded.
  [[nodiscard]] virtual std::optional<std::string> query(std::string_view name) const = 0;
  // Header names compare without case. Empty if absent.
  [[nodiscard]] virtual std::string_view header(std::string_view name) const = 0;
  using Header = std::pair<std::string_view, std::string_view>;
  // All of them in the order and spelling in which they came; a name may occur more than once.
  [[nodiscard]] virtual std::vector<Header> headers() const = 0;

  // Body bytes as they come; 0 at its end. Throws HttpError when the peer breaks off or is too slow.
  [[nodiscard]] virtual boost::asio::awaitable<std::size_t> read_some(std::span<char> buffer) = 0;
  // The whole body; HttpError(413) if it is longer than `limit`.
  [[nodiscard]] virtual boost::asio::awaitable<std::string> read_body(std::size_t limit) = 0;

  // The whole reply at once.
  [[nodiscard]] virtual boost::asio::awaitable<void> reply(int status, std::string body,
                                                           std::string_view content_type = "application/json",
                                                           std::span<const Header> headers = {}) = 0;
  // A reply in pieces: start, any number of writes, finish. Without a length it is chunked.
  // A write returns when the peer's socket took it, so a slow reader slows the writer. False: the peer is
  // gone.
  [[nodiscard]] virtual boost::asio::awaitable<bool> start(int status, std::string_view content_type,
                                                           std::optional<std::uint64_t> length = std::nullopt,
                                                           std::span<const Header> headers = {}) = 0;
  [[nodiscard]] virtual boost::asio::awaitable<bool> write(std::span<const char> data) = 0;
  [[nodiscard]] virtual boost::asio::awaitable<bool> finish() = 0;
  // The same with header fields after the body, for a reply without a length. What HTTP/1.0 cannot carry is
  // left out.
  [[nodiscard]] virtual boost::asio::awaitable<bool> finish_with(std::span<const Header> trailers) = 0;
  // Answers 101 with these headers (Connection and Upgrade among them). From then on the connection is the
  // handler's: read_some() gives what the peer sends, 0 at its end, and write() sends, both at once if
  // wanted. False, and nothing sent, where the protocol of the connection knows no such thing.
  [[nodiscard]] virtual boost::asio::awaitable<bool> upgrade(std::span<const Header> headers) = 0;
  // Whether the peer has left, or given this request up: seen without waiting, and while another operation
  // goes on. A peer that only stopped sending counts as one that left.
  [[nodiscard]] virtual bool peer_gone() const = 0;
  // Breaks the connection off, so that the peer sees an incomplete reply instead of a short one.
  virtual void abort() = 0;
  // True as soon as anything of the reply was sent.
  [[nodiscard]] virtual bool replied() const = 0;
};

using HttpHandler = std::function<boost::asio::awaitable<void>(HttpExchange&)>;

// Another protocol on the same listeners, told apart by what its connections begin with.
class HttpProtocol {
 public:
  virtual ~HttpProtocol() = default;

  [[nodiscard]] virtual std::string_view preface() const noexcept = 0;

  // One connection.
  class Session {
   public:
    virtual ~Session() = default;
    // Serves it to its end. Awaited once, by the server.
    [[nodiscard]] virtual boost::asio::awaitable<void> run() = 0;
    // Makes run() end, and the handlers' next operations fail.
    virtual void close() noexcept = 0;
  };
  // Takes over a connection of which `begun`, the preface or more, was read. `handler` and `options` are the
  // server's and outlive the session.
  [[nodiscard]] virtual std::shared_ptr<Session> start(boost::asio::any_io_executor executor,
                                                       UniqueFd connection, std::string begun,
                                                       const HttpHandler& handler,
                                                       const HttpServerOptions& options) = 0;
};

class HttpServer {
 public:
  using Handler = HttpHandler;

  // Connections run on `executor`, which must be a single thread's (or a strand). The handler answers each
  // request; what it throws becomes a 500 (HttpError: its status). `other` is spoken by those who begin with
  // it.
  HttpServer(boost::asio::any_io_executor executor, Handler handler, HttpServerOptions options = {},
             std::shared_ptr<HttpProtocol> other = nullptr);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // A socket file only its owner may use (0600). A stale one of ours is replaced; anything else there is an
  // error.
  void listen_unix(const std::string& path);
  // `host` is a numeric IPv4 or IPv6 address or "localhost"; port 0 lets the system choose. Returns the port.
  std::uint16_t listen_tcp(const std::string& host, std::uint16_t port);
  // Takes over a socket that already listens.
  void listen_descriptor(int fd);
  // Takes over a connection (a stream socket) that somebody else accepted. Closed if there are too many.
  void serve_connection(UniqueFd connection);

  // Closes listeners and connections. Handlers that are running see their next operation fail.
  void stop();

  [[nodiscard]] std::size_t connections() const noexcept;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

// {"detail": message}, the body of what HttpError becomes.
[[nodiscard]] std::string error_body(std::string_view detail);

// The standard phrase of a status, "Status" if it has none.
[[nodiscard]] std::string_view reason_phrase(int status) noexcept;

// The path of a target that names the server as well, as a request to a proxy does (RFC 9112, 3.2.2).
[[nodiscard]] std::string_view without_authority(std::string_view target) noexcept;

// The first value of that name in a query, percent-decoded. HttpError(400) for a malformed escape in it.
[[nodiscard]] std::optional<std::string> query_value(std::string_view query, std::string_view name);

}  // namespace sandkey::net
