// A bounded piece of a long byte stream, addressed by absolute offsets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sandkey::agent {

// Keeps what was produced and not yet acknowledged. Its capacity bounds memory: a producer waits while it is
// full.
class OutputWindow {
 public:
  static constexpr std::size_t kCapacity = std::size_t{1024} * 1024;

  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }  // first byte still held
  [[nodiscard]] std::uint64_t end() const noexcept { return begin_ + size(); }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() - head_; }
  [[nodiscard]] std::size_t room() const noexcept { return kCapacity - size(); }

  // At most room() bytes.
  void append(std::string_view bytes);
  // Everything before `offset` was received and may go. Offsets outside what is held are clamped.
  void acknowledge(std::uint64_t offset);
  // Bytes from `offset` (within [begin, end]); valid until the next change.
  [[nodiscard]] std::string_view from(std::uint64_t offset) const noexcept;

 private:
  std::vector<char> bytes_;
  std::size_t head_ = 0;  // acknowledged bytes at the front of bytes_, removed in bulk
  std::uint64_t begin_ = 0;
};

}  // namespace sandkey::agent
