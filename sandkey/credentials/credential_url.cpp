#include "sandkey/credentials/credential_url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

namespace sandkey {
namespace {

constexpr std::size_t kLongest = 2048;

char lower(char c) {
  return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

std::string lowered(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

bool alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z');
}

bool host_name(std::string_view host) {
  if (host.empty() || host.size() > 253 || host.front() == '.' || host.front() == '-') return false;
  if (host.find("..") != std::string_view::npos) return false;
  return std::all_of(host.begin(), host.end(),
                     [](char c) { return alphanumeric(c) || c == '.' || c == '-' || c == '_'; });
}

std::optional<std::uint16_t> port_number(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

}  // namespace

bool CredentialUrl::loopback() const noexcept {
  if (host == "localhost" || host.ends_with(".localhost") || host == "::1") return true;
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && ntohl(address.s_addr) >> 24U == 127U;
}

std::optional<CredentialUrl> parse_credential_url(std::string_view text) {
  if (text.size() > kLongest) return std::nullopt;
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string scheme = lowered(text.substr(0, colon));
  if (scheme != "http" && scheme != "https") return std::nullopt;
  CredentialUrl endpoint{.https = scheme == "https"};

  std::string_view authority = text.substr(colon + 3);
  const std::size_t slash = std::min(authority.find('/'), authority.size());
  std::string_view path = authority.substr(slash);
  authority = authority.substr(0, slash);

  std::string shown_host;
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    endpoint.host = lowered(authority.substr(1, close - 1));
    std::array<unsigned char, sizeof(in6_addr)> address{};
    if (::inet_pton(AF_INET6, endpoint.host.c_str(), address.data()) != 1) return std::nullopt;
    shown_host = "[" + endpoint.host + "]";
    port = authority.substr(close + 1);
  } else {
    const std::size_t end = std::min(authority.find(':'), authority.size());
    endpoint.host = lowered(authority.substr(0, end));
    if (!host_name(endpoint.host)) return std::nullopt;
    shown_host = endpoint.host;
    port = authority.substr(end);
  }
  std::string shown_port;
  if (!port.empty()) {
    if (port.front() != ':') return std::nullopt;
    const auto number = port_number(port.substr(1));
    if (!number) return std::nullopt;
    if (*number != (endpoint.https ? 443 : 80)) shown_port = ":" + std::to_string(*number);
  }
  const bool plain_path = std::all_of(path.begin(), path.end(), [](char c) {
    return c > 0x20 && c < 0x7f && c != '?' && c != '#' && c != '\\' && c != '@';
  });
  if (!plain_path) return std::nullopt;
  while (path.ends_with('/')) path.remove_suffix(1);
  endpoint.url = scheme + "://" + shown_host + shown_port + std::string(path);
  return endpoint;
}

bool is_domain(std::string_view text) noexcept {
  const std::size_t colon = std::min(text.find(':'), text.size());
  return host_name(text.substr(0, colon)) && (colon == text.size() || port_number(text.substr(colon + 1)));
}

}  // namespace sandkey
