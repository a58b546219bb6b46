// Many callers, one call: whoever comes while it is under way gets its result too.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace sandkey {

// Thread-safe. The call belongs to nobody who waits for it, so one of them being cancelled ends nothing for
// the others; what it refers to must live as long as the engine, or be shared.
template <typename T>
class SingleFlight {
 public:
  explicit SingleFlight(Engine& engine) : tasks_(engine) {}

  // The result of the call under way; starts `call` if there is none. Everybody gets a copy of the result, or
  // of the error.
  asio::awaitable<T> join(std::function<asio::awaitable<T>()> call) {
    const std::shared_ptr<Flight> flight = board(std::move(call));
    const auto executor = co_await asio::this_coro::executor;
    const auto alarm = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
    if (flight->wake_up(alarm)) {
      [[maybe_unused]] const auto [error] = co_await alarm->async_wait(asio::as_tuple(asio::use_awaitable));
      if (!flight->landed()) throw Error(ErrorCode::cancelled, "cancelled");
    }
    if (flight->error) throw_error(*flight->error);
    co_return *flight->result;
  }

 private:
  struct Flight {
    std::mutex mutex;
    bool over = false;
    std::vector<std::shared_ptr<asio::steady_timer>> alarms;
    // Not changed any more once it is over.
    std::optional<T> result;
    std::optional<Error> error;

    bool landed() {
      const std::lock_guard lock(mutex);
      return over;
    }
    // False if there is nothing to wait for.
    bool wake_up(std::shared_ptr<asio::steady_timer> alarm) {
      const std::lock_guard lock(mutex);
      if (!over) alarms.push_back(std::move(alarm));
      return !over;
    }
    void land() {
      std::vector<std::shared_ptr<asio::steady_timer>> ringing;
      {
        const std::lock_guard lock(mutex);
        over = true;
        ringing.swap(alarms);
      }
      for (auto& alarm : ringing) {
        const auto where = alarm->get_executor();
        asio::post(where, [alarm = std::move(alarm)] { alarm->cancel(); });
      }
    }
  };
  // Shared with the call, which may outlive us.
  struct State {
    std::mutex mutex;
    std::shared_ptr<Flight> flight;
  };

  std::shared_ptr<Flight> board(std::function<asio::awaitable<T>()> call) {
    std::shared_ptr<Flight> flight;
    {
      const std::lock_guard lock(state_->mutex);
      if (state_->flight) return state_->flight;
      flight = state_->flight = std::make_shared<Flight>();
    }
    tasks_.spawn(fly(state_, flight, std::move(call)));
    return flight;
  }

  static asio::awaitable<void> fly(std::shared_ptr<State> state, std::shared_ptr<Flight> flight,
                                   std::function<asio::awaitable<T>()> call) {
    try {
      flight->result.emplace(co_await call());
    } catch (const Error& error) {
      // A new one: exceptions are not shared between threads.
      flight->error.emplace(error.code(), std::string(error.what()), error.context());
    } catch (const std::exception& error) {
      flight->error.emplace(ErrorCode::internal, error.what());
    }
    {
      const std::lock_guard lock(state->mutex);
      state->flight = nullptr;
    }
    flight->land();
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
  TaskGroup tasks_;
};

}  // namespace sandkey
