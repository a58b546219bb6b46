#include "sandkey/providers/daytona/emulator/toolbox/proxy.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/emulator/exchange.h"
#include "sandkey/net/http_forward.h"
#include "sandkey/providers/daytona/emulator/toolbox/system.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <sys/socket.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace sandkey::daytona_toolbox {
namespace {

using Socket = asio::local::stream_protocol::socket;
constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = std::size_t{32} * 1024;

// The request as the port is to see it: without what led here.
class PortExchange final : public emulator::ForwardingExchange {
 public:
  PortExchange(net::HttpExchange& next, std::string target)
      : ForwardingExchange(next), target_(std::move(target)) {}
  std::string_view target() const override { return target_; }

 private:
  std::string target_;
};

ToolboxError no_answer(std::uint16_t port) {
  return {502, "BAD_GATEWAY", "nothing answers on port " + std::to_string(port)};
}

std::string with_query(std::string path, std::string_view target) {
  const std::size_t mark = target.find('?');
  return mark == std::string_view::npos ? path : path.append(target.substr(mark));
}

// Ours is where the port's bytes come and go; the other is taken for a connection to it.
std::pair<Socket, UniqueFd> make_link(const asio::any_io_executor& executor) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    throw internal_error("no sockets are left");
  UniqueFd theirs(ends[1]);
  return {Socket(executor, asio::local::stream_protocol(), ends[0]), std::move(theirs)};
}

void end(Socket& socket) {
  boost::system::error_code ignored;
  socket.shutdown(asio::socket_base::shutdown_both, ignored);
}

asio::awaitable<void> carry_in(Socket& socket, AgentStream& stream) {
  std::vector<char> piece(kPiece);
  try {
    while (true) {
      const auto [error, size] = co_await socket.async_read_some(asio::buffer(piece), kAsTuple);
      if (error) break;
      const bool taken = co_await stream.write(std::as_bytes(std::span(piece.data(), size)));
      if (!taken) break;
    }
    co_await stream.kill();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;  // else nothing listens there, or it is over
  }
}

asio::awaitable<void> carry_out(Socket& socket, AgentStream& stream, TaskGroup& tasks) {
  const ExecSink sink = [&socket](std::size_t, std::span<const std::byte> bytes) -> asio::awaitable<void> {
    (void)co_await asio::async_write(socket, asio::buffer(bytes.data(), bytes.size()), kAsTuple);
  };
  const std::function<void()> on_started = [&] { tasks.spawn(carry_in(socket, stream)); };
  try {
    (void)co_await stream.follow(sink, on_started);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
  }
  end(socket);
}

}  // namespace

std::optional<ProxyTarget> parse_proxy_path(std::string_view path) {
  constexpr std::string_view kBegin = "/proxy/";
  if (!path.starts_with(kBegin)) return std::nullopt;
  path.remove_prefix(kBegin.size());
  const std::size_t slash = std::min(path.find('/'), path.size());
  const std::string_view text = path.substr(0, slash);
  ProxyTarget target;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), target.port);
  if (error != std::errc() || rest != text.data() + text.size()) target.port = 0;
  target.path = slash == path.size() ? "/" : std::string(path.substr(slash));
  return target;
}

asio::awaitable<void> pass_to_port(net::HttpExchange& exchange, MachineView& view, ProxyTarget target) {
  if (target.port == 0) throw bad_request("invalid port");
  // The agent's client would try again for a while: to it a port that nobody listens on may be a server that
  // starts.
  const std::set<std::uint16_t> ports = co_await listening_ports(view);
  if (!ports.contains(target.port)) throw no_answer(target.port);
  const std::unique_ptr<AgentStream> stream = view.agent().dial(target.port);
  auto [socket, theirs] = make_link(view.executor());
  PortExchange shown(exchange, with_query(std::move(target.path), exchange.target()));
  net::ForwardOptions options;
  options.host = "localhost:" + std::to_string(target.port);
  TaskGroup tasks(view.engine(), view.executor());
  tasks.spawn(carry_out(socket, *stream, tasks));
  auto result = net::Forwarded::no_answer;
  const auto forwarding = [&]() -> asio::awaitable<void> {
    result = co_await net::forward(shown, view.executor(), std::move(theirs), std::move(options));
    end(socket);
    tasks.cancel();
  };
  co_await tasks.run(forwarding());
  if (result == net::Forwarded::no_answer && !exchange.replied()) throw no_answer(target.port);
}

}  // namespace sandkey::daytona_toolbox
