#include "sandkey/providers/modal/emulator/output_log.h"

#include <algorithm>

namespace sandkey::modal::emulator {

void OutputLog::append(std::string_view bytes) {
  kept_ += bytes;
  const std::size_t held = kept();
  if (held <= limit_) return;
  head_ += held - limit_;
  begin_ += held - limit_;
  // Moving what is kept for every byte that goes would be slow.
  if (head_ >= limit_) {
    kept_.erase(0, head_);
    head_ = 0;
  }
}

std::string OutputLog::read(std::uint64_t offset, std::size_t most) const {
  if (offset < begin_ || offset >= size()) return {};
  const std::size_t place = head_ + static_cast<std::size_t>(offset - begin_);
  return kept_.substr(place, std::min(most, kept_.size() - place));
}

}  // namespace sandkey::modal::emulator
