#include "sandkey/agent/streams/stream.h"

#include <utility>

namespace sandkey::agent {

Stream::Stream(boost::asio::any_io_executor executor, std::string id)
    : executor_(executor), id_(std::move(id)), changed_(std::move(executor)) {}

void Stream::acknowledge(std::size_t channel, std::uint64_t offset) {
  outputs_[channel].acknowledge(offset);
  changed_.notify_all();
}

boost::asio::awaitable<bool> Stream::wait_for_room(std::size_t channel) {
  while (!finished() && outputs_[channel].room() == 0) (void)co_await changed_.wait();
  co_return !finished();
}

void Stream::produce(std::size_t channel, std::string_view bytes) {
  outputs_[channel].append(bytes);
  changed_.notify_all();
}

void Stream::finish(json::object result) {
  if (!result_) result_ = std::move(result);
  input_open_ = false;
  changed_.notify_all();
}

}  // namespace sandkey::agent
