// An HTTP client for coroutines: libcurl, driven by the engine's event loops.
//
//   HttpClient http(engine);
//   HttpRequest request{.url = endpoint.url("/alive"), .unix_socket = endpoint.unix_socket()};
//   request.headers.set("X-API-Key", key);
//   request.deadline = engine.in(5s);
//   const HttpResponse response = co_await http.send(std::move(request));
//
// Connections are kept and shared by all requests of a client on one io thread. Over https they speak HTTP/2
// where the server does, and then one connection carries many requests at once. A status such as 404 or 500
// is an answer, not an error; redirects are not followed (redirect_error() words one).
//
// Proxies come from the options or from the engine's environment (http_proxy, https_proxy, all_proxy,
// no_proxy), but loopback hosts and Unix sockets are always reached directly. Trusted authorities come from
// the options or from the engine's environment (CURL_CA_BUNDLE, or SSL_CERT_FILE and SSL_CERT_DIR), else they
// are the system's. Both are read when the client is made; network_settings.h has the rules, and
// describe_network() tells people what came of them.
//
// Errors, all of them sandkey::Error with the request's `operation`:
//   invalid_argument   the request itself is malformed; nothing was sent
//   unavailable        no connection, or none that is secure (processed: no);
//                      or it broke (processed: unknown)
//   deadline_exceeded  processed: no if nothing had been sent
//   protocol           what came back is not HTTP, or is larger than allowed
//   cancelled          by the caller, or the client was destroyed
// Those that no repeat can cure are marked so (ErrorContext::permanent): a certificate that is not trusted,
// has expired or is for another host, trusted authorities that cannot be read, a proxy that says no.
// Messages name operation and host; never a header, a query or a body.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/base/secret.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey {

// All bytes of one response's status line, headers and trailers.
inline constexpr std::size_t kMaxResponseHeader = 64 * 1024;
// What a stream holds of a body its reader has not asked for yet; then the server has to wait.
inline constexpr std::size_t kStreamBuffer = 128 * 1024;
// The most a body source is asked for at once.
inline constexpr std::size_t kUploadBuffer = 128 * 1024;
inline constexpr std::size_t kDefaultMaxResponseBody = 16 * 1024 * 1024;

// A request's headers. Any value may be a secret, so all are kept as such: wiped at the end, and never
// copied, since clones share the values. (libcurl's own request buffer is not wiped.)
class HttpHeaders {
 public:
  HttpHeaders() = default;
  HttpHeaders(std::initializer_list<std::pair<std::string_view, std::string_view>> headers);

  // Replaces a header of that name. Throws Error(invalid_argument), naming the header and not its value, for
  // a name that is none, and for line breaks or NUL in the value.
  void set(std::string_view name, std::string_view value) { put(name, {}, value); }
  // Value: the prefix ("Bearer "), then the secret.
  void set(std::string_view name, const Secret& value, std::string_view prefix = {}) {
    put(name, prefix, value.expose());
  }
  // Takes over all of the other's, in place of those with the same names.
  void set_all(const HttpHeaders& other);
  void erase(std::string_view name);
  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return lines_.size(); }
  [[nodiscard]] HttpHeaders clone() const;
  // The same lines in the same order.
  [[nodiscard]] bool operator==(const HttpHeaders& other) const noexcept;
  // The text with "***" for every word of a value in it; words of less than eight bytes are no secrets.
  [[nodiscard]] std::string mask(std::string text) const;

 private:
  friend class HttpClient;
  void put(std::string_view name, std::string_view prefix, std::string_view value);

  std::vector<std::shared_ptr<const Secret>> lines_;  // "Name: value" and a NUL, as curl wants it
};

// Fills the buffer with the next bytes of a request's body and gives their number; 0 is the end.
// Runs on the request's io thread; cancelled when the request ends without needing the rest.
using HttpBodySource = std::function<asio::awaitable<std::size_t>(std::span<std::byte>)>;

struct HttpRequest {
  std::string method = "GET";
  std::string url = {};          // http or https, percent-encoded, without user name or password
  std::string unix_socket = {};  // path of the socket to connect to instead of the URL's host
  HttpHeaders headers = {};
  std::string body = {};
  // Instead of `body`; never repeated. An error status ends the request before the source does; a success
  // does so only with "Connection: close" or over HTTP/2.
  HttpBodySource source = {};
  // The source's length. Without one the body is sent in chunks. A source that gives more or less fails the
  // request with invalid_argument.
  std::optional<std::uint64_t> source_size = std::nullopt;
  Deadline deadline = kNoDeadline;  // for everything, up to the last byte of the response
  std::size_t max_response_body = kDefaultMaxResponseBody;  // send() only
  std::string operation = {};  // for messages: "list sandboxes"; the method if empty
  // Whether the request may be carried out twice, because it only reads, is idempotent, or has a key by which
  // the server knows it again. Repeats happen when a kept connection breaks, and as a RetryPolicy says. By
  // default true for the methods HTTP calls idempotent, and so false for POST and PATCH.
  std::optional<bool> repeatable = std::nullopt;

  // With a source never.
  [[nodiscard]] bool may_repeat() const noexcept;
  // Throws Error(invalid_argument) for a request with a source.
  [[nodiscard]] HttpRequest clone() const;
};

// A response's headers, in their order. Names are compared without regard to case.
class HttpResponseHeaders {
 public:
  HttpResponseHeaders() = default;
  HttpResponseHeaders(std::initializer_list<std::pair<std::string_view, std::string_view>> headers);

  // The first of that name, without surrounding blanks. Valid as long as this object is unchanged.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
  [[nodiscard]] std::vector<std::string_view> find_all(std::string_view name) const;
  [[nodiscard]] std::vector<std::pair<std::string_view, std::string_view>> list() const;
  [[nodiscard]] std::size_t size() const noexcept { return fields_.size(); }

 private:
  friend class HttpClient;
  friend class HttpStream;
  struct Field {
    std::uint32_t name, name_size, value, value_size;  // within text_
  };
  struct Part {
    std::size_t at, size;  // within a line
  };
  void clear() noexcept;
  void append(std::string_view name, std::string_view value);
  void append_line(std::string_view line);
  void keep(std::string_view line, Part name, Part value);
  [[nodiscard]] std::string_view name_of(const Field& field) const noexcept {
    return std::string_view(text_).substr(field.name, field.name_size);
  }
  [[nodiscard]] std::string_view value_of(const Field& field) const noexcept {
    return std::string_view(text_).substr(field.value, field.value_size);
  }

  std::string text_;
  std::vector<Field> fields_;
};

struct HttpResponse {
  int status = 0;
  HttpResponseHeaders headers;
  std::string body;
};

// A response whose body is still coming. Used on the io thread it was opened on, by one reader at a time;
// must not outlive the engine. Destroying it gives up the rest.
class HttpStream {
 public:
  HttpStream(HttpStream&&) noexcept;
  HttpStream& operator=(HttpStream&&) noexcept;
  ~HttpStream();

  [[nodiscard]] int status() const noexcept;
  [[nodiscard]] const HttpResponseHeaders& headers() const noexcept;

  // At least one byte of the body, or 0 at its end (or for an empty buffer). While nobody reads, the server
  // is made to wait once kStreamBuffer is full. Cancelling a read loses nothing: the next one goes on where
  // it would have.
  asio::awaitable<std::size_t> read_some(std::span<std::byte> buffer);
  // The rest of the body; throws Error(protocol) when it is longer than `limit`.
  asio::awaitable<std::string> read_all(std::size_t limit = kDefaultMaxResponseBody);
  // Ends the exchange and waits until the request's body source, which may still be running, has ended.
  // Needed before anything goes that the source refers to; harmless otherwise.
  asio::awaitable<void> close();

 private:
  friend class HttpClient;
  struct Impl;
  explicit HttpStream(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

// The words for a redirect, which is followed nowhere since it would carry a credential to another place: an
// Error(protocol) that names the place it points to, without path and query.
[[nodiscard]] Error redirect_error(std::string_view operation, int status,
                                   const HttpResponseHeaders& headers);

// Whatever carries requests: an HttpClient, or what stands before one (transport.h).
class HttpTransport {
 public:
  HttpTransport() = default;
  virtual ~HttpTransport() = default;
  HttpTransport(const HttpTransport&) = delete;
  HttpTransport& operator=(const HttpTransport&) = delete;

  // The whole exchange. A body over max_response_body is an Error(protocol).
  // Must be awaited on one of the engine's threads; the same goes for open().
  virtual asio::awaitable<HttpResponse> send(HttpRequest request) = 0;

  // Returns when the response's headers are there. A body source may run on after that; see
  // HttpStream::close().
  virtual asio::awaitable<HttpStream> open(HttpRequest request) = 0;
};

struct HttpClientOptions {
  // Certificates to trust, and no others, as PEM: a file, or the text itself. Not both. Before all that the
  // environment says.
  std::string ca_file = {};
  std::string ca_pem = {};
  std::chrono::milliseconds connect_timeout{30'000};
  std::size_t max_idle_connections = 1024;  // per io thread
  std::string proxy = {};                   // http://HOST:PORT, before all that the environment says
  bool proxy_from_environment = true;
};

// Usable from every io thread of its engine at once. The engine must outlive it; requests in flight when it
// is destroyed end as cancelled.
class HttpClient final : public HttpTransport {
 public:
  explicit HttpClient(Engine& engine, HttpClientOptions options = {});
  ~HttpClient() override;

  // Loads libcurl, which the first client does otherwise, and which takes 6 ms: for a thread that would only
  // wait meanwhile. Throws Error(unsupported) where it is not installed, as the constructor does.
  static void preload();
  [[nodiscard]] static bool is_loaded() noexcept;

  asio::awaitable<HttpResponse> send(HttpRequest request) override;
  asio::awaitable<HttpStream> open(HttpRequest request) override;

 private:
  friend class HttpStream;
  class Loop;
  struct Transfer;
  class Lease;
  std::shared_ptr<Loop> loop_here() const;

  Engine& engine_;
  std::vector<std::shared_ptr<Loop>> loops_;  // one for each io thread, used on that thread only
};

}  // namespace sandkey
