#include "sandkey/base/turnstile.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

namespace sandkey {

boost::asio::awaitable<Turnstile::Pass> Turnstile::enter() {
  if (!taken_) {
    taken_ = true;
    co_return Pass(*this);
  }
  Waiter waiter{boost::asio::steady_timer(executor_, boost::asio::steady_timer::time_point::max())};
  struct Place {
    Turnstile& turnstile;
    Waiter& waiter;
    bool kept = false;
    ~Place() {
      if (kept) return;
      turnstile.queue_.remove(&waiter);
      if (waiter.granted) turnstile.leave();  // it was our turn just when we gave up
    }
  } place{*this, waiter};
  queue_.push_back(&waiter);
  (void)co_await waiter.timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  if (!waiter.granted) throw boost::system::system_error(boost::asio::error::operation_aborted);
  place.kept = true;
  co_return Pass(*this);
}

void Turnstile::leave() {
  if (queue_.empty()) {
    taken_ = false;
    return;
  }
  Waiter* next = queue_.front();
  queue_.pop_front();
  next->granted = true;
  next->timer.cancel();
}

}  // namespace sandkey
