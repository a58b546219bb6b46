// Talking to the kernel by netlink: what is needed to set up a network namespace, and no more.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace sandkey::sandbox {

// One or more messages, as bytes. Attributes are put into the message begun last.
class NetlinkMessages {
 public:
  void begin(std::uint16_t type, std::uint16_t flags);
  void end();

  template <typename Struct>
  void put(const Struct& value) {
    static_assert(std::is_trivially_copyable_v<Struct>);
    append(&value, sizeof(value));
  }
  void attribute(std::uint16_t type, std::span<const std::uint8_t> value);
  void attribute(std::uint16_t type, std::string_view text);  // with a zero behind it
  template <typename Integer>
  requires std::is_integral_v<Integer>
  void attribute(std::uint16_t type, Integer value) {
    attribute(type, std::span(reinterpret_cast<const std::uint8_t*>(&value), sizeof(value)));
  }
  // nftables has its integers in network order.
  void attribute_be32(std::uint16_t type, std::uint32_t value);
  // What is put until leave() goes into this attribute.
  [[nodiscard]] std::size_t enter(std::uint16_t type);
  void leave(std::size_t entered);

  [[nodiscard]] std::string_view bytes() const noexcept { return bytes_; }

 private:
  void append(const void* data, std::size_t size);
  std::string bytes_;
  std::size_t begun_ = 0;
};

class NetlinkSocket {
 public:
  // NETLINK_ROUTE and the like. Throws Error.
  explicit NetlinkSocket(int protocol);

  // Sends, and waits until each message with NLM_F_ACK is acknowledged. Throws Error(`what`: the first
  // error).
  void request(const NetlinkMessages& messages, const std::string& what);

 private:
  UniqueFd socket_;
};

}  // namespace sandkey::sandbox
