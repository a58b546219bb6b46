#include "sandkey/emulator/machine/visits.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <utility>

namespace sandkey::machine {

namespace asio = boost::asio;

class Visits::Visit {
 public:
  Visit(Visits& visits, net::HttpExchange& exchange)
      : visits_(visits), place_(visits.visitors_.emplace(visits.visitors_.end())) {
    place_->exchange = &exchange;
  }
  ~Visit() {
    visits_.visitors_.erase(place_);
    if (visits_.visitors_.empty()) visits_.idle_.notify_all();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  [[nodiscard]] asio::cancellation_slot slot() const { return place_->signal.slot(); }

 private:
  Visits& visits_;
  std::list<Visitor>::iterator place_;
};

asio::awaitable<void> Visits::serve(net::HttpExchange& exchange, asio::awaitable<void> answering) {
  const Visit visit(*this, exchange);
  // On a cancellation slot of its own.
  co_await asio::co_spawn(executor_, std::move(answering),
                          asio::bind_cancellation_slot(visit.slot(), asio::use_awaitable));
}

void Visits::break_off() {
  for (Visitor& visitor : visitors_) {
    visitor.exchange->abort();
    visitor.signal.emit(asio::cancellation_type::terminal);
  }
}

asio::awaitable<void> Visits::wait_for_end() {
  while (!visitors_.empty()) (void)co_await idle_.wait();
}

}  // namespace sandkey::machine
