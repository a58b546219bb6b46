#include "sandkey/agent/streams/output_window.h"

#include <algorithm>

namespace sandkey::agent {

void OutputWindow::append(std::string_view bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void OutputWindow::acknowledge(std::uint64_t offset) {
  offset = std::clamp(offset, begin(), end());
  head_ += static_cast<std::size_t>(offset - begin_);
  begin_ = offset;
  if (head_ == bytes_.size()) {
    bytes_.clear();
    head_ = 0;
    if (bytes_.capacity() > kCapacity / 4) bytes_.shrink_to_fit();
  } else if (head_ > kCapacity / 2) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
}

std::string_view OutputWindow::from(std::uint64_t offset) const noexcept {
  const std::size_t at = head_ + static_cast<std::size_t>(std::clamp(offset, begin(), end()) - begin_);
  return {bytes_.data() + at, bytes_.size() - at};
}

}  // namespace sandkey::agent
