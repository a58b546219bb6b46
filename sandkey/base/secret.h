// Text that must never be shown: keys, tokens, passwords.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace sandkey {

// Move-only, kept on the heap only (a moved short std::string leaves its bytes behind), wiped on destruction,
// and without an output operator or a conversion. `expose()` is the only way out; keep its callers few.
class Secret {
 public:
  Secret() noexcept = default;
  explicit Secret(std::string_view value);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  [[nodiscard]] Secret clone() const { return Secret(expose()); }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  // Valid as long as this object lives and is not moved from.
  [[nodiscard]] std::string_view expose() const noexcept { return {bytes_.get(), size_}; }
  // Compares in time that depends on the lengths only.
  [[nodiscard]] bool matches(std::string_view candidate) const noexcept;

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0;
};

// Overwrites memory in a way the compiler may not remove.
void wipe(void* data, std::size_t size) noexcept;

}  // namespace sandkey
