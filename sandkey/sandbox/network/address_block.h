// Ranges of internet addresses.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::sandbox {

// A network prefix of either family.
struct AddressBlock {
  int family = 0;                             // AF_INET or AF_INET6
  std::array<std::uint8_t, 16> address = {};  // the first size() of them; zero behind the prefix
  unsigned prefix = 0;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::string text() const;  // "10.0.0.0/8"
  friend bool operator==(const AddressBlock&, const AddressBlock&) = default;
};

// "10.0.0.0/8", or one address: "192.0.2.1". Throws Error(invalid_argument).
[[nodiscard]] AddressBlock parse_block(std::string_view text);

[[nodiscard]] bool overlap(const AddressBlock& a, const AddressBlock& b) noexcept;

// All that is not the public internet: loopback, private, shared, link-local (and with it the metadata
// service of every cloud), multicast, reserved and documentation ranges, and IPv6 forms of IPv4 addresses.
[[nodiscard]] const std::vector<AddressBlock>& private_blocks();

// The addresses of this machine's interfaces and the networks attached to them.
[[nodiscard]] std::vector<AddressBlock> machine_blocks();

}  // namespace sandkey::sandbox
