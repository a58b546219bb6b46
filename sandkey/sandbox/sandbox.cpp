#include "sandkey/sandbox/sandbox.h"

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/own_program.h"
#include "sandkey/sandbox/confinement/control_group.h"
#include "sandkey/sandbox/keeper_launch.h"
#include "sandkey/sandbox/keeper_protocol.h"
#include "sandkey/sandbox/preflight.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/serialize.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <utility>

namespace sandkey::sandbox {
namespace {

namespace fs = std::filesystem;
using Descriptor = asio::posix::stream_descriptor;
using Control = asio::local::stream_protocol::socket;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
// A keeper whose client has let go tidies up in milliseconds.
constexpr seconds kTidyPatience{10};
constexpr milliseconds kBusyPause{5};
constexpr std::chrono::minutes kUnfinishedAge{1};
constexpr std::size_t kPiece = 4096;
constexpr std::size_t kRandomId = 12;  // letters and digits, five bits each

std::string random_id(const Engine& engine) {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  std::uint64_t bits = engine.random();
  std::string id;
  for (std::size_t i = 0; i < kRandomId; ++i, bits >>= 5) id += kAlphabet[bits % kAlphabet.size()];
  return id;
}

void require_valid_id(const std::string& id) {
  if (!is_valid_id(id))
    throw Error(ErrorCode::not_found, "finding sandbox '" + id + "': no id looks like that");
}

[[noreturn]] void throw_not_found(const std::string& id) {
  throw Error(ErrorCode::not_found, "finding sandbox " + id + ": there is none of that id, or it has ended");
}

std::string text_of(int folder, const char* name) {
  const UniqueFd fd(::openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::array<char, 256> text{};
  const ssize_t size = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

// Whatever a keeper that could not tidy up has left in this folder. Were its name taken by a new sandbox
// meanwhile, that would not be touched: it is another folder, and not empty.
void remove_remains(const UniqueFd& folder, const fs::path& name) noexcept {
  try {
    const std::string group_name = text_of(folder.get(), kGroupFile);
    if (!group_name.empty()) ControlGroup::end_remains(group_name);
  } catch (const std::exception&) {  // what is not ours to remove stays
  }
  for (const char* file : {kAgentSocket, kGroupFile, kControlSocket}) ::unlinkat(folder.get(), file, 0);
  ::rmdir(name.c_str());
}

UniqueFd open_folder(const fs::path& path) {
  return UniqueFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

json::object parse_reply(std::string_view line) {
  json::value value = parse_json(line, "the answer of a sandbox's keeper");
  if (!value.is_object())
    throw Error(ErrorCode::protocol, "asking a sandbox's keeper: it answered with no object");
  return std::move(value.get_object());
}

// The line the keeper answers when it has started the sandbox.
asio::awaitable<json::object> read_answer(Descriptor* answer) {
  std::string line;
  std::array<char, kPiece> piece{};
  while (line.find('\n') == std::string::npos) {
    const auto [error, size] = co_await answer->async_read_some(asio::buffer(piece), kAsTuple);
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) {
      throw Error(ErrorCode::sandbox_dead,
                  "starting a sandbox: its keeper ended without a word; if it was killed for "
                  "want of memory, free some, then try again");
    }
    line.append(piece.data(), size);
    if (line.size() > kMaxReplyLine) throw Error(ErrorCode::protocol, "starting a sandbox: endless answer");
  }
  co_return parse_reply(line);
}

asio::awaitable<void> read_to_end(Descriptor* answer) {
  std::array<char, kPiece> piece{};
  while (true) {
    const auto [error, size] = co_await answer->async_read_some(asio::buffer(piece), kAsTuple);
    if (error) co_return;
  }
}

struct Reply {
  json::object object;
  UniqueFd passed;
};

// Receives some bytes, and a descriptor if one comes along.
std::size_t receive(int socket, std::string& line, UniqueFd& passed) {
  std::array<char, kPiece> piece{};
  iovec into{.iov_base = piece.data(), .iov_len = piece.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> extra{};
  msghdr message{};
  message.msg_iov = &into;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = extra.size();
  const ssize_t size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (size <= 0) {
    throw Error(ErrorCode::unavailable, "asking a sandbox's keeper: it ended before it answered; ask again");
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    passed.reset(fd);
  }
  line.append(piece.data(), static_cast<std::size_t>(size));
  return static_cast<std::size_t>(size);
}

}  // namespace

struct SandboxHost::Impl {
  Impl(Engine& used_engine, fs::path used_folder, fs::path used_keeper)
      : engine(used_engine), folder(std::move(used_folder)), keeper(std::move(used_keeper)) {}

  [[nodiscard]] std::string keeper_program() const;
  void hold(const std::string& id, UniqueFd lifeline);
  void let_go(const std::string& id);
  asio::awaitable<json::object> start(KeeperLaunch* launch, Deadline deadline, UniqueFd* lifeline);
  // Throws Error(not_found) when there is no such sandbox any more, after removing what is left of it.
  asio::awaitable<void> connect(Control* socket, std::string id);
  asio::awaitable<Reply> exchange(std::string id, json::object request);
  asio::awaitable<Reply> ask(std::string id, json::object request, Deadline deadline, std::string operation);

  Engine& engine;
  const fs::path folder;
  const fs::path keeper;
  std::mutex mutex;
  std::map<std::string, UniqueFd> lifelines;  // of the sandboxes that are bound to us
};

std::string SandboxHost::Impl::keeper_program() const {
  if (keeper.empty()) return find_own_program(engine, "sandkey-keeper").string();
  if (::access(keeper.c_str(), X_OK) == 0) return keeper.string();
  throw Error(ErrorCode::unsupported,
              "making sandboxes on this machine: " + keeper.string() + " is not a program we may start");
}

void SandboxHost::Impl::hold(const std::string& id, UniqueFd lifeline) {
  const std::lock_guard lock(mutex);
  // Those of sandboxes that ended by themselves.
  std::erase_if(lifelines, [](const auto& each) {
    pollfd state{.fd = each.second.get(), .events = 0, .revents = 0};
    return ::poll(&state, 1, 0) == 1 && (state.revents & (POLLERR | POLLHUP)) != 0;
  });
  lifelines.insert_or_assign(id, std::move(lifeline));
}

void SandboxHost::Impl::let_go(const std::string& id) {
  const std::lock_guard lock(mutex);
  lifelines.erase(id);
}

// Gives the lifeline when the keeper knows that we know that the sandbox is ready. Otherwise returns when
// nothing is left of it.
asio::awaitable<json::object> SandboxHost::Impl::start(KeeperLaunch* launch, Deadline deadline,
                                                       UniqueFd* lifeline) {
  *lifeline = launch->take_lifeline();
  Descriptor answer(co_await asio::this_coro::executor, launch->take_answer().release());
  std::exception_ptr failure;
  try {
    json::object reply =
        co_await engine.with_deadline(read_answer(&answer), deadline, "create a sandbox", "start it");
    throw_if_error(reply);
    if (::send(lifeline->get(), "+", 1, MSG_NOSIGNAL) == 1) co_return reply;
    throw Error(ErrorCode::sandbox_dead, "starting a sandbox: it ended at once");
  } catch (...) {
    failure = std::current_exception();
  }
  lifeline->reset();
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  try {
    co_await engine.with_deadline(read_to_end(&answer), engine.in(kTidyPatience), "create a sandbox",
                                  "tidy up");
  } catch (const Error&) {  // it goes on tidying; the first failure says more
  }
  std::rethrow_exception(failure);
}

asio::awaitable<void> SandboxHost::Impl::connect(Control* socket, std::string id) {
  const fs::path sandbox = folder / id;
  const UniqueFd opened = open_folder(sandbox);
  if (!opened && errno != ENOENT && errno != ENOTDIR) {
    throw system_error("asking the keeper of sandbox " + id, errno);
  }
  if (!opened) throw_not_found(id);
  const asio::local::stream_protocol::endpoint control("/proc/self/fd/" + std::to_string(opened.get()) + "/" +
                                                       kControlSocket);
  while (true) {
    const auto [error] = co_await socket->async_connect(control, kAsTuple);
    if (!error) co_return;
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error == boost::system::errc::no_such_file_or_directory ||
        error == boost::system::errc::not_a_directory) {
      throw_not_found(id);
    }
    if (error == asio::error::connection_refused) {
      remove_remains(opened, sandbox);
      throw_not_found(id);
    }
    if (error != asio::error::no_buffer_space && error != asio::error::try_again) {
      throw system_error("asking the keeper of sandbox " + id, error.value());
    }
    socket->close();
    co_await engine.sleep_for(kBusyPause);  // it has many callers at once
  }
}

asio::awaitable<Reply> SandboxHost::Impl::exchange(std::string id, json::object request) {
  Control socket(co_await asio::this_coro::executor);
  co_await connect(&socket, id);
  const std::string line = json::serialize(request) + "\n";
  (void)co_await asio::async_write(socket, asio::buffer(line), kAsTuple);
  Reply reply;
  std::string received;
  while (received.find('\n') == std::string::npos) {
    const auto [error] = co_await socket.async_wait(Control::wait_read, kAsTuple);
    if (error) throw boost::system::system_error(error);
    (void)receive(socket.native_handle(), received, reply.passed);
    if (received.size() > kMaxReplyLine)
      throw Error(ErrorCode::protocol, "asking a sandbox's keeper: endless answer");
  }
  reply.object = parse_reply(received);
  throw_if_error(reply.object);
  co_return reply;
}

asio::awaitable<Reply> SandboxHost::Impl::ask(std::string id, json::object request, Deadline deadline,
                                              std::string operation) {
  require_valid_id(id);
  return engine.with_deadline(exchange(std::move(id), std::move(request)), deadline, std::move(operation));
}

SandboxHost::SandboxHost(Engine& engine, fs::path folder, fs::path keeper)
    : impl_(std::make_unique<Impl>(engine, fs::absolute(folder).lexically_normal(), std::move(keeper))) {}

SandboxHost::~SandboxHost() = default;

void SandboxHost::check() const {
  (void)find_bubblewrap(impl_->engine);
  require_user_namespaces();
  (void)impl_->keeper_program();
  require_private_folder(impl_->folder, kRandomId);
}

void SandboxHost::check(const Spec& spec) const {
  check();
  require_valid(spec, impl_->folder);
  if (!spec.id.empty()) require_private_folder(impl_->folder, spec.id.size());
}

asio::awaitable<std::string> SandboxHost::create(Spec spec, Deadline deadline) {
  check(spec);
  Engine& engine = impl_->engine;
  if (spec.id.empty()) spec.id = random_id(engine);
  KeeperRequest request{
      .spec = spec, .folder = impl_->folder.string(), .bubblewrap = find_bubblewrap(engine)};
  if (!spec.workspace.empty()) request.spec.workspace = fs::canonical(spec.workspace).string();
  if (!spec.image.empty()) request.spec.image = fs::canonical(spec.image).string();
  // The keeper takes the path just so, without following a link: it must be that one which is allowed.
  require_valid(request.spec, impl_->folder);
  const auto launch = std::make_unique<KeeperLaunch>(impl_->keeper_program(), spec.id, to_json(request));
  UniqueFd lifeline;
  (void)co_await impl_->start(launch.get(), deadline, &lifeline);
  if (spec.bound_to_client) impl_->hold(spec.id, std::move(lifeline));
  co_return spec.id;
}

asio::awaitable<std::vector<Status>> SandboxHost::list(Deadline deadline) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(impl_->folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (is_valid_id(name)) {
      names.push_back(name);
    } else if (name.starts_with(kUnfinishedPrefix)) {
      std::error_code gone;
      const auto made = fs::last_write_time(entry->path(), gone);
      if (!gone && fs::file_time_type::clock::now() - made > kUnfinishedAge) {
        remove_remains(open_folder(entry->path()), entry->path());
      }
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw system_error("listing the sandboxes in " + impl_->folder.string(), error.value());
  }
  std::ranges::sort(names);
  std::vector<Status> found;
  for (const std::string& name : names) {
    try {
      found.push_back(co_await describe(name, deadline));
    } catch (const Error& failure) {
      // Ended meanwhile, or its keeper did.
      if (failure.code() != ErrorCode::not_found && failure.code() != ErrorCode::unavailable) throw;
    }
  }
  co_return found;
}

asio::awaitable<Status> SandboxHost::describe(std::string id, Deadline deadline) {
  json::object request;
  request["do"] = "describe";
  const Reply reply = co_await impl_->ask(std::move(id), std::move(request), deadline, "describe a sandbox");
  co_return status_from_json(reply.object);
}

asio::awaitable<std::chrono::system_clock::time_point> SandboxHost::renew(std::string id, seconds lease,
                                                                          Deadline deadline) {
  json::object request;
  request["do"] = "renew";
  request["seconds"] = lease.count();
  const Reply reply =
      co_await impl_->ask(std::move(id), std::move(request), deadline, "renew a sandbox's lease");
  co_return status_from_json(reply.object).lease_end.value_or(impl_->engine.system_now() + lease);
}

asio::awaitable<void> SandboxHost::pause(std::string id, Deadline deadline) {
  json::object request;
  request["do"] = "pause";
  (void)co_await impl_->ask(std::move(id), std::move(request), deadline, "pause a sandbox");
}

asio::awaitable<void> SandboxHost::resume(std::string id, Deadline deadline) {
  json::object request;
  request["do"] = "resume";
  (void)co_await impl_->ask(std::move(id), std::move(request), deadline, "resume a sandbox");
}

asio::awaitable<void> SandboxHost::destroy(std::string id, Deadline deadline) {
  if (!is_valid_id(id)) co_return;
  while (true) {
    json::object request;
    request["do"] = "destroy";
    bool again = false;
    try {
      (void)co_await impl_->ask(id, std::move(request), deadline, "destroy a sandbox");
    } catch (const Error& error) {
      again = error.code() == ErrorCode::unavailable;  // its keeper was killed meanwhile, or is very busy
      if (!again && error.code() != ErrorCode::not_found) throw;
    }
    if (!again) break;
    co_await impl_->engine.sleep_for(kBusyPause);
  }
  impl_->let_go(id);
}

fs::path SandboxHost::socket(const std::string& id) const {
  require_valid_id(id);
  return impl_->folder / id / kAgentSocket;
}

asio::awaitable<UniqueFd> SandboxHost::dial(std::string id, std::uint16_t port, Deadline deadline) {
  json::object request;
  request["do"] = "dial";
  request["port"] = port;
  Reply reply =
      co_await impl_->ask(std::move(id), std::move(request), deadline, "reach a port inside a sandbox");
  if (!reply.passed)
    throw Error(ErrorCode::protocol, "reaching a port inside a sandbox: no connection came along");
  co_return std::move(reply.passed);
}

asio::awaitable<std::uint16_t> SandboxHost::expose(std::string id, std::uint16_t port, Deadline deadline) {
  json::object request;
  request["do"] = "expose";
  request["port"] = port;
  const Reply reply =
      co_await impl_->ask(std::move(id), std::move(request), deadline, "expose a port of a sandbox");
  const long long outside = find_integer(reply.object, "port").value_or(0);
  if (outside < 1 || outside > 65535)
    throw Error(ErrorCode::protocol, "exposing a port of a sandbox: no port came back");
  co_return static_cast<std::uint16_t>(outside);
}

}  // namespace sandkey::sandbox
