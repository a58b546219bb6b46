// SHA-256 (FIPS 180-4). Our own, since it is only for fingerprints: libcrypto would be one more library to
// load in every program that shows one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sandkey {

class Sha256 {
 public:
  Sha256& update(std::string_view bytes) noexcept;
  // Ends it; call once.
  [[nodiscard]] std::string hex_digest();

 private:
  void block(const std::uint8_t* bytes) noexcept;

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> pending_{};
  std::size_t pending_size_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace sandkey
