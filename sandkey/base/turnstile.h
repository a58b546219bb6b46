// Lets coroutines through one at a time, in the order they came.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <list>
#include <utility>

namespace sandkey {

// All on one executor that runs one thing at a time.
class Turnstile {
 public:
  explicit Turnstile(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}

  // Holding it keeps the others out.
  class Pass {
   public:
    explicit Pass(Turnstile& turnstile) : turnstile_(&turnstile) {}
    Pass(Pass&& other) noexcept : turnstile_(std::exchange(other.turnstile_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() {
      if (turnstile_ != nullptr) turnstile_->leave();
    }

   private:
    Turnstile* turnstile_;
  };

  // A wait that is cancelled leaves the queue and ends as any cancelled operation does.
  [[nodiscard]] boost::asio::awaitable<Pass> enter();

 private:
  struct Waiter {
    boost::asio::steady_timer timer;
    bool granted = false;
  };
  void leave();

  boost::asio::any_io_executor executor_;
  bool taken_ = false;
  std::list<Waiter*> queue_;
};

}  // namespace sandkey
