// The requests a server inside a sandbox is answering, so that they can all be broken off.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <list>

namespace sandkey::machine {

// On one thread, that of `executor`.
class Visits {
 public:
  explicit Visits(boost::asio::any_io_executor executor) : executor_(executor), idle_(executor) {}

  // Runs what answers the exchange, so that it can be broken off from here.
  boost::asio::awaitable<void> serve(net::HttpExchange& exchange, boost::asio::awaitable<void> answering);
  // Of all: the connection, and what answers it.
  void break_off();
  // Until there is none.
  boost::asio::awaitable<void> wait_for_end();

 private:
  struct Visitor {
    net::HttpExchange* exchange;
    boost::asio::cancellation_signal signal;
  };
  class Visit;

  boost::asio::any_io_executor executor_;
  std::list<Visitor> visitors_;
  AsyncEvent idle_;
};

}  // namespace sandkey::machine
