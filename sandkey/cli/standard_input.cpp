#include "sandkey/cli/standard_input.h"

#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

std::array<UniqueFd, 2> make_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) throw system_error("making a pipe", errno);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Whether `fd` is ready before somebody closes the other end of `stop`.
bool wait_for(int fd, short events, int stop) {
  std::array<pollfd, 2> waiting{
      {{.fd = fd, .events = events, .revents = 0}, {.fd = stop, .events = POLLIN, .revents = 0}}};
  while (::poll(waiting.data(), waiting.size(), -1) < 0) {
    if (errno != EINTR) return false;
  }
  return waiting[1].revents == 0;
}

void copy_input(const UniqueFd& into, const UniqueFd& stop) {
  ::fcntl(into.get(), F_SETFL, O_NONBLOCK);  // so that a full pipe cannot keep us from seeing `stop`
  std::vector<char> buffer(std::size_t{64} * 1024);
  while (wait_for(STDIN_FILENO, POLLIN, stop.get())) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return;
    std::string_view rest(buffer.data(), static_cast<std::size_t>(n));
    while (!rest.empty()) {
      if (!wait_for(into.get(), POLLOUT, stop.get())) return;
      const ssize_t written = ::write(into.get(), rest.data(), rest.size());
      if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
      if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    }
  }
}

}  // namespace

struct StandardInput::Reader {
  Reader(const boost::asio::any_io_executor& executor, int fd) : pipe(executor, fd) {}
  boost::asio::posix::stream_descriptor pipe;
};

StandardInput::StandardInput(const boost::asio::any_io_executor& executor) {
  auto [from, into] = make_pipe();
  auto [stopped, stop] = make_pipe();
  reader_ = std::make_unique<Reader>(executor, from.release());
  reader_->pipe.native_non_blocking(true);
  stop_ = std::move(stop);
  // It uses nothing of ours.
  std::thread([into = std::move(into), stopped = std::move(stopped)] { copy_input(into, stopped); }).detach();
}

StandardInput::~StandardInput() = default;

boost::asio::awaitable<std::size_t> StandardInput::read_some(std::span<std::byte> buffer) {
  const auto [error, n] = co_await reader_->pipe.async_read_some(
      boost::asio::buffer(buffer.data(), buffer.size()), boost::asio::as_tuple(boost::asio::use_awaitable));
  co_return n;
}

}  // namespace sandkey::cli
