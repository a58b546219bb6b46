// What was made for which request: a client that repeats one because its answer was lost says so by the same
// X-Request-Id, and gets what was made instead of a second one.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace sandkey::runloop::emulator {

class Once {
 public:
  // The newest are remembered.
  static constexpr std::size_t kMost = 10'000;

  // Empty if nothing was made for it. A request without an id is never a repeated one.
  [[nodiscard]] std::string made_for(std::string_view account, std::string_view request) const {
    const auto found = made_.find(key(account, request));
    return request.empty() || found == made_.end() ? std::string() : found->second;
  }
  void remember(std::string_view account, std::string_view request, std::string made) {
    if (request.empty()) return;
    const auto [place, is_new] = made_.insert_or_assign(key(account, request), std::move(made));
    if (is_new) order_.push_back(place->first);
    if (order_.size() <= kMost) return;
    made_.erase(order_.front());
    order_.pop_front();
  }

 private:
  using Key = std::pair<std::string, std::string>;
  static Key key(std::string_view account, std::string_view request) {
    return {std::string(account), std::string(request)};
  }

  std::map<Key, std::string> made_;
  std::deque<Key> order_;
};

}  // namespace sandkey::runloop::emulator
