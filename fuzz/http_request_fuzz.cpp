// Bytes to the HTTP server: it answers in HTTP, ends the connection of a peer that has ended its side, and
// goes on serving others. What arrives as a body is also read as an action.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/io_context.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

using namespace sandkey;
namespace asio = boost::asio;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

asio::awaitable<void> handle(net::HttpExchange& exchange) {
  if (exchange.path() == "/well") {
    co_await exchange.reply(200, "well");
    co_return;
  }
  (void)exchange.query("a");
  (void)exchange.header("x-session-api-key");
  if (exchange.path().starts_with("/unread")) throw net::HttpError(403, exchange.path());
  const std::string body = co_await exchange.read_body(std::size_t{32} * 1024);
  std::string answer;
  int status = 200;
  try {
    answer = serialize(parse_action(parse_json(body, "the body")));
  } catch (const Error& error) {
    status = 400;
    answer = error.what();
    if (!utf8::is_valid(answer)) fail("an error message is not UTF-8");
  }
  if (exchange.path().starts_with("/stream")) {
    (void)co_await exchange.start(status, "text/plain");
    (void)co_await exchange.write(answer);
    (void)co_await exchange.finish();
  } else {
    co_await exchange.reply(status, std::move(answer));
  }
}

class Server {
 public:
  Server()
      : server_(
            context_.get_executor(), [](net::HttpExchange& exchange) { return handle(exchange); },
            options()) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address_.sun_family = AF_UNIX;  // and no path: the system chooses a name that is no file
    socklen_t size = sizeof(sa_family_t);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address_), size) != 0 || ::listen(fd, 10) != 0)
      fail("listen");
    size_ = sizeof address_;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address_), &size_);
    server_.listen_descriptor(fd);
  }

  // Sends, ends its side, and gives all that came back before the server ended its own.
  std::string talk(std::string_view bytes) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address_), size_) != 0) fail("connect");
    std::string received;
    std::array<char, 16 * 1024> buffer{};
    bool sending = true;
    // Everything happens in this thread, so each turn moves something: no more than this many are needed.
    for (int turn = 0; turn < 20'000; ++turn) {
      bool moved = context_.poll() > 0;
      if (sending && !bytes.empty()) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n > 0) {
          bytes.remove_prefix(static_cast<std::size_t>(n));
          moved = true;
        } else if (errno != EAGAIN) {
          bytes = {};  // it does not listen any more
        }
      }
      if (sending && bytes.empty()) {
        ::shutdown(fd, SHUT_WR);
        sending = false;
        moved = true;
      }
      const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (n > 0) {
        received.append(buffer.data(), static_cast<std::size_t>(n));
        moved = true;
      } else if (n == 0 || errno != EAGAIN) {
        ::close(fd);
        return received;
      }
      if (!moved) {
        pollfd entry{fd, POLLIN, 0};
        ::poll(&entry, 1, 1);
      }
    }
    fail("the connection does not end");
  }

 private:
  static net::HttpServerOptions options() {
    net::HttpServerOptions made;
    made.max_header_bytes = 2048;
    return made;
  }

  asio::io_context context_{1};
  net::HttpServer server_;
  sockaddr_un address_{};
  socklen_t size_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Server server;
  const std::string reply = server.talk({reinterpret_cast<const char*>(data), size});
  if (!reply.empty() && !reply.starts_with("HTTP/1.1 ")) fail("the reply is not HTTP");
  const std::string well = server.talk("GET /well HTTP/1.1\r\n\r\n");
  if (!well.starts_with("HTTP/1.1 200 OK\r\n") || !well.ends_with("\r\n\r\nwell"))
    fail("it does not serve any more");
  return 0;
}
