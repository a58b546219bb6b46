// The server of one emulated cloud: it writes each request down, lets the script break it, and hands it on.
#pragma once

#include "sandkey/emulator/cloud.h"
#include "sandkey/emulator/exchange.h"
#include "sandkey/emulator/faults.h"
#include "sandkey/emulator/journal.h"
#include "sandkey/net/certificate_authority.h"
#include "sandkey/net/http_server.h"
#include "sandkey/net/tls_listener.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <memory>
#include <set>
#include <string>

namespace sandkey::emulator {

// Waits that all end at once when there is no time left for them.
class Pauses {
 public:
  explicit Pauses(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}
  boost::asio::awaitable<void> wait(std::chrono::milliseconds time);
  boost::asio::awaitable<void> wait_for_end() { return wait(std::chrono::hours(24 * 365)); }
  void end();

 private:
  boost::asio::any_io_executor executor_;
  std::set<boost::asio::steady_timer*> timers_;
  bool ended_ = false;
};

class Front {
 public:
  // Serves at once, on loopback ports of the system's choice. All but `world` must outlive it.
  Front(World world, const CloudEntry& entry, const boost::asio::any_io_executor& executor, Journal& journal,
        FaultScript& faults, const net::CertificateAuthority& authority);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] Cloud& cloud() noexcept { return *cloud_; }
  [[nodiscard]] const Addresses& addresses() const noexcept { return addresses_; }

  // Closes all connections and returns when no request is running any more.
  boost::asio::awaitable<void> close();

 private:
  boost::asio::awaitable<void> serve(net::HttpExchange& raw);
  boost::asio::awaitable<void> run(net::HttpExchange& exchange, const Call& call);
  boost::asio::awaitable<void> break_it(RecordedExchange& exchange, const Call& call, Fault fault);
  boost::asio::awaitable<void> echo(RecordedExchange& exchange);

  World world_;
  std::string name_;
  Journal& journal_;
  FaultScript& faults_;
  Pauses pauses_;
  std::unique_ptr<Cloud> cloud_;
  std::size_t running_ = 0;
  boost::asio::steady_timer none_running_;
  net::HttpServer server_;
  std::unique_ptr<net::TlsListener> tls_;
  Addresses addresses_;
};

}  // namespace sandkey::emulator
