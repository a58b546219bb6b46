#include "sandkey/base/blocking_task.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <utility>

namespace sandkey {

namespace asio = boost::asio;

struct BlockingTask::State {
  explicit State(const asio::any_io_executor& executor)
      : ended(executor, asio::steady_timer::time_point::max()) {}
  // Touched on the executor only.
  bool done = false;
  std::exception_ptr failure;
  asio::steady_timer ended;
};

BlockingTask::BlockingTask(asio::any_io_executor executor, std::function<void()> work)
    : state_(std::make_shared<State>(executor)),
      thread_([state = state_, executor = std::move(executor), work = std::move(work)]() mutable {
        std::exception_ptr failure;
        try {
          work();
        } catch (...) {
          failure = std::current_exception();
        }
        work = nullptr;  // and with it whatever it held open
        asio::post(executor, [state, failure] {
          state->failure = failure;
          state->done = true;
          state->ended.cancel();
        });
      }) {}

BlockingTask::~BlockingTask() {
  if (thread_.joinable()) thread_.join();
}

asio::awaitable<void> BlockingTask::join() {
  if (!state_->done) (void)co_await state_->ended.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!state_->done)
    throw boost::system::system_error(asio::error::operation_aborted);  // cancelled meanwhile
  if (thread_.joinable()) thread_.join();
  if (state_->failure) std::rethrow_exception(std::exchange(state_->failure, nullptr));
}

asio::awaitable<void> run_to_end(std::function<void()> work) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  BlockingTask task(executor, std::move(work));
  co_await asio::co_spawn(executor, task.join(),
                          asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
}

}  // namespace sandkey
