#include "sandkey/base/secret.h"

#include <strings.h>

#include <cstring>
#include <utility>

namespace sandkey {

void wipe(void* data, std::size_t size) noexcept {
  if (size != 0) explicit_bzero(data, size);
}

Secret::Secret(std::string_view value)
    : bytes_(value.empty() ? nullptr : std::make_unique<char[]>(value.size())), size_(value.size()) {
  if (size_ != 0) std::memcpy(bytes_.get(), value.data(), size_);
}

Secret::Secret(Secret&& other) noexcept
    : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    wipe(bytes_.get(), size_);
    bytes_ = std::move(other.bytes_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Secret::~Secret() {
  wipe(bytes_.get(), size_);
}

bool Secret::matches(std::string_view candidate) const noexcept {
  if (candidate.size() != size_) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    difference = static_cast<unsigned char>(difference | (bytes_[i] ^ candidate[i]));
  }
  return difference == 0;
}

}  // namespace sandkey
