#include "sandkey/sandbox/network/address_block.h"

#include "sandkey/base/error.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <tuple>

namespace sandkey::sandbox {
namespace {

// Everything behind the prefix becomes zero.
AddressBlock cut(AddressBlock block) {
  for (std::size_t i = 0; i < block.address.size(); ++i) {
    const std::size_t first_bit = i * 8;
    const std::size_t kept =
        block.prefix > first_bit ? std::min<std::size_t>(block.prefix - first_bit, 8) : 0;
    block.address[i] = static_cast<std::uint8_t>(block.address[i] & (0xff00U >> kept));
  }
  return block;
}

AddressBlock of_socket_address(const sockaddr* address) {
  AddressBlock block{.family = address->sa_family};
  if (block.family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof(in));
    std::memcpy(block.address.data(), &in.sin_addr, sizeof(in.sin_addr));
  } else {
    sockaddr_in6 in6{};
    std::memcpy(&in6, address, sizeof(in6));
    std::memcpy(block.address.data(), &in6.sin6_addr, sizeof(in6.sin6_addr));
  }
  block.prefix = static_cast<unsigned>(block.size() * 8);
  return block;
}

bool is_internet(const sockaddr* address) {
  return address != nullptr && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

}  // namespace

std::size_t AddressBlock::size() const noexcept {
  return family == AF_INET ? 4 : 16;
}

std::string AddressBlock::text() const {
  char out[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(family, address.data(), out, sizeof(out));
  return std::string(out) + "/" + std::to_string(prefix);
}

AddressBlock parse_block(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  AddressBlock block{.family = address.find(':') == std::string::npos ? AF_INET : AF_INET6};
  bool valid = ::inet_pton(block.family, address.c_str(), block.address.data()) == 1;
  block.prefix = static_cast<unsigned>(block.size() * 8);
  if (slash != std::string_view::npos) {
    const char* end = text.data() + text.size();
    unsigned prefix = 0;
    const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, prefix);
    valid = valid && error == std::errc() && rest == end && prefix <= block.prefix;
    block.prefix = prefix;
  }
  if (!valid) {
    throw Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is no range of internet addresses");
  }
  return cut(block);
}

bool overlap(const AddressBlock& a, const AddressBlock& b) noexcept {
  if (a.family != b.family) return false;
  AddressBlock x = a;
  AddressBlock y = b;
  x.prefix = y.prefix = std::min(a.prefix, b.prefix);
  return cut(x) == cut(y);
}

const std::vector<AddressBlock>& private_blocks() {
  static const std::vector<AddressBlock> blocks = [] {
    std::vector<AddressBlock> out;
    for (const char* text :
         {"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
          "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
          "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
          // IPv4 in IPv6: unspecified and loopback, compatible, mapped, translated, Teredo, 6to4.
          "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32",
          "2002::/16", "100::/64", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
          "fec0::/10", "ff00::/8"}) {
      out.push_back(parse_block(text));
    }
    return out;
  }();
  return blocks;
}

std::vector<AddressBlock> machine_blocks() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) throw system_error("reading this machine's network addresses", errno);
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, &::freeifaddrs);
  std::vector<AddressBlock> out;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (!is_internet(entry->ifa_addr)) continue;
    AddressBlock block = of_socket_address(entry->ifa_addr);
    out.push_back(block);
    // The other end of a point-to-point link; for others it is their broadcast address.
    if (is_internet(entry->ifa_dstaddr)) out.push_back(of_socket_address(entry->ifa_dstaddr));
    if (entry->ifa_netmask == nullptr) continue;
    // The netmask's own family may be missing.
    sockaddr_storage mask{};
    std::memcpy(&mask, entry->ifa_netmask,
                block.family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    mask.ss_family = static_cast<sa_family_t>(block.family);
    unsigned prefix = 0;
    for (const std::uint8_t byte : of_socket_address(reinterpret_cast<const sockaddr*>(&mask)).address) {
      prefix += static_cast<unsigned>(std::popcount(byte));
    }
    // Some tunnels call everything their neighbour.
    if (prefix == 0) continue;
    block.prefix = prefix;
    out.push_back(cut(block));
  }
  std::sort(out.begin(), out.end(), [](const AddressBlock& a, const AddressBlock& b) {
    return std::tie(a.family, a.address, a.prefix) < std::tie(b.family, b.address, b.prefix);
  });
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace sandkey::sandbox
