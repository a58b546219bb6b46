// Where a client's connections go and whom they trust: what its options and the environment say together.
//
//   proxy      HttpClientOptions::proxy, or, for a host that no_proxy (NO_PROXY) does not list, https_proxy
//              (HTTPS_PROXY) for https, http_proxy for http (HTTP_PROXY is not read: in a CGI program it is a
//              request's header), then all_proxy (ALL_PROXY). Never for hosts of this machine.
//   trust      HttpClientOptions::ca_file or ca_pem, and nothing else; or CURL_CA_BUNDLE, a file and nothing
//              else; or SSL_CERT_FILE and SSL_CERT_DIR, a file and a folder (in OpenSSL's form), each in
//              place of the system's. The system's folder is only looked into where its file is missing,
//              since it holds the same: from a file alone libcurl reads the certificates once, and with a
//              folder anew for each connection, which takes 70 ms of a processor.
//
// Variables are read when the client is made; an empty one counts as none.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_client.h"

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

// For people to read. Holds no password.
struct NetworkDescription {
  std::string proxy;         // its address without user and password; empty: the server is asked directly
  std::string proxy_source;  // what says so: "https_proxy", "no_proxy", "the client's options", ...
  std::string ca_file;       // PEM; empty: none, or not known
  std::string ca_folder;
  std::string ca_source;  // what says so: "SSL_CERT_FILE", "libcurl's default", ...
};

// How a client with these options would reach the URL now. Loads libcurl. Throws Error(invalid_argument) for
// what is no http or https URL, and for options HttpClient does not take.
[[nodiscard]] NetworkDescription describe_network(const Engine& engine, const HttpClientOptions& options,
                                                  std::string_view url);

// What HttpClient goes by. Immutable.
class NetworkSettings {
 public:
  struct Proxy {
    std::string address;  // may hold a password; empty for none
    std::string source;
  };

  // Throws Error(invalid_argument) for authorities given both as a file and as text.
  NetworkSettings(const Engine& engine, const HttpClientOptions& options);

  [[nodiscard]] Proxy proxy_for(bool https, std::string_view host) const;

  // What to use in place of libcurl's own; an empty text is for no authorities of that kind.
  [[nodiscard]] const std::optional<std::string>& ca_file() const noexcept { return ca_file_; }
  [[nodiscard]] const std::optional<std::string>& ca_folder() const noexcept { return ca_folder_; }
  // The same; or empty where the system's file suffices. Loads libcurl.
  [[nodiscard]] std::optional<std::string> ca_folder_in_use() const;
  [[nodiscard]] const std::string& ca_pem() const noexcept { return ca_pem_; }
  [[nodiscard]] const std::string& ca_source() const noexcept { return ca_source_; }

 private:
  struct Variable {
    std::string name;
    std::string value;
  };
  // The first of those that is set.
  static std::optional<Variable> find(const Engine& engine, std::initializer_list<const char*> names);
  void find_authorities(const Engine& engine, const HttpClientOptions& options);

  std::string proxy_;  // of the options
  std::optional<Variable> http_proxy_;
  std::optional<Variable> https_proxy_;
  std::optional<Variable> no_proxy_;
  std::optional<std::string> ca_file_;
  std::optional<std::string> ca_folder_;
  std::string ca_pem_;
  std::string ca_source_ = "libcurl's default";
};

// Whether a no_proxy list ("*", or host names, addresses and networks as ADDRESS/BITS, between commas or
// blanks) has the host in it. A name stands for the hosts below it too.
[[nodiscard]] bool is_in_no_proxy(std::string_view list, std::string_view host);

}  // namespace sandkey
