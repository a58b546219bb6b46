// What a process has written, kept for everybody who reads it, at whatever offset, also after its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sandkey::modal::emulator {

class OutputLog {
 public:
  // Of more than `limit` bytes the newest are kept.
  explicit OutputLog(std::size_t limit) : limit_(limit) {}

  void append(std::string_view bytes);
  // Nothing more will come.
  void end() noexcept { ended_ = true; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

  // The offsets of the first byte that is kept, and behind the last one.
  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return begin_ + kept_.size() - head_; }
  [[nodiscard]] std::size_t kept() const noexcept { return kept_.size() - head_; }

  // At most `most` bytes from that offset on, which is begin() or later; empty where there are none yet.
  [[nodiscard]] std::string read(std::uint64_t offset, std::size_t most) const;

 private:
  std::size_t limit_;
  std::string kept_;
  std::size_t head_ = 0;  // of kept_: bytes that are to go
  std::uint64_t begin_ = 0;
  bool ended_ = false;
};

}  // namespace sandkey::modal::emulator
