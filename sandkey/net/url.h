// Where a server is (`http://host:port[/prefix]`, `https://...`, `unix:/path`), and the URLs of what it
// serves.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey {

// Name and value of each query parameter, not encoded.
using QueryParameters = std::vector<std::pair<std::string, std::string>>;

// A parsed address. Immutable; holds no secret, since addresses with user names or passwords are refused.
class Endpoint {
 public:
  // Throws Error(invalid_argument) saying what is wrong with `what` ("--agent", "daytona_api_url"); an
  // address that may hold a password is not quoted.
  [[nodiscard]] static Endpoint parse(std::string_view address, std::string_view what = "the address");

  // The URL of `path`: the endpoint's prefix, then the path's segments, then the query. The path is plain
  // text that begins with '/'; each '/' separates, all else is encoded as needed (a segment that may itself
  // hold a '/' goes through url_of). For Unix sockets the host is "localhost". Throws Error(invalid_argument)
  // for a path without its '/', or with "." or ".." in it, which servers resolve.
  [[nodiscard]] std::string url(std::string_view path, const QueryParameters& query = {}) const;
  // The same from single segments, in which '/' is data.
  [[nodiscard]] std::string url_of(const std::vector<std::string>& segments,
                                   const QueryParameters& query = {}) const;

  // The path, for HttpRequest::unix_socket; empty where the address is no Unix socket.
  [[nodiscard]] const std::string& unix_socket() const noexcept { return unix_socket_; }
  [[nodiscard]] bool is_unix() const noexcept { return !unix_socket_.empty(); }
  [[nodiscard]] bool is_https() const noexcept { return https_; }
  // A Unix socket, 127.0.0.0/8, ::1, localhost or a name below it: bytes that do not leave this machine.
  [[nodiscard]] bool is_loopback() const noexcept;
  // Without brackets, lower case; "localhost" for Unix sockets.
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  // Encoded, without a final '/'; empty if there is none.
  [[nodiscard]] const std::string& prefix() const noexcept { return prefix_; }
  // `unix:/path`, or scheme, host, port (unless it is the scheme's own) and prefix. parse() takes it back.
  [[nodiscard]] std::string to_string() const;
  // scheme://host[:port], with which every URL of this endpoint begins.
  [[nodiscard]] std::string origin() const;

 private:
  Endpoint() = default;

  std::string unix_socket_;
  std::string host_;
  std::string prefix_;
  std::uint16_t port_ = 0;
  bool https_ = false;
};

// scheme://host[:port] of an http or https URL from anywhere, lower case; empty if it is none, or holds a
// user name or password.
[[nodiscard]] std::string origin_of(std::string_view url);

// As Endpoint::is_loopback, for a bare host name or address (brackets around IPv6 allowed).
[[nodiscard]] bool is_loopback_host(std::string_view host) noexcept;

}  // namespace sandkey
