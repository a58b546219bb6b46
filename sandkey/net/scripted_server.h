// For tests: a server of raw sockets, which sends exactly the bytes a test writes.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/net/http_client.h"

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sandkey {

// One accepted connection, blocking. Reads give what there was when the other side closes.
class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}

  // Up to and with the blank line; empty at the end of the connection. A body's beginning stays for
  // read_exactly.
  std::string read_head() {
    for (;;) {
      const std::size_t end = pending_.find("\r\n\r\n");
      if (end != std::string::npos) return take(end + 4);
      if (!fill()) return {};
    }
  }
  std::string read_exactly(std::size_t size) {
    while (pending_.size() < size && fill()) {
    }
    return take(std::min(size, pending_.size()));
  }
  std::string read_line() {
    for (;;) {
      const std::size_t end = pending_.find("\r\n");
      if (end != std::string::npos) return take(end + 2);
      if (!fill()) return {};
    }
  }
  // False when the other side is gone.
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // Sends without blocking; the bytes the kernel took.
  std::size_t send_what_fits(std::string_view text) {
    const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  [[nodiscard]] bool writable_within(std::chrono::milliseconds time) const {
    pollfd entry{.fd = fd_.get(), .events = POLLOUT, .revents = 0};
    return poll(&entry, 1, static_cast<int>(time.count())) > 0;
  }
  // For bytes that no function here has read.
  [[nodiscard]] int descriptor() const { return fd_.get(); }
  void wait_for_end() {
    while (fill()) pending_.clear();
  }
  void reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  // These two may come from different threads.
  void close() {
    const std::lock_guard lock(mutex_);
    fd_.reset();
  }
  void shutdown() {
    const std::lock_guard lock(mutex_);
    ::shutdown(fd_.get(), SHUT_RDWR);
  }

 private:
  bool fill() {
    char piece[65536];
    const ssize_t count = recv(fd_.get(), piece, sizeof piece, 0);
    if (count <= 0) return false;
    pending_.append(piece, static_cast<std::size_t>(count));
    return true;
  }
  std::string take(std::size_t size) {
    std::string taken = pending_.substr(0, size);
    pending_.erase(0, size);
    return taken;
  }

  std::mutex mutex_;
  UniqueFd fd_;
  std::string pending_;
};

// Runs `serve` on a thread of its own for each connection.
class Server {
 public:
  using Serve = std::function<void(Connection&)>;

  explicit Server(Serve serve, bool unix_socket = false) : serve_(std::move(serve)) {
    if (unix_socket) {
      char name[] = "/tmp/sandkey-http-XXXXXX";
      directory_ = mkdtemp(name);
      socket_path = directory_ + "/s";
      listener_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
      start(&address, sizeof address);
      url = "http://localhost";
    } else {
      listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      start(&address, sizeof address);
      socklen_t size = sizeof address;
      getsockname(listener_.get(), generic(&address), &size);
      url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    }
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~Server() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const auto& connection : connections_) connection->shutdown();
    }
    for (std::thread& thread : threads_) thread.join();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] HttpRequest get(const std::string& path = "/") const {
    HttpRequest request;
    request.url = url + path;
    request.unix_socket = socket_path;
    return request;
  }

  std::string url;
  std::string socket_path;
  std::atomic<int> accepted = 0;

 private:
  static sockaddr* generic(void* address) { return static_cast<sockaddr*>(address); }
  void start(void* address, socklen_t size) {
    if (bind(listener_.get(), generic(address), size) != 0 || listen(listener_.get(), 512) != 0) std::abort();
  }
  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      ++accepted;
      const std::lock_guard lock(mutex_);
      connections_.push_back(std::make_unique<Connection>(fd));
      threads_.emplace_back([this, connection = connections_.back().get()] { serve_(*connection); });
    }
  }

  Serve serve_;
  UniqueFd listener_;
  std::string directory_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::thread> threads_;  // the acceptor's until it is joined
  std::thread acceptor_;
};

// Answers every request of a connection with the same bytes.
inline Server::Serve always(std::string answer) {
  return [answer = std::move(answer)](Connection& c) {
    while (!c.read_head().empty() && c.send(answer)) {
    }
  };
}

// Answers once, then closes.
inline Server::Serve once(std::string answer) {
  return [answer = std::move(answer)](Connection& c) {
    c.read_head();
    c.send(answer);
    c.shutdown();
  };
}

template <typename Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::internal, "");
}

inline constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

}  // namespace sandkey
