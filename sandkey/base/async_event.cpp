#include "sandkey/base/async_event.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sandkey {

namespace asio = boost::asio;

asio::awaitable<bool> AsyncEvent::wait_until(TimePoint deadline) {
  asio::steady_timer timer(executor_, deadline);
  struct Registration {
    std::vector<asio::steady_timer*>& waiters;
    asio::steady_timer* timer;
    ~Registration() { std::erase(waiters, timer); }
  };
  waiters_.push_back(&timer);
  const Registration registration{waiters_, &timer};
  const auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return error == asio::error::operation_aborted;
}

}  // namespace sandkey
