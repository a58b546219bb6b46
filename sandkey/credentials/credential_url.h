// Addresses that credentials are sent to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sandkey {

struct CredentialUrl {
  bool https = false;
  std::string host = {};  // lower case; IPv6 without brackets
  // SCHEME://HOST[:PORT][/PATH], lower-case scheme and host, without the scheme's own port and a last '/'.
  std::string url = {};

  // Whether it is this machine: "localhost", a name under it, 127.0.0.0/8 or ::1.
  [[nodiscard]] bool loopback() const noexcept;
};

// Strict: http or https, a host of the usual characters, no user, query or fragment. Nothing for all else.
[[nodiscard]] std::optional<CredentialUrl> parse_credential_url(std::string_view text);

// Whether it is a domain name (or a host with a port) to put behind "https://api.".
[[nodiscard]] bool is_domain(std::string_view text) noexcept;

}  // namespace sandkey
