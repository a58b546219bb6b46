#include "sandkey/sandbox/keeper/keeper.h"

#include "sandkey/sandbox/confinement/control_group.h"
#include "sandkey/sandbox/confinement/process_tree.h"
#include "sandkey/sandbox/keeper/container.h"
#include "sandkey/sandbox/keeper/diagnosis.h"
#include "sandkey/sandbox/keeper/identity.h"
#include "sandkey/sandbox/keeper/inner_network.h"
#include "sandkey/sandbox/keeper/relay.h"
#include "sandkey/sandbox/keeper/sandbox_folder.h"
#include "sandkey/sandbox/network/internet.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/serialize.hpp>

#include <fcntl.h>
#include <malloc.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace sandkey::sandbox {
namespace {

using asio::ip::tcp;
using Descriptor = asio::posix::stream_descriptor;
using Control = asio::local::stream_protocol::socket;
using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kKeptOutput = 4096;
constexpr int kMaxControlConnections = 64;
constexpr int kMaxPendingDials = 32;  // which may take long: the end must still find a free connection
constexpr std::size_t kMaxExposedPorts = 64;
constexpr std::chrono::seconds kControlPatience{10};
constexpr std::chrono::seconds kDialPatience{10};
constexpr std::chrono::milliseconds kGroupPause{2};
constexpr int kGroupAttempts = 1000;
constexpr auto kLongestLease = std::chrono::hours(24 * 365 * 10);

std::uint64_t half_of_memory() {
  struct sysinfo info {};
  ::sysinfo(&info);
  return std::uint64_t{info.totalram} * info.mem_unit / 2;
}

std::string unique_group_name(const std::string& id) {
  std::uint32_t bits = 0;
  (void)::getrandom(&bits, sizeof bits, 0);
  return id + "-" + std::to_string(bits);  // "sandkey-" comes before it
}

json::object ok() {
  json::object object;
  object["ok"] = true;
  return object;
}

std::uint16_t port_of(const json::object& request) {
  const long long port = find_integer(request, "port").value_or(0);
  if (port < 1 || port > 65535) {
    throw Error(ErrorCode::invalid_argument,
                "reaching a port inside a sandbox: a port is a number from 1 to 65535");
  }
  return static_cast<std::uint16_t>(port);
}

// What is still to be read of a stream nobody writes any more.
void drain(Descriptor& descriptor, std::string& into) {
  std::array<char, kKeptOutput> piece{};
  boost::system::error_code error;
  descriptor.non_blocking(true, error);
  while (!error) {
    const std::size_t size = descriptor.read_some(asio::buffer(piece), error);
    into.append(piece.data(), size);
  }
}

// Cancels what is being done with the socket when its time is over.
template <typename Socket>
class Patience {
 public:
  Patience(Socket& socket, std::chrono::seconds time)
      : timer_(socket.get_executor(), time), socket_(std::make_shared<Socket*>(&socket)) {
    timer_.async_wait([held = socket_](const boost::system::error_code& error) {
      boost::system::error_code ignored;
      if (!error && *held != nullptr) (*held)->cancel(ignored);
    });
  }
  ~Patience() { *socket_ = nullptr; }  // its handler may be on its way
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

 private:
  asio::steady_timer timer_;
  std::shared_ptr<Socket*> socket_;
};

class Counted {
 public:
  explicit Counted(int& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  int& count_;
};

// One reply, and the descriptor that goes with it.
struct Reply {
  json::object object;
  UniqueFd passed = {};
};

}  // namespace

struct Keeper::Impl {
  Impl(KeeperRequest wanted, UniqueFd lifeline_fd, UniqueFd answer_fd)
      : request(std::move(wanted)),
        spec(request.spec),
        lifeline(io, lifeline_fd.release()),
        answer(std::move(answer_fd)),
        output(io),
        control(io),
        signals(io, SIGTERM, SIGINT),
        lease_timer(io),
        gone(io, steady_clock::time_point::max()) {}

  void run();

  // Each runs until the end of all.
  asio::awaitable<void> make();
  asio::awaitable<void> watch_lifeline();
  asio::awaitable<void> watch_lease();
  asio::awaitable<void> watch_signals();
  asio::awaitable<void> watch_process(int pidfd);
  asio::awaitable<void> keep_output();
  asio::awaitable<void> accept_control();
  asio::awaitable<void> serve_control(Control socket);

  asio::awaitable<Reply> handle(json::object asked);
  asio::awaitable<tcp::socket> dial(std::uint16_t port);
  asio::awaitable<UniqueFd> dial_for_client(std::uint16_t port);
  asio::awaitable<bool> connect(tcp::socket& socket, tcp::endpoint to);
  std::uint16_t expose(std::uint16_t port);
  void pause();
  void resume();
  void set_lease(std::chrono::seconds length);
  [[nodiscard]] Status status() const;
  void require_ready() const;

  // Begins the end; only the first reason counts.
  void end(std::optional<Error> reason = std::nullopt);
  asio::awaitable<void> finish();
  void kill_all();
  void tell_client(const json::object& reply);

  template <typename Task>
  void spawn(Task task) {
    asio::co_spawn(io, std::move(task), [this](const std::exception_ptr& thrown) {
      if (!thrown) return;
      try {
        std::rethrow_exception(thrown);
      } catch (const Error& error) {
        end(error);
      } catch (const std::exception& error) {
        end(Error(ErrorCode::internal, "keeping a sandbox: " + std::string(error.what())));
      }
    });
  }

  KeeperRequest request;
  const Spec& spec;
  asio::io_context io{1};
  Descriptor lifeline;
  UniqueFd answer;
  Descriptor output;
  asio::local::stream_protocol::acceptor control;
  asio::signal_set signals;
  asio::steady_timer lease_timer;
  asio::steady_timer gone;  // cancelled when nothing is left

  Identity identity;
  std::optional<SandboxFolder> folder;
  std::optional<ControlGroup> group;
  std::optional<Container> container;
  std::optional<ProcessTree> tree;
  std::optional<Internet> internet;
  InnerNetwork network;
  pid_t init = -1;
  UniqueFd init_pidfd;
  std::map<std::uint16_t, Relay> exposed;

  bool ready = false;
  bool heard = false;  // the client knows that it is ready
  bool paused = false;
  bool ending = false;
  bool over = false;
  std::optional<Error> failure;
  std::string said;
  int control_connections = 0;
  int pending_dials = 0;
  system_clock::time_point created = system_clock::now();
  // A lease is a length of time: the steady clock counts it, the other one tells people.
  steady_clock::time_point lease_expiry = steady_clock::time_point::max();
  std::optional<std::chrono::seconds> lease;
  std::optional<system_clock::time_point> lease_end;
  std::vector<std::string> not_enforced;
};

void Keeper::Impl::run() {
  spawn(watch_signals());
  spawn(watch_lifeline());
  spawn(make());
  io.run();
}

asio::awaitable<void> Keeper::Impl::make() {
  identity = Identity::choose();
  folder.emplace(request.folder, spec.id);
  control.assign(asio::local::stream_protocol(), folder->take_control().release());
  spawn(accept_control());

  const std::string group_name = unique_group_name(spec.id);
  folder->write_file(kGroupFile, group_name);
  group.emplace(group_name, spec.limits.memory_bytes.value_or(half_of_memory()), spec.limits.processes);
  not_enforced = group->not_enforced();

  container = start_container(spec, request.bubblewrap, identity, *group, folder->take_agent());
  output.assign(container->output.release());
  spawn(keep_output());
  spawn(watch_process(container->pidfd.get()));

  // {"child-pid": 123, ...}
  Descriptor info(io, container->info.release());
  std::string text;
  while (text.find('}') == std::string::npos) {
    std::array<char, 512> piece{};
    const auto [error, size] = co_await info.async_read_some(asio::buffer(piece), kAsTuple);
    if (error || ending) co_return;  // its end is watched
    text.append(piece.data(), size);
  }
  const json::value told = parse_json(text.substr(0, text.find('}') + 1), "what bubblewrap told");
  init = static_cast<pid_t>(find_integer(told.as_object(), "child-pid").value_or(-1));
  init_pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, init, 0)));
  if (!init_pidfd) co_return;
  spawn(watch_process(init_pidfd.get()));
  tree.emplace(init);

  // All this before the program runs.
  if (limit_processes(init, identity, spec.limits.processes)) {
    std::erase_if(not_enforced, [](const std::string& each) { return each.starts_with("processes"); });
  }
  network = InnerNetwork(init, identity);
  if (::write(container->block.get(), "1", 1) != 1) co_return;
  container->block.reset();

  Descriptor ready_pipe(io, container->ready.release());
  std::array<char, 1> byte{};
  const auto [error, size] = co_await ready_pipe.async_read_some(asio::buffer(byte), kAsTuple);
  if (error || ending) {
    // Without the byte it never becomes ready, whether or not it ends by itself.
    kill_all();
    co_return;
  }
  if (spec.network) internet.emplace(init);
  if (spec.lease) set_lease(*spec.lease);
  spawn(watch_lease());
  ready = true;
  json::object reply = ok();
  reply["init_pid"] = init;
  tell_client(reply);
  ::malloc_trim(0);
}

void Keeper::Impl::tell_client(const json::object& reply) {
  if (!answer) return;
  const std::string line = json::serialize(reply) + "\n";
  (void)!::write(answer.get(), line.data(), line.size());  // a client that is gone is noticed at its lifeline
  answer.reset();
}

asio::awaitable<void> Keeper::Impl::watch_lifeline() {
  std::array<char, 1> byte{};
  while (true) {
    const auto [error, size] = co_await lifeline.async_read_some(asio::buffer(byte), kAsTuple);
    if (error) break;
    heard = true;
  }
  if (!heard || spec.bound_to_client) end();
}

asio::awaitable<void> Keeper::Impl::watch_signals() {
  (void)co_await signals.async_wait(kAsTuple);
  end();
}

asio::awaitable<void> Keeper::Impl::watch_process(int pidfd) {
  Descriptor ended(io, ::dup(pidfd));
  (void)co_await ended.async_wait(Descriptor::wait_read, kAsTuple);
  end();
}

asio::awaitable<void> Keeper::Impl::watch_lease() {
  while (true) {
    lease_timer.expires_at(lease_expiry);
    const auto [error] = co_await lease_timer.async_wait(kAsTuple);
    if (!error) break;  // otherwise it was renewed
  }
  end();
}

void Keeper::Impl::set_lease(std::chrono::seconds length) {
  if (length < std::chrono::seconds(1) || length > kLongestLease) {
    throw Error(ErrorCode::invalid_argument,
                "setting the lease of a sandbox: it is at least one second, and at most ten years");
  }
  lease = length;
  lease_expiry = steady_clock::now() + length;
  lease_end = system_clock::now() + length;
  lease_timer.cancel();
}

asio::awaitable<void> Keeper::Impl::keep_output() {
  std::array<char, kKeptOutput> piece{};
  while (true) {
    const auto [error, size] = co_await output.async_read_some(asio::buffer(piece), kAsTuple);
    if (error) co_return;
    said.append(piece.data(), size);
    if (said.size() > kKeptOutput) said.erase(0, said.size() - kKeptOutput);
  }
}

asio::awaitable<void> Keeper::Impl::accept_control() {
  while (true) {
    auto [error, socket] = co_await control.async_accept(kAsTuple);
    if (error == asio::error::operation_aborted) co_return;
    if (!error && control_connections < kMaxControlConnections) {
      ++control_connections;
      asio::co_spawn(io, serve_control(std::move(socket)),
                     [this](const std::exception_ptr&) { --control_connections; });
      continue;
    }
    asio::steady_timer pause(io, std::chrono::milliseconds(20));
    if (error) (void)co_await pause.async_wait(kAsTuple);
  }
}

asio::awaitable<void> Keeper::Impl::serve_control(Control socket) {
  std::string line;
  {
    const Patience patience(socket, kControlPatience);
    const auto [error, size] =
        co_await asio::async_read_until(socket, asio::dynamic_buffer(line, kMaxControlLine), '\n', kAsTuple);
    if (error) co_return;
    line.resize(size);
  }
  Reply reply;
  try {
    const json::value value = parse_json(line, "a request to a sandbox's keeper");
    if (!value.is_object())
      throw Error(ErrorCode::protocol, "a request to a sandbox's keeper is not an object");
    reply = co_await handle(value.get_object());
  } catch (const Error& error) {
    reply.object = to_json(error);
  }
  const std::string text = json::serialize(reply.object) + "\n";
  std::size_t sent = 0;
  if (reply.passed) {
    // The descriptor goes with the first byte.
    iovec first{.iov_base = const_cast<char*>(text.data()), .iov_len = 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> extra{};
    msghdr message{};
    message.msg_iov = &first;
    message.msg_iovlen = 1;
    message.msg_control = extra.data();
    message.msg_controllen = extra.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int passed = reply.passed.get();
    std::memcpy(CMSG_DATA(header), &passed, sizeof passed);
    if (::sendmsg(socket.native_handle(), &message, MSG_NOSIGNAL) != 1) co_return;
    sent = 1;
  }
  (void)co_await asio::async_write(socket, asio::buffer(text.data() + sent, text.size() - sent), kAsTuple);
}

void Keeper::Impl::require_ready() const {
  if (ending) throw Error(ErrorCode::sandbox_dead, "using sandbox " + spec.id + ": it has ended");
  if (!ready) {
    throw Error(ErrorCode::unavailable,
                "using sandbox " + spec.id + ": it is still starting; try again shortly");
  }
}

asio::awaitable<Reply> Keeper::Impl::handle(json::object asked) {
  const std::string verb(find_string(asked, "do").value_or(""));
  Reply reply{.object = ok()};
  if (verb == "destroy") {
    end();
    if (!over) (void)co_await gone.async_wait(kAsTuple);
    co_return reply;
  }
  if (verb == "describe") {
    reply.object = to_json(status());
    co_return reply;
  }
  require_ready();
  if (verb == "renew") {
    set_lease(std::chrono::seconds(find_integer(asked, "seconds").value_or(0)));
    reply.object = to_json(status());
  } else if (verb == "pause") {
    pause();
  } else if (verb == "resume") {
    resume();
  } else if (verb == "dial") {
    reply.passed = co_await dial_for_client(port_of(asked));
  } else if (verb == "expose") {
    reply.object["port"] = expose(port_of(asked));
  } else {
    throw Error(ErrorCode::unsupported, "asking a sandbox's keeper: it does not know '" + verb +
                                            "'; it was started by another version of Sandkey");
  }
  co_return reply;
}

Status Keeper::Impl::status() const {
  Status now;
  now.id = spec.id;
  now.labels = spec.labels;
  now.paused = paused;
  now.bound_to_client = spec.bound_to_client;
  now.created = created;
  now.lease = lease;
  now.lease_end = lease_end;
  now.image = spec.image;
  now.not_enforced = not_enforced;
  now.init_pid = init;
  return now;
}

void Keeper::Impl::pause() {
  if (paused) return;
  const bool stands = group->can_freeze() ? group->freeze() : tree->stop();
  if (!stands) {
    throw Error(ErrorCode::unavailable,
                "pausing sandbox " + spec.id +
                    ": its processes did not come to rest within a second; it goes on; try "
                    "again");
  }
  paused = true;
}

void Keeper::Impl::resume() {
  if (!paused) return;
  if (group->can_freeze()) {
    group->thaw();
  } else {
    tree->go_on();
  }
  paused = false;
}

asio::awaitable<bool> Keeper::Impl::connect(tcp::socket& socket, tcp::endpoint to) {
  socket.assign(to.protocol(), network.tcp_socket(to.protocol().family()).release());
  const Patience patience(socket, kDialPatience);
  const auto [error] = co_await socket.async_connect(to, kAsTuple);
  co_return !error;
}

asio::awaitable<tcp::socket> Keeper::Impl::dial(std::uint16_t port) {
  tcp::socket socket(io);
  // Many a server that says "localhost" listens on the second one only.
  for (const asio::ip::address& address :
       std::array<asio::ip::address, 2>{asio::ip::address_v4::loopback(), asio::ip::address_v6::loopback()}) {
    const tcp::endpoint to(address, port);
    const bool connected = co_await connect(socket, to);
    if (connected) co_return socket;
    socket.close();
  }
  throw Error(ErrorCode::unavailable, "reaching a port inside sandbox " + spec.id +
                                          ": nothing listens on port " + std::to_string(port) +
                                          " inside; start the server there first");
}

asio::awaitable<UniqueFd> Keeper::Impl::dial_for_client(std::uint16_t port) {
  if (pending_dials >= kMaxPendingDials) {
    throw Error(ErrorCode::unavailable, "reaching port " + std::to_string(port) + " inside sandbox " +
                                            spec.id + ": " + std::to_string(kMaxPendingDials) +
                                            " connections are being made already; try again shortly");
  }
  const Counted counted(pending_dials);
  tcp::socket socket = co_await dial(port);
  UniqueFd connection(socket.release());
  (void)::fcntl(connection.get(), F_SETFL, 0);  // blocking, as anybody expects
  co_return connection;
}

std::uint16_t Keeper::Impl::expose(std::uint16_t port) {
  const auto found = exposed.find(port);
  if (found != exposed.end()) return found->second.port();
  if (exposed.size() >= kMaxExposedPorts) {
    throw Error(ErrorCode::quota_exceeded, "exposing a port of sandbox " + spec.id + ": " +
                                               std::to_string(kMaxExposedPorts) + " are exposed already");
  }
  return exposed.try_emplace(port, io.get_executor(), [this, port] { return dial(port); })
      .first->second.port();
}

void Keeper::Impl::end(std::optional<Error> reason) {
  if (ending) return;
  ending = true;
  failure = std::move(reason);
  spawn(finish());
}

void Keeper::Impl::kill_all() {
  // bubblewrap is in the group as well, and tells how a start failed.
  if (group && ready) group->kill();
  if (init_pidfd) ::syscall(SYS_pidfd_send_signal, init_pidfd.get(), SIGKILL, nullptr, 0);
  // Without process 1 nothing inside lives on, and bubblewrap itself must tell how it ended.
  else if (container)
    ::kill(container->pid, SIGKILL);
}

asio::awaitable<void> Keeper::Impl::finish() {
  exposed.clear();
  kill_all();
  int wait_status = 0;
  if (init_pidfd) {
    Descriptor ended(io, ::dup(init_pidfd.get()));
    (void)co_await ended.async_wait(Descriptor::wait_read, kAsTuple);
    // Usually it ends by itself now, and an exit code is only of interest while starting.
    if (ready) ::kill(container->pid, SIGKILL);
  }
  if (container) {
    Descriptor ended(io, ::dup(container->pidfd.get()));
    (void)co_await ended.async_wait(Descriptor::wait_read, kAsTuple);
    ::waitpid(container->pid, &wait_status, 0);
  }
  internet.reset();
  end_children();
  if (group) {
    asio::steady_timer pause(io);
    for (int attempt = 0; attempt < kGroupAttempts; ++attempt) {
      const bool removed = group->remove();
      if (removed) break;
      pause.expires_after(kGroupPause);
      (void)co_await pause.async_wait(kAsTuple);
    }
  }
  if (output.is_open()) drain(output, said);
  if (folder) folder->remove();
  over = true;
  gone.cancel();
  if (!ready) tell_client(to_json(failure ? *failure : diagnose_failed_start(said, wait_status)));
  // Those who asked for the end hear of it.
  asio::steady_timer farewell(io);
  for (int i = 0; i < 100 && control_connections > 0; ++i) {
    farewell.expires_after(std::chrono::milliseconds(5));
    (void)co_await farewell.async_wait(kAsTuple);
  }
  io.stop();
}

Keeper::Keeper(KeeperRequest request, UniqueFd lifeline, UniqueFd answer)
    : impl_(std::make_unique<Impl>(std::move(request), std::move(lifeline), std::move(answer))) {}

Keeper::~Keeper() = default;

void Keeper::run() {
  impl_->run();
}

}  // namespace sandkey::sandbox
