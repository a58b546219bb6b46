#include "sandkey/net/network_settings.h"

#include "sandkey/base/error.h"
#include "sandkey/net/ascii.h"
#include "sandkey/net/curl_library.h"
#include "sandkey/net/url.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <system_error>

namespace sandkey {

namespace {

constexpr char kOptions[] = "the client's options";

std::string_view without_brackets(std::string_view host) {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') return host.substr(1, host.size() - 2);
  return host;
}

std::string_view without_final_dot(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name;
}

// An IPv4 or IPv6 address.
struct Address {
  std::array<unsigned char, 16> bytes{};
  std::size_t size = 0;
};

std::optional<Address> parse_address(std::string_view text) {
  const std::string copy(text);
  Address address;
  if (inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) {
    address.size = 4;
  } else if (inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) {
    address.size = 16;
  } else {
    return std::nullopt;
  }
  return address;
}

bool share_bits(const Address& a, const Address& b, std::size_t bits) {
  for (std::size_t i = 0; i < bits; ++i) {
    const unsigned difference = static_cast<unsigned>(a.bytes[i / 8]) ^ b.bytes[i / 8];
    if (((difference >> (7 - i % 8)) & 1U) != 0) return false;
  }
  return true;
}

bool is_network_of(std::string_view entry, const Address& address) {
  const std::size_t slash = std::min(entry.find('/'), entry.size());
  const auto network = parse_address(without_brackets(entry.substr(0, slash)));
  if (!network || network->size != address.size) return false;
  std::size_t bits = address.size * 8;
  if (slash != entry.size()) {
    const std::string_view number = entry.substr(slash + 1);
    std::size_t given = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), given);
    if (error != std::errc() || end != number.data() + number.size() || given > bits) return false;
    bits = given;
  }
  return share_bits(*network, address, bits);
}

bool is_name_of(std::string_view entry, std::string_view host) {
  if (entry.starts_with('.')) entry.remove_prefix(1);
  entry = without_final_dot(entry);
  if (entry.empty() || entry.size() > host.size()) return false;
  const std::size_t above = host.size() - entry.size();
  return same_ignoring_case(entry, host.substr(above)) && (above == 0 || host[above - 1] == '.');
}

// A proxy's address as it may be shown.
std::string without_user(std::string_view address) {
  const std::size_t scheme = address.find("://");
  const std::size_t begin = scheme == address.npos ? 0 : scheme + 3;
  const std::size_t at = address.substr(0, address.find_first_of("/?#", begin)).rfind('@');
  if (at == address.npos || at < begin) return std::string(address);
  return std::string(address.substr(0, begin)) + std::string(address.substr(at + 1));
}

struct FreeEasy {
  void operator()(CURL* easy) const noexcept { curl().easy_cleanup(easy); }
};

// One of libcurl's built-in paths; empty if it has none, or is too old to tell.
std::string built_in(CURLINFO which) {
  const std::unique_ptr<CURL, FreeEasy> easy(curl().easy_init());
  char* path = nullptr;
  if (!easy || curl().easy_getinfo(easy.get(), which, &path) != CURLE_OK || path == nullptr) return {};
  return path;
}

}  // namespace

bool is_in_no_proxy(std::string_view list, std::string_view host) {
  constexpr std::string_view kSeparators = ", \t";
  host = without_final_dot(without_brackets(host));
  const auto address = parse_address(host);
  while (!list.empty()) {
    const std::size_t end = std::min(list.find_first_of(kSeparators), list.size());
    const std::string_view entry = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    if (entry.empty()) continue;
    if (entry == "*" || (address ? is_network_of(entry, *address) : is_name_of(entry, host))) return true;
  }
  return false;
}

NetworkSettings::NetworkSettings(const Engine& engine, const HttpClientOptions& options)
    : proxy_(options.proxy) {
  if (options.proxy_from_environment) {
    http_proxy_ = find(engine, {"http_proxy", "all_proxy", "ALL_PROXY"});
    https_proxy_ = find(engine, {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"});
    no_proxy_ = find(engine, {"no_proxy", "NO_PROXY"});
  }
  find_authorities(engine, options);
}

std::optional<NetworkSettings::Variable> NetworkSettings::find(const Engine& engine,
                                                               std::initializer_list<const char*> names) {
  for (const char* const name : names) {
    std::optional<std::string> value = engine.environment(name);
    if (value && !value->empty()) return Variable{.name = name, .value = std::move(*value)};
  }
  return std::nullopt;
}

void NetworkSettings::find_authorities(const Engine& engine, const HttpClientOptions& options) {
  if (!options.ca_file.empty() && !options.ca_pem.empty()) {
    throw Error(ErrorCode::invalid_argument,
                "the HTTP client takes certificates to trust from a file or as text, not both");
  }
  if (!options.ca_file.empty() || !options.ca_pem.empty()) {
    ca_file_ = options.ca_file;
    ca_folder_ = "";
    ca_pem_ = options.ca_pem;
    ca_source_ = kOptions;
    return;
  }
  if (const auto bundle = find(engine, {"CURL_CA_BUNDLE"})) {
    ca_file_ = bundle->value;
    ca_folder_ = "";
    ca_source_ = bundle->name;
    return;
  }
  const auto file = find(engine, {"SSL_CERT_FILE"});
  const auto folder = find(engine, {"SSL_CERT_DIR"});
  if (file) {
    ca_file_ = file->value;
    ca_source_ = file->name;
  }
  if (folder) {
    ca_folder_ = folder->value;
    ca_source_ = file ? file->name + " and " + folder->name : folder->name;
  }
}

std::optional<std::string> NetworkSettings::ca_folder_in_use() const {
  if (ca_folder_ || ca_file_) return ca_folder_;
  const std::string file = built_in(CURLINFO_CAINFO);
  std::error_code error;
  const bool suffices = !file.empty() && ::access(file.c_str(), R_OK) == 0 &&
                        std::filesystem::file_size(file, error) > 0 && !error;
  return suffices ? std::optional<std::string>("") : std::nullopt;
}

NetworkSettings::Proxy NetworkSettings::proxy_for(bool https, std::string_view host) const {
  if (is_loopback_host(host)) return {.address = {}, .source = "a host of this machine"};
  if (!proxy_.empty()) return {.address = proxy_, .source = kOptions};
  const std::optional<Variable>& variable = https ? https_proxy_ : http_proxy_;
  if (!variable) return {.address = {}, .source = "no proxy is set"};
  if (no_proxy_ && is_in_no_proxy(no_proxy_->value, host)) return {.address = {}, .source = no_proxy_->name};
  return {.address = variable->value, .source = variable->name};
}

NetworkDescription describe_network(const Engine& engine, const HttpClientOptions& options,
                                    std::string_view url) {
  const Endpoint endpoint = Endpoint::parse(origin_of(url), "the URL");
  const NetworkSettings settings(engine, options);
  const NetworkSettings::Proxy proxy = settings.proxy_for(endpoint.is_https(), endpoint.host());
  NetworkDescription description;
  description.proxy = without_user(proxy.address);
  description.proxy_source = proxy.source;
  description.ca_file = settings.ca_file() ? *settings.ca_file() : built_in(CURLINFO_CAINFO);
  const std::optional<std::string> folder = settings.ca_folder_in_use();
  description.ca_folder = folder ? *folder : built_in(CURLINFO_CAPATH);
  description.ca_source = settings.ca_source();
  return description;
}

}  // namespace sandkey
