// A TCP connection to a port inside the sandbox as a Stream.
#include "sandkey/agent/streams/exec_stream.h"
#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <cerrno>
#include <vector>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = std::size_t{64} * 1024;

class DialStream final : public Stream, public std::enable_shared_from_this<DialStream> {
 public:
  DialStream(const asio::any_io_executor& executor, std::string id)
      : Stream(executor, std::move(id)), socket_(executor) {}

  asio::awaitable<void> connect(std::uint16_t port) {
    boost::system::error_code last;
    for (const asio::ip::address& host : {asio::ip::address(asio::ip::address_v4::loopback()),
                                          asio::ip::address(asio::ip::address_v6::loopback())}) {
      boost::system::error_code ignored;
      socket_.close(ignored);
      const auto [error] = co_await socket_.async_connect(tcp::endpoint(host, port), kAsTuple);
      if (!error) {
        socket_.set_option(tcp::no_delay(true), ignored);
        asio::co_spawn(executor_, pump(shared_from_this()), asio::detached);
        co_return;
      }
      if (!last) last = error;
    }
    throw Error(ErrorCode::unavailable, "connecting to port " + std::to_string(port) +
                                            " inside the sandbox: " + last.message() +
                                            "; does a server listen there?");
  }

  asio::awaitable<bool> write_input(std::span<const char> data) override {
    const auto self = shared_from_this();
    while (!data.empty()) {
      if (!input_open_) co_return false;
      const auto [error, n] =
          co_await socket_.async_write_some(asio::buffer(data.data(), data.size()), kAsTuple);
      input_offset_ += n;
      data = data.subspan(n);
      if (error == asio::error::operation_aborted && socket_.is_open()) co_return false;  // cancel_input()
      if (error) {
        input_open_ = false;
        co_return false;
      }
    }
    co_return true;
  }

  void close_input() override {
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    input_open_ = false;
  }

  void cancel_input() override {
    boost::system::error_code ignored;
    socket_.cancel(ignored);
  }

  void signal(int, bool) override {}
  void resize(unsigned, unsigned) override {}
  void kill() override {
    boost::system::error_code ignored;
    socket_.close(ignored);
    finish({{"error", "closed"}});
  }

 private:
  static asio::awaitable<void> pump(std::shared_ptr<DialStream> self) {
    std::vector<char> buffer(kPiece);
    while (true) {
      const bool room_left = co_await self->wait_for_room(kStdout);
      if (!room_left) break;
      const std::size_t room = std::min(kPiece, self->output(kStdout).room());
      const auto [error, n] =
          co_await self->socket_.async_read_some(asio::buffer(buffer.data(), room), kAsTuple);
      if (n > 0) self->produce(kStdout, {buffer.data(), n});
      if (error == asio::error::operation_aborted) continue;  // cancel_input(), or kill(), which finished
      if (error == asio::error::eof) {
        self->finish({});
      } else if (error) {
        self->finish({{"error", error.message()}});
      }
    }
  }

  tcp::socket socket_;
};

}  // namespace

asio::awaitable<std::shared_ptr<Stream>> dial(asio::any_io_executor executor, std::string id,
                                              std::uint16_t port) {
  auto stream = std::make_shared<DialStream>(executor, std::move(id));
  co_await stream->connect(port);
  co_return stream;
}

}  // namespace sandkey::agent
