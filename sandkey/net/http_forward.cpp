#include "sandkey/net/http_forward.h"

#include <boost/asio/as_tuple.hpp>
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

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace sandkey::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Protocol = asio::generic::stream_protocol;
using Socket = asio::basic_stream_socket<Protocol>;
using Parser = http::response_parser<http::buffer_body>;
using Header = HttpExchange::Header;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = 32 * 1024;
// A server that answers before it has read the body, and reads no more of it either, is given up.
constexpr std::chrono::seconds kBodyPatience{60};
// How often it is looked whether the client is still there.
constexpr std::chrono::milliseconds kLook{50};

std::string lower(std::string_view text) {
  std::string made(text);
  std::ranges::transform(made, made.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return made;
}

// Between two neighbours only (RFC 9110, 7.6.1).
bool is_hop_header(std::string_view name) {
  for (const std::string_view each : {"connection", "keep-alive", "proxy-connection", "transfer-encoding",
                                      "te", "trailer", "upgrade", "expect"}) {
    if (name == each) return true;
  }
  return false;
}

bool asks_for_upgrade(const HttpExchange& exchange) {
  return lower(exchange.header("connection")).find("upgrade") != std::string::npos &&
         !exchange.header("upgrade").empty();
}

struct Link {
  Link(const asio::any_io_executor& executor, UniqueFd fd)
      : socket(executor), done(executor), look(executor) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    socket.assign(Protocol(storage.ss_family, 0), fd.release());
  }

  void close() noexcept {
    boost::system::error_code ignored;
    socket.shutdown(asio::socket_base::shutdown_both, ignored);
    socket.close(ignored);
  }

  Socket socket;
  beast::flat_buffer buffer;
  asio::steady_timer done;  // cancelled when the other direction has ended
  // The other direction refers to the exchange, which is for one operation at a time. False: it does not end.
  asio::awaitable<bool> wait_for_other(std::chrono::seconds patience) {
    const auto limit = std::chrono::steady_clock::now() + patience;
    while (sending && std::chrono::steady_clock::now() < limit) {
      done.expires_at(limit);
      (void)co_await done.async_wait(kAsTuple);
    }
    co_return !sending;
  }
  bool sending = false;

  asio::steady_timer look;
  bool looking = true;  // else the exchange may be gone, or somebody reads from it anyway
};

// Closes the link when the client has left: nobody else would notice while the server thinks.
void watch_client(std::shared_ptr<Link> link, const HttpExchange& exchange) {
  Link& on = *link;
  on.look.expires_after(kLook);
  on.look.async_wait([link = std::move(link), &exchange](boost::system::error_code error) mutable {
    if (error || !link->looking) return;
    if (!exchange.peer_gone()) return watch_client(std::move(link), exchange);
    link->close();
  });
}

void stop_watching(Link& link) {
  link.looking = false;
  link.look.cancel();
}

std::string request_head(const HttpExchange& exchange, const ForwardOptions& options, bool chunked) {
  std::string head(exchange.method());
  head.append(" ").append(without_authority(exchange.target())).append(" HTTP/1.1\r\n");
  const std::string host = options.host.empty() ? std::string(exchange.header("host")) : options.host;
  head.append("Host: ").append(host).append("\r\n");
  for (const auto& [name, value] : exchange.headers()) {
    const std::string key = lower(name);
    if (key == "host" || is_hop_header(key)) continue;
    if (std::ranges::find(options.dropped_headers, key) != options.dropped_headers.end()) continue;
    head.append(name).append(": ").append(value).append("\r\n");
  }
  if (asks_for_upgrade(exchange)) {
    head.append("Connection: Upgrade\r\nUpgrade: ").append(exchange.header("upgrade")).append("\r\n");
  } else {
    head.append("Connection: close\r\n");
  }
  if (chunked) {
    head.append("Transfer-Encoding: chunked\r\n");
  } else if (exchange.header("content-length").empty() && exchange.method().starts_with('P')) {
    head.append("Content-Length: 0\r\n");  // POST, PUT, PATCH
  }
  return head.append("\r\n");
}

asio::awaitable<bool> send(Link& link, std::string_view bytes) {
  const auto [error, n] =
      co_await asio::async_write(link.socket, asio::buffer(bytes.data(), bytes.size()), kAsTuple);
  co_return !error;
}

// What goes over the wire for a piece of a body without a length.
std::string chunk_of(std::span<const char> piece) {
  std::array<char, 20> size{};
  char* end = std::to_chars(size.data(), size.data() + size.size(), piece.size(), 16).ptr;
  std::string text(size.data(), end);
  return text.append("\r\n").append(piece.data(), piece.size()).append("\r\n");
}

// The request's body, after its head, beginning with what was read of it already. Runs beside the reading of
// the answer, which waits for its end.
asio::awaitable<void> send_body(std::shared_ptr<Link> link, HttpExchange& exchange, bool chunked,
                                std::vector<char> first) {
  std::vector<char> piece = std::move(first);
  std::size_t n = piece.size();
  piece.resize(kPiece);
  bool good = true;
  try {
    while (good) {
      if (n == 0) n = co_await exchange.read_some(piece);
      if (n == 0) break;
      const std::string_view plain(piece.data(), n);
      const std::string framed = chunked ? chunk_of(plain) : std::string();
      const std::string_view bytes = chunked ? std::string_view(framed) : plain;
      good = co_await send(*link, bytes);
      n = 0;
    }
    if (good && chunked) (void)co_await send(*link, "0\r\n\r\n");
  } catch (const HttpError&) {
    link->close();  // the client broke off, and so do we
  }
  link->sending = false;
  link->done.cancel();
}

asio::awaitable<bool> read_head(Link& link, Parser& parser, std::chrono::milliseconds timeout) {
  asio::steady_timer patience(link.socket.get_executor(), timeout);
  patience.async_wait([&link](boost::system::error_code error) {
    if (!error) link.close();
  });
  boost::system::error_code error;
  std::size_t n = 0;
  std::tie(error, n) = co_await http::async_read_header(link.socket, link.buffer, parser, kAsTuple);
  co_return patience.cancel() == 1 && !error;
}

std::vector<std::pair<std::string, std::string>> answer_headers(const Parser& parser) {
  std::vector<std::pair<std::string, std::string>> headers;
  for (const auto& field : parser.get()) {
    const std::string_view name(field.name_string().data(), field.name_string().size());
    const std::string key = lower(name);
    if (is_hop_header(key) || key == "content-length" || key == "content-type") continue;
    headers.emplace_back(name, std::string_view(field.value().data(), field.value().size()));
  }
  return headers;
}

// Reads of the answer's body into the buffer; nothing at its end. False: it broke off.
asio::awaitable<bool> read_piece(Link& link, Parser& parser, std::span<char> into, std::size_t* got) {
  *got = 0;
  while (*got == 0 && !parser.is_done()) {
    auto& body = parser.get().body();
    body.data = into.data();
    body.size = into.size();
    const auto [error, n] = co_await http::async_read_some(link.socket, link.buffer, parser, kAsTuple);
    *got = into.size() - body.size;
    if (error == http::error::need_buffer) continue;
    if (error) co_return false;
  }
  co_return true;
}

asio::awaitable<void> pass_body(Link& link, Parser& parser, HttpExchange& exchange) {
  std::vector<char> piece(kPiece);
  while (true) {
    std::size_t n = 0;
    const bool good = co_await read_piece(link, parser, piece, &n);
    if (!good) {
      exchange.abort();
      co_return;
    }
    if (n == 0) break;
    const bool there = co_await exchange.write(std::span(piece.data(), n));
    if (!there) co_return;
  }
  (void)co_await exchange.finish();
}

// ---- A protocol that was switched to

asio::awaitable<void> carry_to_server(std::shared_ptr<Link> link, HttpExchange& exchange) {
  std::vector<char> piece(kPiece);
  while (true) {
    const std::size_t n = co_await exchange.read_some(piece);
    if (n == 0) break;
    const std::string_view bytes(piece.data(), n);
    const bool good = co_await send(*link, bytes);
    if (!good) break;
  }
  link->close();
  link->sending = false;
  link->done.cancel();
}

asio::awaitable<void> carry_to_client(Link& link, HttpExchange& exchange) {
  std::vector<char> piece(kPiece);
  std::size_t n = asio::buffer_copy(asio::buffer(piece), link.buffer.data());
  link.buffer.consume(n);
  boost::system::error_code error;
  while (!error) {
    if (n > 0) {
      const bool there = co_await exchange.write(std::span(piece.data(), n));
      if (!there) break;
    }
    std::tie(error, n) = co_await link.socket.async_read_some(asio::buffer(piece), kAsTuple);
  }
  exchange.abort();  // ends the other direction as well
}

asio::awaitable<Forwarded> switch_protocols(std::shared_ptr<Link> link, const asio::any_io_executor& executor,
                                            const Parser& parser, HttpExchange& exchange) {
  std::vector<std::pair<std::string, std::string>> headers = answer_headers(parser);
  headers.emplace_back("Connection", "Upgrade");
  headers.emplace_back("Upgrade", std::string(parser.get()[http::field::upgrade]));
  const std::vector<Header> views(headers.begin(), headers.end());
  const bool upgraded = co_await exchange.upgrade(views);
  if (!upgraded) co_return Forwarded::no_answer;
  stop_watching(*link);
  link->sending = true;
  asio::co_spawn(executor, carry_to_server(link, exchange), asio::detached);
  co_await carry_to_client(*link, exchange);
  co_return Forwarded::answered;
}

asio::awaitable<Forwarded> exchange_messages(std::shared_ptr<Link> link,
                                             const asio::any_io_executor& executor, HttpExchange& exchange,
                                             const ForwardOptions& options) {
  const std::string_view method = exchange.method();
  const bool has_length = !exchange.header("content-length").empty();
  // Without a length only its first piece tells whether there is a body; many a server takes no empty chunks.
  std::vector<char> first;
  if (!has_length && !asks_for_upgrade(exchange)) {
    first.resize(kPiece);
    const std::size_t n = co_await exchange.read_some(first);
    first.resize(n);
  }
  const bool has_body = has_length || !first.empty();
  const std::string head = request_head(exchange, options, has_body && !has_length);
  const bool sent = co_await send(*link, head);
  if (!sent) co_return Forwarded::no_answer;
  const bool upgrade = asks_for_upgrade(exchange);
  if (has_body && !upgrade) {
    link->sending = true;
    asio::co_spawn(executor, send_body(link, exchange, !has_length, std::move(first)), asio::detached);
  }
  std::optional<Parser> parser;
  while (true) {
    parser.emplace();
    parser->header_limit(static_cast<std::uint32_t>(options.max_header_bytes));
    parser->body_limit(boost::none);
    if (method == "HEAD") parser->skip(true);
    const bool good = co_await read_head(*link, *parser, options.head_timeout);
    if (!good) co_return Forwarded::no_answer;
    const unsigned status = parser->get().result_int();
    if (status == 101 && upgrade) co_return co_await switch_protocols(link, executor, *parser, exchange);
    if (status >= 200) break;  // those before it announce it
  }
  const bool body_sent = co_await link->wait_for_other(kBodyPatience);
  if (!body_sent) co_return Forwarded::no_answer;
  const std::vector<std::pair<std::string, std::string>> headers = answer_headers(*parser);
  const std::vector<Header> views(headers.begin(), headers.end());
  const auto length = parser->content_length();
  const std::string type(parser->get()[http::field::content_type]);
  const unsigned status = parser->get().result_int();
  std::optional<std::uint64_t> announced;
  if (length) announced = *length;
  if (status == 204 || status == 304) announced = 0;
  const bool started = co_await exchange.start(static_cast<int>(status), type, announced, views);
  if (started) co_await pass_body(*link, *parser, exchange);
  co_return Forwarded::answered;
}

}  // namespace

asio::awaitable<Forwarded> forward(HttpExchange& exchange, asio::any_io_executor executor, UniqueFd server,
                                   ForwardOptions options) {
  (void)::fcntl(server.get(), F_SETFL, O_NONBLOCK);
  const auto link = std::make_shared<Link>(executor, std::move(server));
  watch_client(link, exchange);
  const Forwarded result = co_await exchange_messages(link, executor, exchange, options);
  stop_watching(*link);
  link->close();
  (void)co_await link->wait_for_other(
      std::chrono::hours(24));  // a read of the client's has a limit of its own
  co_return result;
}

}  // namespace sandkey::net
