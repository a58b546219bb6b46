#include "sandkey/agent/blocking.h"

#include <memory>
#include <utility>

#include <boost/asio/post.hpp>

#include "sandkey/agent/async_event.h"

namespace sandkey::agent {

struct BlockingTask::State {
  explicit State(const boost::asio::any_io_executor& executor) : ended(executor) {}
  bool done = false;  // touched on the event loop only
  std::exception_ptr failure;
  AsyncEvent ended;
};

BlockingTask::BlockingTask(boost::asio::any_io_executor executor, std::function<void()> work)
    : state_(std::make_shared<State>(executor)),
      thread_([state = state_, executor = std::move(executor), work = std::move(work)] {
        std::exception_ptr failure;
        try {
          work();
        } catch (...) {
          failure = std::current_exception();
        }
        boost::asio::post(executor, [state, failure] {
          state->failure = failure;
          state->done = true;
          state->ended.notify_all();
        });
      }) {}

BlockingTask::~BlockingTask() {
  if (thread_.joinable()) thread_.join();
}

boost::asio::awaitable<void> BlockingTask::join() {
  while (!state_->done) (void)co_await state_->ended.wait();
  if (thread_.joinable()) thread_.join();
  if (state_->failure) std::rethrow_exception(std::exchange(state_->failure, nullptr));
}

}  // namespace sandkey::agent
