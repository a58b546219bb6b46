#include "sandkey/agent/streams/exec_stream.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds kTermGrace{2};  // between SIGTERM and SIGKILL
constexpr std::size_t kPiece = std::size_t{64} * 1024;

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Pipe make_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) throw system_error("making a pipe", errno);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

class ExecStream final : public Stream, public std::enable_shared_from_this<ExecStream> {
 public:
  ExecStream(const asio::any_io_executor& executor, ChildReaper& reaper, std::string id)
      : Stream(executor, std::move(id)),
        reaper_(reaper),
        input_(executor),
        outputs_{Descriptor(executor), Descriptor(executor)},
        timer_(executor) {}

  ~ExecStream() override {
    // The reaper may be gone already; its entry for us holds nothing but a weak reference.
    if (pid_ > 0 && !exit_) kill_session(pid_, SIGKILL);
  }

  void start(const ExecRequest& request) {
    SpawnOptions spawning;
    spawning.argv = request.argv;
    spawning.environment = request.environment;
    spawning.working_dir = request.working_dir;
    to_end_of_output_ = request.to_end_of_output && !request.size;
    if (request.size) {
      start_on_terminal(spawning, *request.size);
    } else {
      start_on_pipes(spawning, request.input);
    }
    reaper_.watch(pid_, [weak = weak_from_this()](ExitStatus status) {
      if (const auto self = weak.lock()) self->on_exit(status);
    });
    for (const std::size_t channel : {kStdout, kStderr}) {
      if (outputs_[channel].is_open())
        asio::co_spawn(executor_, pump(shared_from_this(), channel), asio::detached);
    }
    if (request.timeout) {
      timer_.expires_after(*request.timeout);
      timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self) return;
        self->timed_out_ = true;
        self->terminate();
      });
    }
  }

  asio::awaitable<bool> write_input(std::span<const char> data) override {
    Descriptor& to = terminal_ ? outputs_[kStdout] : input_;
    const auto self = shared_from_this();
    while (!data.empty()) {
      if (!input_open_ || !to.is_open()) co_return false;
      const auto [error, n] = co_await to.async_write_some(asio::buffer(data.data(), data.size()), kAsTuple);
      input_offset_ += n;
      data = data.subspan(n);
      if (error == asio::error::operation_aborted && input_open_) co_return false;  // cancel_input()
      if (error) {
        input_open_ = false;  // EPIPE: it closed its stdin, or ended
        boost::system::error_code ignored;
        if (!terminal_) input_.close(ignored);
        co_return false;
      }
    }
    co_return true;
  }

  void close_input() override {
    boost::system::error_code ignored;
    if (terminal_ && input_open_ && outputs_[kStdout].is_open()) {
      constexpr char kEof = 4;  // a terminal has no half-close; this is what a person would type
      (void)!::write(outputs_[kStdout].native_handle(), &kEof, 1);
    }
    if (!terminal_) input_.close(ignored);
    input_open_ = false;
  }

  void cancel_input() override {
    Descriptor& to = terminal_ ? outputs_[kStdout] : input_;
    boost::system::error_code ignored;
    if (to.is_open()) to.cancel(ignored);
  }

  [[nodiscard]] int pid() const noexcept override { return pid_; }

  void signal(int number, bool alone) override {
    // Who ends it like this does not wait for what it left behind.
    if (alone && (number == SIGTERM || number == SIGKILL)) stop_waiting_for_output();
    if (exit_) return;
    if (alone) {
      ::kill(pid_, number);
      return;
    }
    const pid_t foreground = terminal_ ? ::tcgetpgrp(outputs_[kStdout].native_handle()) : -1;
    ::kill(-(foreground > 0 ? foreground : pid_), number);
  }

  void resize(unsigned rows, unsigned columns) override {
    if (terminal_ && outputs_[kStdout].is_open()) set_size(outputs_[kStdout].native_handle(), rows, columns);
  }

  void kill() override {
    killed_ = true;
    kill_session(pid_, SIGKILL);
    stop_waiting_for_output();
    if (exit_) complete();
  }

 private:
  static void set_size(int fd, unsigned rows, unsigned columns) {
    winsize size{};
    size.ws_row = static_cast<unsigned short>(std::clamp(rows, 1U, 10'000U));
    size.ws_col = static_cast<unsigned short>(std::clamp(columns, 1U, 10'000U));
    ::ioctl(fd, TIOCSWINSZ, &size);
  }

  void start_on_pipes(SpawnOptions& spawning, bool input) {
    Pipe in;
    if (input) {
      in = make_pipe();
    } else {
      in.read.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!in.read) throw system_error("opening /dev/null", errno);
      input_open_ = false;
    }
    Pipe out = make_pipe();
    Pipe err = make_pipe();
    spawning.descriptors = {{in.read.get(), 0}, {out.write.get(), 1}, {err.write.get(), 2}};
    pid_ = spawn(spawning);
    if (input) input_.assign(in.write.release());
    outputs_[kStdout].assign(out.read.release());
    outputs_[kStderr].assign(err.read.release());
    for (Descriptor* descriptor : {&input_, &outputs_[kStdout], &outputs_[kStderr]}) {
      if (descriptor->is_open()) descriptor->native_non_blocking(true);
    }
  }

  void start_on_terminal(SpawnOptions& spawning, std::pair<unsigned, unsigned> size) {
    UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    std::array<char, 64> name{};
    if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0 ||
        ::ptsname_r(master.get(), name.data(), name.size()) != 0) {
      throw system_error("opening a pseudo-terminal", errno);
    }
    const UniqueFd slave(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!slave) throw system_error("opening a pseudo-terminal", errno);
    set_size(master.get(), size.first, size.second);
    spawning.descriptors = {{slave.get(), 0}, {slave.get(), 1}, {slave.get(), 2}};
    spawning.controlling_terminal = true;
    pid_ = spawn(spawning);
    terminal_ = true;
    outputs_[kStdout].assign(master.release());
    outputs_[kStdout].native_non_blocking(true);
  }

  static asio::awaitable<void> pump(std::shared_ptr<ExecStream> self, std::size_t channel) {
    Descriptor& from = self->outputs_[channel];
    std::vector<char> buffer;
    while (true) {
      const bool room_left = co_await self->wait_for_room(channel);
      if (!room_left) break;
      const std::size_t room = std::min(kPiece, self->output(channel).room());
      if (self->exit_ && !self->to_end_of_output_) {
        // Its own output is all there already. What stays open is held by something it left behind, and
        // nobody could say when that ends.
        buffer.resize(room);
        const ssize_t n = ::read(from.native_handle(), buffer.data(), room);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        self->produce(channel, {buffer.data(), static_cast<std::size_t>(n)});
        continue;
      }
      const auto [waited] = co_await from.async_wait(Descriptor::wait_read, kAsTuple);
      if (waited == asio::error::operation_aborted) continue;  // on_exit() or cancel_input()
      if (waited) break;
      buffer.resize(room);
      const ssize_t n = ::read(from.native_handle(), buffer.data(), room);
      if (n > 0) {
        self->produce(channel, {buffer.data(), static_cast<std::size_t>(n)});
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        break;
      }
      if (n > 0 && static_cast<std::size_t>(n) < buffer.size() / 2)
        buffer = {};  // quiet streams hold no memory
    }
    boost::system::error_code ignored;
    from.close(ignored);
    self->complete();
  }

  void on_exit(ExitStatus status) {
    exit_ = status;
    timer_.cancel();
    if (timed_out_) {
      kill_session(pid_, SIGKILL);  // what outlived SIGTERM, too
      to_end_of_output_ = false;
    }
    boost::system::error_code ignored;
    input_.close(ignored);
    if (!to_end_of_output_) cancel_reads();
    changed().notify_all();
    complete();
  }

  void cancel_reads() {
    boost::system::error_code ignored;
    for (Descriptor& output : outputs_) {
      if (output.is_open()) output.cancel(ignored);
    }
  }

  void stop_waiting_for_output() {
    if (!std::exchange(to_end_of_output_, false) || !exit_) return;
    cancel_reads();
    changed().notify_all();
  }

  void complete() {
    if (!exit_ || finished()) return;
    if (!killed_ && (outputs_[kStdout].is_open() || outputs_[kStderr].is_open())) return;
    json::object result{{"exit_code", exit_->code}};
    if (exit_->signal != 0) result["signal"] = exit_->signal;
    if (timed_out_) result["timed_out"] = true;
    finish(std::move(result));
  }

  void terminate() {
    kill_session(pid_, SIGTERM);
    timer_.expires_after(kTermGrace);
    timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      const auto self = weak.lock();
      if (self && !error) kill_session(self->pid_, SIGKILL);
    });
  }

  ChildReaper& reaper_;
  Descriptor input_;
  std::array<Descriptor, kChannels> outputs_;
  asio::steady_timer timer_;
  pid_t pid_ = -1;
  bool terminal_ = false;
  bool to_end_of_output_ = false;
  bool timed_out_ = false;
  bool killed_ = false;
  std::optional<ExitStatus> exit_;
};

}  // namespace

std::shared_ptr<Stream> start_exec(const asio::any_io_executor& executor, ChildReaper& reaper, std::string id,
                                   const ExecRequest& request) {
  auto stream = std::make_shared<ExecStream>(executor, reaper, std::move(id));
  stream->start(request);
  return stream;
}

}  // namespace sandkey::agent
