// Replies by idempotency key, so that a repeated request runs nothing twice.
#pragma once

#include "sandkey/base/async_event.h"

#include <boost/asio/any_io_executor.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

namespace sandkey::agent {

struct CachedReply {
  int status = 200;
  std::string body;
};

class ReplyCache {
 public:
  // Replies held, and their bytes; beyond them the oldest are dropped, but their keys are still known.
  static constexpr std::size_t kMaxReplies = 64;
  static constexpr std::size_t kMaxBytes = std::size_t{8} * 1024 * 1024;
  static constexpr std::size_t kMaxKeys = 4096;
  static constexpr std::size_t kMaxKey = 200;

  struct Slot {
    explicit Slot(boost::asio::any_io_executor executor) : ready(std::move(executor)) {}
    bool done = false;
    std::optional<CachedReply> reply;  // empty although done: dropped
    AsyncEvent ready;
  };

  explicit ReplyCache(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}

  // The slot of a key, and whether this call made it (and its caller must fill it).
  [[nodiscard]] std::pair<std::shared_ptr<Slot>, bool> claim(const std::string& key);
  void fill(const std::shared_ptr<Slot>& slot, CachedReply reply);

 private:
  boost::asio::any_io_executor executor_;
  std::unordered_map<std::string, std::shared_ptr<Slot>> slots_;
  std::deque<std::string> order_;              // of claiming
  std::deque<std::shared_ptr<Slot>> replies_;  // of filling
  std::size_t bytes_ = 0;
};

}  // namespace sandkey::agent
