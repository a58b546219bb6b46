#include "sandkey/net/url.h"

#include "sandkey/base/error.h"
#include "sandkey/base/percent.h"
#include "sandkey/net/curl_library.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>
#include <memory>

namespace sandkey {

namespace {

void append_segment(std::string& out, std::string_view segment) {
  if (segment == "." || segment == "..") {
    throw Error(ErrorCode::invalid_argument,
                "a URL's path cannot have a segment \"" + std::string(segment) + "\"");
  }
  out += '/';
  out += percent_encode(segment);
}

void append_query(std::string& out, const QueryParameters& query) {
  char separator = '?';
  for (const auto& [name, value] : query) {
    out += separator;
    out += percent_encode(name);
    out += '=';
    out += percent_encode(value);
    separator = '&';
  }
}

struct FreeUrl {
  void operator()(CURLU* url) const noexcept { curl().url_cleanup(url); }
};

std::string part(CURLU* url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl().url_get(url, which, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string result(text);
  curl().free(text);
  return result;
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

std::string origin_of(std::string_view url) {
  const std::size_t scheme_end = url.find("://");
  if (scheme_end == url.npos) return {};
  const std::string_view origin = url.substr(0, url.find_first_of("/?#", scheme_end + 3));
  try {
    return Endpoint::parse(origin).origin();
  } catch (const Error&) {
    return {};
  }
}

bool is_loopback_host(std::string_view host) noexcept {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.size() > 253) return false;
  // Small enough for a fixed buffer: this runs once per request.
  char text[256];
  std::transform(host.begin(), host.end(), text,
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  std::size_t size = host.size();
  if (size != 0 && text[size - 1] == '.') --size;
  text[size] = '\0';
  const std::string_view name(text, size);
  constexpr std::string_view kLocalhost = "localhost";
  if (name == kLocalhost || name.ends_with(".localhost")) return true;
  in_addr v4{};
  if (inet_pton(AF_INET, text, &v4) == 1) return (ntohl(v4.s_addr) >> 24U) == 127U;
  in6_addr v6{};
  return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

Endpoint Endpoint::parse(std::string_view address, std::string_view what) {
  const auto refuse = [&](const std::string& why) {
    std::string message(what);
    const bool printable =
        std::all_of(address.begin(), address.end(), [](char c) { return c > ' ' && c < 0x7f; });
    // What stands before an '@' may be a password, and what a query holds a token.
    if (!address.empty() && address.size() <= 256 && printable &&
        address.find_first_of("@?#") == address.npos) {
      message += " \"" + std::string(address) + "\"";
    }
    return Error(ErrorCode::invalid_argument,
                 message + " " + why + "; expected http://HOST:PORT, https://HOST[:PORT] or unix:/PATH");
  };
  if (address.empty()) throw refuse("is empty");
  if (std::any_of(address.begin(), address.end(),
                  [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; })) {
    throw refuse("has blanks or control characters in it");
  }

  Endpoint result;
  constexpr std::string_view kUnix = "unix:";
  if (address.starts_with(kUnix)) {
    std::string_view path = address.substr(kUnix.size());
    if (path.starts_with("//")) path.remove_prefix(2);  // unix:///run/x, as others write it
    if (path.empty() || path.front() != '/') throw refuse("has no absolute path after unix:");
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
      throw refuse("is too long for a socket (" + std::to_string(path.size()) + " of at most " +
                   std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes)");
    }
    result.unix_socket_ = path;
    result.host_ = "localhost";
    result.port_ = 80;
    return result;
  }

  const std::size_t scheme_end = address.find("://");
  if (scheme_end == address.npos) throw refuse("has no scheme");
  const std::string scheme = lower(std::string(address.substr(0, scheme_end)));
  if (scheme != "http" && scheme != "https") throw refuse("has an unknown scheme");
  result.https_ = scheme == "https";

  const std::unique_ptr<CURLU, FreeUrl> url(curl().url());
  if (!url) throw std::bad_alloc();
  switch (curl().url_set(url.get(), CURLUPART_URL, std::string(address).c_str(), 0)) {
    case CURLUE_OK:
      break;
    case CURLUE_BAD_PORT_NUMBER:
      throw refuse("has a port that is not a number from 1 to 65535");
    case CURLUE_NO_HOST:
    case CURLUE_BAD_HOSTNAME:
      throw refuse("has no valid host name");
    case CURLUE_BAD_IPV6:
      throw refuse("has a malformed IPv6 address");
    case CURLUE_OUT_OF_MEMORY:
      throw std::bad_alloc();
    default:
      throw refuse("is not a valid URL");
  }
  if (!part(url.get(), CURLUPART_USER).empty() || !part(url.get(), CURLUPART_PASSWORD).empty() ||
      address.substr(scheme_end + 3, address.find_first_of("/?#", scheme_end + 3) - scheme_end - 3)
              .find('@') != address.npos) {
    throw refuse("holds a user name or password, which do not belong there");
  }
  if (address.find('?') != address.npos) throw refuse("has a query");
  if (address.find('#') != address.npos) throw refuse("has a fragment");

  result.host_ = lower(part(url.get(), CURLUPART_HOST));
  if (result.host_.size() >= 2 && result.host_.front() == '[')
    result.host_ = result.host_.substr(1, result.host_.size() - 2);
  const std::string port = part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  result.port_ = static_cast<std::uint16_t>(std::stoul(port));
  if (result.port_ == 0) throw refuse("has a port that is not a number from 1 to 65535");
  result.prefix_ = part(url.get(), CURLUPART_PATH);
  while (result.prefix_.ends_with('/')) result.prefix_.pop_back();
  return result;
}

bool Endpoint::is_loopback() const noexcept {
  return is_unix() || is_loopback_host(host_);
}

std::string Endpoint::origin() const {
  if (is_unix()) return "http://localhost";
  std::string out = https_ ? "https://" : "http://";
  out += host_.find(':') == std::string::npos ? host_ : "[" + host_ + "]";
  if (port_ != (https_ ? 443 : 80)) out += ":" + std::to_string(port_);
  return out;
}

std::string Endpoint::to_string() const {
  if (is_unix()) return "unix:" + unix_socket_;
  return origin() + prefix_;
}

std::string Endpoint::url(std::string_view path, const QueryParameters& query) const {
  if (path.empty() || path.front() != '/') {
    throw Error(ErrorCode::invalid_argument, "a URL's path must begin with '/'");
  }
  std::string out = origin() + prefix_;
  for (std::size_t from = 1; from <= path.size();) {
    const std::size_t to = std::min(path.find('/', from), path.size());
    append_segment(out, path.substr(from, to - from));
    from = to + 1;
  }
  append_query(out, query);
  return out;
}

std::string Endpoint::url_of(const std::vector<std::string>& segments, const QueryParameters& query) const {
  std::string out = origin() + prefix_;
  for (const std::string& segment : segments) append_segment(out, segment);
  if (segments.empty()) out += '/';
  append_query(out, query);
  return out;
}

}  // namespace sandkey
