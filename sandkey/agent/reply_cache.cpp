#include "sandkey/agent/reply_cache.h"

#include <utility>

namespace sandkey::agent {

std::pair<std::shared_ptr<ReplyCache::Slot>, bool> ReplyCache::claim(const std::string& key) {
  const auto found = slots_.find(key);
  if (found != slots_.end()) return {found->second, false};
  // A key whose action still runs is never forgotten.
  for (std::size_t i = 0; order_.size() >= kMaxKeys && i < order_.size(); ++i) {
    std::string oldest = std::move(order_.front());
    order_.pop_front();
    if (slots_.at(oldest)->done) {
      slots_.erase(oldest);
    } else {
      order_.push_back(std::move(oldest));
    }
  }
  auto slot = std::make_shared<Slot>(executor_);
  slots_.emplace(key, slot);
  order_.push_back(key);
  return {std::move(slot), true};
}

void ReplyCache::fill(const std::shared_ptr<Slot>& slot, CachedReply reply) {
  bytes_ += reply.body.size();
  slot->reply = std::move(reply);
  slot->done = true;
  slot->ready.notify_all();
  replies_.push_back(slot);
  // The newest always stays: its client may not have it yet.
  while (replies_.size() > 1 && (replies_.size() > kMaxReplies || bytes_ > kMaxBytes)) {
    bytes_ -= replies_.front()->reply->body.size();
    replies_.front()->reply.reset();
    replies_.pop_front();
  }
}

}  // namespace sandkey::agent
