// A blocking HTTP client of a few lines, for tests: it sends exactly the bytes it is given.
//
// Every wait has a deadline far beyond what anything takes, so that a defect fails a test instead of hanging
// it.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace sandkey::test {

struct RawResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool complete = false;  // as its length, its last chunk or the end of the connection says

  [[nodiscard]] std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

class RawClient {
 public:
  static constexpr std::chrono::seconds kPatience{60};

  static RawClient to_unix(const std::string& path) {
    std::optional<RawClient> client = try_unix(path);
    if (!client) throw std::runtime_error("connecting to " + path + ": " + std::strerror(errno));
    return std::move(*client);
  }
  static std::optional<RawClient> try_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw std::runtime_error("too long: " + path);
    std::memcpy(address.sun_path, path.data(), path.size());
    return connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  static RawClient to_tcp(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::optional<RawClient> client =
        connect(AF_INET, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (!client) throw std::runtime_error("connecting to port " + std::to_string(port));
    return std::move(*client);
  }

  // False when the other side does not take it all any more.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  // True once there is something to read, the end of the connection included.
  [[nodiscard]] bool readable(std::chrono::milliseconds wait) const {
    pollfd entry{fd_.get(), POLLIN, 0};
    return !pending_.empty() || ::poll(&entry, 1, static_cast<int>(wait.count())) > 0;
  }
  void end_sending() { ::shutdown(fd_.get(), SHUT_WR); }
  void hang_up() { fd_.reset(); }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] bool timed_out() const noexcept { return timed_out_; }

  // The next reply; nothing when the connection ended before one began.
  std::optional<RawResponse> response(bool to_head = false) {
    std::size_t end = 0;
    while ((end = pending_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return std::nullopt;
    }
    const std::string head = take(end + 4);
    RawResponse made;
    if (head.size() < 12 || head.rfind("HTTP/1.1 ", 0) != 0) throw std::runtime_error("not HTTP: " + head);
    made.status = std::stoi(head.substr(9, 3));
    for (std::size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
      const std::size_t line_end = head.find("\r\n", at);
      const std::size_t colon = head.find(": ", at);
      if (colon == std::string::npos || colon > line_end) throw std::runtime_error("bad header: " + head);
      std::string name = head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      made.headers[name] = head.substr(colon + 2, line_end - colon - 2);
      at = line_end + 2;
    }
    if (to_head || made.status == 100 || made.status == 204 || made.status == 304) {
      made.complete = true;
    } else if (made.header("transfer-encoding") == "chunked") {
      read_chunks(made);
    } else if (made.headers.count("content-length") != 0) {
      const std::size_t length = std::stoull(made.header("content-length"));
      while (pending_.size() < length && fill()) {
      }
      made.complete = pending_.size() >= length;
      made.body = take(std::min(length, pending_.size()));
    } else {
      while (fill()) {
      }
      made.body = take(pending_.size());
      made.complete = !timed_out_;
    }
    return made;
  }
  // The next bytes, whatever they mean; empty at the end of the connection.
  std::string some() {
    if (pending_.empty()) (void)fill();
    return take(pending_.size());
  }
  // Whether the connection ends here, without another byte.
  bool at_end() { return pending_.empty() && !fill() && !timed_out_; }

 private:
  explicit RawClient(UniqueFd fd) : fd_(std::move(fd)) {}

  static std::optional<RawClient> connect(int family, const sockaddr* address, socklen_t size) {
    UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) throw std::runtime_error(std::string("making a socket: ") + std::strerror(errno));
    const timeval patience{kPatience.count(), 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (::connect(fd.get(), address, size) != 0) return std::nullopt;
    return RawClient(std::move(fd));
  }

  bool fill() {
    char buffer[64 * 1024];
    for (;;) {
      const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (n < 0 && errno == EINTR) continue;
      timed_out_ = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
      if (n > 0) pending_.append(buffer, static_cast<std::size_t>(n));
      return n > 0;
    }
  }
  std::string take(std::size_t size) {
    std::string taken = pending_.substr(0, size);
    pending_.erase(0, size);
    return taken;
  }
  void read_chunks(RawResponse& into) {
    for (;;) {
      std::size_t end = 0;
      while ((end = pending_.find("\r\n")) == std::string::npos) {
        if (!fill()) return;
      }
      const std::size_t length = std::stoull(pending_.substr(0, end), nullptr, 16);
      while (pending_.size() < end + 2 + length + 2) {
        if (!fill()) return;
      }
      take(end + 2);
      into.body += take(length);
      if (take(2) != "\r\n") throw std::runtime_error("a chunk does not end where it should");
      if (length == 0) {
        into.complete = true;
        return;
      }
    }
  }

  UniqueFd fd_;
  std::string pending_;
  bool timed_out_ = false;
};

}  // namespace sandkey::test
