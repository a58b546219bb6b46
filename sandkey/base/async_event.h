// A condition that coroutines of one thread wait for.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <vector>

namespace sandkey {

// Use as a condition variable: check your predicate, then wait, and check again. Since everything runs on one
// thread, nothing can be notified between the check and the wait.
class AsyncEvent {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit AsyncEvent(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}

  void notify_all() {
    for (boost::asio::steady_timer* waiter : waiters_) waiter->cancel();
  }

  // False when the time came first.
  [[nodiscard]] boost::asio::awaitable<bool> wait_until(TimePoint deadline);
  [[nodiscard]] boost::asio::awaitable<bool> wait() { return wait_until(TimePoint::max()); }

 private:
  boost::asio::any_io_executor executor_;
  std::vector<boost::asio::steady_timer*> waiters_;
};

}  // namespace sandkey
