// Ports of this machine's loopback that lead into a sandbox.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <functional>
#include <memory>

namespace sandkey::sandbox {

namespace asio = boost::asio;

// Listens until destroyed; its connections are cut when its executor's context ends.
class Relay {
 public:
  using Dial = std::function<asio::awaitable<asio::ip::tcp::socket>()>;
  Relay(const asio::any_io_executor& executor, Dial dial);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  [[nodiscard]] std::uint16_t port() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sandkey::sandbox
