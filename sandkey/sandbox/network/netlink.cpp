#include "sandkey/sandbox/network/netlink.h"

#include "sandkey/base/error.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>

namespace sandkey::sandbox {

void NetlinkMessages::append(const void* data, std::size_t size) {
  bytes_.append(static_cast<const char*>(data), size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void NetlinkMessages::begin(std::uint16_t type, std::uint16_t flags) {
  begun_ = bytes_.size();
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  append(&header, sizeof(header));
}

void NetlinkMessages::end() {
  const auto length = static_cast<std::uint32_t>(bytes_.size() - begun_);
  std::memcpy(bytes_.data() + begun_ + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
}

void NetlinkMessages::attribute(std::uint16_t type, std::span<const std::uint8_t> value) {
  nlattr header{};
  header.nla_len = static_cast<std::uint16_t>(NLA_HDRLEN + value.size());
  header.nla_type = type;
  append(&header, sizeof(header));
  append(value.data(), value.size());
}

void NetlinkMessages::attribute(std::uint16_t type, std::string_view text) {
  const std::string terminated(text);
  attribute(type,
            std::span(reinterpret_cast<const std::uint8_t*>(terminated.c_str()), terminated.size() + 1));
}

void NetlinkMessages::attribute_be32(std::uint16_t type, std::uint32_t value) {
  attribute(type, htonl(value));
}

std::size_t NetlinkMessages::enter(std::uint16_t type) {
  const std::size_t entered = bytes_.size();
  attribute(static_cast<std::uint16_t>(type | NLA_F_NESTED), std::span<const std::uint8_t>());
  return entered;
}

void NetlinkMessages::leave(std::size_t entered) {
  const auto length = static_cast<std::uint16_t>(bytes_.size() - entered);
  std::memcpy(bytes_.data() + entered + offsetof(nlattr, nla_len), &length, sizeof(length));
}

NetlinkSocket::NetlinkSocket(int protocol)
    : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)) {
  if (!socket_) throw system_error("opening a netlink socket", errno);
  // The kernel answers at once; this is so that a defect cannot hang us.
  constexpr timeval kPatience{.tv_sec = 2, .tv_usec = 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
}

void NetlinkSocket::request(const NetlinkMessages& messages, const std::string& what) {
  const std::string_view bytes = messages.bytes();
  std::size_t expected = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    nlmsghdr header{};
    std::memcpy(&header, bytes.data() + at, sizeof(header));
    if ((header.nlmsg_flags & NLM_F_ACK) != 0) ++expected;
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(socket_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&kernel),
               sizeof(kernel)) != static_cast<ssize_t>(bytes.size())) {
    throw system_error(what, errno);
  }
  alignas(nlmsghdr) char answer[16384];
  while (expected > 0) {
    const ssize_t size = ::recv(socket_.get(), answer, sizeof(answer), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw system_error(what, errno);
    std::size_t at = 0;
    while (at + sizeof(nlmsghdr) <= static_cast<std::size_t>(size)) {
      nlmsghdr header{};
      std::memcpy(&header, answer + at, sizeof(header));
      if (header.nlmsg_len < sizeof(nlmsghdr)) break;
      if (header.nlmsg_type == NLMSG_ERROR) {
        int error = 0;  // the first member of nlmsgerr
        std::memcpy(&error, answer + at + NLMSG_HDRLEN, sizeof(error));
        if (error != 0) throw system_error(what, -error);
        if (--expected == 0) break;
      }
      at += NLMSG_ALIGN(header.nlmsg_len);
    }
  }
}

}  // namespace sandkey::sandbox
