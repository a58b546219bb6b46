// forward, url: ways to a port inside a sandbox.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/cli/values.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

using asio::ip::tcp;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = std::size_t{64} * 1024;
// A connection waits this long for a server inside, which may be starting.
constexpr std::chrono::seconds kDialTimeout{5};
constexpr std::chrono::seconds kEndTimeout{5};
constexpr std::chrono::milliseconds kPauseWithoutDescriptors{100};

// Carries connections that come to a port here to one inside.
class Forwarder {
 public:
  Forwarder(Context& context, Sandbox& sandbox, std::uint16_t port)
      : context_(context),
        sandbox_(sandbox),
        port_(port),
        acceptor_(context.engine().executor()),
        endings_(context.engine()) {}

  // None: the same number if it is free here, otherwise any. 0: any.
  void listen(std::optional<std::uint16_t> here) {
    boost::system::error_code error = try_listen(here.value_or(port_));
    if (error && !here) error = try_listen(0);
    if (error) {
      throw Error(ErrorCode::conflict, "listening on 127.0.0.1:" + std::to_string(here.value_or(0)) + ": " +
                                           error.message() + "; 0 takes a port that is free");
    }
  }
  [[nodiscard]] std::uint16_t port_here() const { return acceptor_.local_endpoint().port(); }

  // Until cancelled, or the sandbox is gone.
  asio::awaitable<void> serve() {
    TaskGroup connections(context_.engine(), co_await asio::this_coro::executor);
    const auto body = [&]() -> asio::awaitable<void> {
      while (!dead_) {
        tcp::socket socket(co_await asio::this_coro::executor);
        const auto [error] = co_await acceptor_.async_accept(socket, kAsTuple);
        if (error && !dead_) co_await context_.engine().sleep_for(kPauseWithoutDescriptors);
        if (!error) connections.spawn(carry(std::move(socket)));
      }
    };
    co_await connections.run(body());
    throw Error(ErrorCode::sandbox_dead, "forwarding to " + sandbox_.runtime->sid() +
                                             ": the sandbox does not answer any more; 'sandkey "
                                             "ls' shows what became of it");
  }

  // Streams whose connections were cut short end inside, too.
  asio::awaitable<void> finish() { return endings_.join(); }

 private:
  struct Progress {
    bool begun = false;
    bool ended = false;
  };

  boost::system::error_code try_listen(std::uint16_t port) {
    boost::system::error_code error;
    acceptor_.close(error);
    acceptor_.open(tcp::v4(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind({asio::ip::address_v4::loopback(), port}, error);
    if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
    return error;
  }

  static asio::awaitable<void> send(AgentStream& stream, tcp::socket& socket) {
    std::vector<std::byte> buffer(kPiece);
    while (true) {
      const auto [error, n] =
          co_await socket.async_read_some(asio::buffer(buffer.data(), buffer.size()), kAsTuple);
      if (error) break;
      const bool wanted = co_await stream.write({buffer.data(), n});
      if (!wanted) co_return;
    }
    co_await stream.close_input();
  }

  // The stream's life; at its end, whatever that is, the tasks around it end, too.
  static asio::awaitable<void> receive(AgentStream& stream, tcp::socket& socket, TaskGroup& around,
                                       Progress& progress) {
    struct End {
      TaskGroup& group;
      explicit End(TaskGroup& tasks) : group(tasks) {}
      ~End() { group.cancel(); }
      End(const End&) = delete;
      End& operator=(const End&) = delete;
    } const end(around);
    ExecSink sink = [&socket](std::size_t, std::span<const std::byte> bytes) -> asio::awaitable<void> {
      const auto [error, n] =
          co_await asio::async_write(socket, asio::buffer(bytes.data(), bytes.size()), kAsTuple);
      if (error) throw Error(ErrorCode::unavailable, "writing to the local connection: " + error.message());
    };
    co_await stream.follow(std::move(sink), [&] {
      progress.begun = true;
      around.spawn(send(stream, socket));
    });
    progress.ended = true;
  }

  static asio::awaitable<void> give_up_if_not_begun(const Progress& progress, Engine& engine,
                                                    TaskGroup& around) {
    co_await engine.sleep_for(kDialTimeout);
    if (!progress.begun) around.cancel();
  }

  asio::awaitable<void> carry(tcp::socket socket) {
    boost::system::error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const std::shared_ptr<AgentStream> stream = sandbox_.runtime->agent().dial(port_);
    TaskGroup around(context_.engine(), co_await asio::this_coro::executor);
    Progress progress;
    std::string trouble = "nobody listens there";
    around.spawn(give_up_if_not_begun(progress, context_.engine(), around));
    around.spawn(receive(*stream, socket, around, progress));
    try {
      co_await around.join();
    } catch (const Error& error) {
      trouble = error.what();
    }
    if (progress.begun && !progress.ended) endings_.spawn(end(stream));
    if (progress.begun || progress.ended) co_return;
    const bool alive = co_await sandbox_.runtime->async_check_if_alive();
    if (alive) {
      context_.warn("port " + std::to_string(port_) + " of " + sandbox_.runtime->sid() +
                    " accepted no connection: " + trouble);
    } else {
      dead_ = true;
      acceptor_.close(ignored);
    }
  }

  static asio::awaitable<void> end(std::shared_ptr<AgentStream> stream) { co_await stream->kill(); }

  Context& context_;
  Sandbox& sandbox_;
  const std::uint16_t port_;
  bool dead_ = false;
  tcp::acceptor acceptor_;
  TaskGroup endings_;
};

}  // namespace

int forward(Context& context, const std::string& sid, const std::string& ports) {
  const auto [here, inside] = parse_ports(ports);
  Sandbox sandbox = attach_to_session(context, sid, "forwarding a port");
  Forwarder forwarder(context, sandbox, inside);
  forwarder.listen(here);
  const std::uint16_t port = forwarder.port_here();
  if (context.json()) {
    json::object document;
    document["address"] = "127.0.0.1";
    document["port"] = port;
    document["url"] = "http://127.0.0.1:" + std::to_string(port);
    context.print_json(document);
  } else {
    context.warn("Forwarding http://127.0.0.1:" + std::to_string(port) + " to port " +
                 std::to_string(inside) + " of " + sid);
  }
  try {
    context.wait(forwarder.serve());
  } catch (const Error& error) {
    Engine& engine = context.engine();
    try {
      engine.wait(engine.with_deadline(forwarder.finish(), engine.in(kEndTimeout), "end the connections"));
    } catch (const Error& late) {
      context.note(late.what());
    }
    // To be told to stop is how it ends.
    if (error.code() != ErrorCode::cancelled || context.interrupts().number() == 0) throw;
  }
  return 0;
}

int url(Context& context, const std::string& sid, const std::string& port) {
  const auto number = static_cast<std::uint16_t>(parse_number(port, "PORT", 1, 65535));
  const Located located = locate(context, sid);
  const ExposedPort exposed = context.wait(
      located.provider->expose(located.id, number, request_deadline(context)), "exposing the port");
  if (context.json()) {
    json::object headers;
    for (const auto& [name, value] : exposed.headers) headers[name] = std::string(value.expose());
    json::object document;
    document["url"] = exposed.url;
    document["headers"] = std::move(headers);
    context.print_json(document);
    return 0;
  }
  write_all(STDOUT_FILENO, exposed.url + "\n");
  if (!exposed.headers.empty()) {
    std::string names;
    for (const auto& [name, value] : exposed.headers) names += (names.empty() ? "" : ", ") + name;
    context.warn("requests to it need " + names + ", whose value --json shows; 'sandkey forward " + sid +
                 " " + port + "' needs nothing");
  }
  return 0;
}

}  // namespace sandkey::cli
