// The emulator's own API: accounts, journal, faults, sandboxes, clock. See docs/emulator.md.
//
// It has a port of its own. Every request carries the key, and a loopback Host: a web page in a browser on
// this machine can reach the port, but knows no key and cannot choose a host.
#pragma once

#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/faults.h"
#include "sandkey/emulator/front.h"
#include "sandkey/emulator/journal.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::emulator {

// Whether a Host header names this machine by its loopback: localhost, 127.0.0.1 or [::1], with any port.
[[nodiscard]] bool is_loopback_header(std::string_view host) noexcept;

class Admin {
 public:
  // Serves at once. All must outlive it.
  Admin(const boost::asio::any_io_executor& executor, std::string key, Clock& clock, Journal& journal,
        FaultScript& faults, const std::vector<std::unique_ptr<Front>>& fronts);

  [[nodiscard]] const std::string& url() const noexcept { return url_; }
  [[nodiscard]] const std::string& key() const noexcept { return key_; }
  void stop() { server_.stop(); }

 private:
  boost::asio::awaitable<void> serve(net::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_accounts(net::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_journal(net::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_coverage(net::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_faults(net::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_sandboxes(net::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_clock(net::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_settings(net::HttpExchange& exchange);
  boost::asio::awaitable<void> kill(net::HttpExchange& exchange, std::string id);
  [[nodiscard]] Front& front(std::string_view name) const;

  std::string key_;
  Clock& clock_;
  Journal& journal_;
  FaultScript& faults_;
  const std::vector<std::unique_ptr<Front>>& fronts_;
  net::HttpServer server_;
  std::string url_;
};

}  // namespace sandkey::emulator
