// TLS in front of an HttpServer: it decrypts here and speaks plainly to the server over a pair of sockets, so
// that the server knows nothing of it. A client that asks by ALPN gets HTTP/2, if the server speaks it.
#pragma once

#include "sandkey/net/http_server.h"

#include <boost/asio/any_io_executor.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace sandkey::net {

// PEM: the certificate (with its chain, if any), and its key.
struct TlsIdentity {
  std::string certificate = {};
  std::string key = {};
};

inline constexpr std::size_t kMaxTlsConnections = 1000;

// On one executor, as the server. The server must outlive it.
class TlsListener {
 public:
  // Throws Error(invalid_argument) for an identity that is none.
  TlsListener(boost::asio::any_io_executor executor, HttpServer& server, const TlsIdentity& identity);
  ~TlsListener();
  TlsListener(const TlsListener&) = delete;
  TlsListener& operator=(const TlsListener&) = delete;

  // On 127.0.0.1; port 0 lets the system choose. Returns the port.
  std::uint16_t listen_loopback(std::uint16_t port);
  // Closes listener and connections.
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sandkey::net
