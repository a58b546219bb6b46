#include "sandkey/net/network_settings.h"

#include "sandkey/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace sandkey {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using Variables = std::map<std::string, std::string>;

// What a client would do in an environment of these variables alone.
NetworkDescription describe(Variables variables, const std::string& url = "https://api.example.com/v1",
                            const HttpClientOptions& options = {}) {
  const Engine engine({.environment = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  }});
  return describe_network(engine, options, url);
}

using Chosen = std::pair<std::string, std::string>;

Chosen proxy(Variables variables, const std::string& url = "https://api.example.com/v1",
             const HttpClientOptions& options = {}) {
  const NetworkDescription description = describe(std::move(variables), url, options);
  return {description.proxy, description.proxy_source};
}

TEST(NetworkSettings, ProxiesInTheirOrder) {
  EXPECT_EQ(proxy({}), Chosen("", "no proxy is set"));
  EXPECT_EQ(
      proxy({{"https_proxy", "http://a:1"}, {"HTTPS_PROXY", "http://b:1"}, {"all_proxy", "http://c:1"}}),
      Chosen("http://a:1", "https_proxy"));
  EXPECT_EQ(proxy({{"https_proxy", ""}, {"HTTPS_PROXY", "http://b:1"}}), Chosen("http://b:1", "HTTPS_PROXY"))
      << "an empty one is none";
  EXPECT_EQ(proxy({{"all_proxy", "socks5h://c:1"}, {"ALL_PROXY", "http://d:1"}}),
            Chosen("socks5h://c:1", "all_proxy"));
  EXPECT_EQ(proxy({{"ALL_PROXY", "http://d:1"}}), Chosen("http://d:1", "ALL_PROXY"));
  EXPECT_EQ(proxy({{"http_proxy", "http://a:1"}}), Chosen("", "no proxy is set")) << "that is for http";
  EXPECT_EQ(proxy({{"http_proxy", "http://a:1"}}, "http://example.com/"), Chosen("http://a:1", "http_proxy"));
  EXPECT_EQ(proxy({{"HTTP_PROXY", "http://a:1"}}, "http://example.com/"), Chosen("", "no proxy is set"));
}

TEST(NetworkSettings, OptionsBeforeTheEnvironment) {
  const Variables set = {{"https_proxy", "http://a:1"}, {"no_proxy", "*"}};
  EXPECT_EQ(proxy(set, "https://example.com", {.proxy = "http://mine:1"}),
            Chosen("http://mine:1", "the client's options"));
  EXPECT_EQ(proxy({{"https_proxy", "http://a:1"}}, "https://example.com", {.proxy_from_environment = false}),
            Chosen("", "no proxy is set"));
}

TEST(NetworkSettings, HostsWithoutAProxy) {
  const Variables set = {{"all_proxy", "http://a:1"}, {"no_proxy", "example.com"}};
  EXPECT_EQ(proxy(set, "https://api.example.com"), Chosen("", "no_proxy"));
  EXPECT_EQ(proxy(set, "https://other.test"), Chosen("http://a:1", "all_proxy"));
  EXPECT_EQ(proxy({{"all_proxy", "http://a:1"}, {"NO_PROXY", "*"}}), Chosen("", "NO_PROXY"));
  for (const char* url : {"http://127.0.0.1:8080", "https://localhost", "http://[::1]:1/"}) {
    EXPECT_EQ(proxy(set, url, {.proxy = "http://mine:1"}), Chosen("", "a host of this machine")) << url;
  }
}

TEST(NetworkSettings, AProxysPasswordIsNotShown) {
  for (const char* address :
       {"http://me:hush@proxy.test:3128", "me:hush@proxy.test:3128", "http://me:hu@sh@proxy.test:3128/"}) {
    const std::string shown = describe({{"all_proxy", address}}).proxy;
    EXPECT_THAT(shown, HasSubstr("proxy.test:3128"));
    EXPECT_THAT(shown, Not(HasSubstr("me:")));
    EXPECT_THAT(shown, Not(HasSubstr("@")));
  }
}

TEST(NetworkSettings, NoProxyLists) {
  struct Row {
    const char* list;
    const char* host;
    bool in;
  };
  const Row rows[] = {
      {"", "example.com", false},
      {"*", "example.com", true},
      {"a.test, example.com", "example.com", true},
      {"a.test\texample.com", "Example.COM", true},
      {"example.com", "www.example.com", true},
      {".example.com", "www.example.com", true},
      {".example.com", "example.com", true},
      {"example.com.", "www.example.com.", true},
      {"example.com", "notexample.com", false},
      {"www.example.com", "example.com", false},
      {".", "example.com", false},
      {"10.0.0.1", "10.0.0.1", true},
      {"0.0.1", "10.0.0.1", false},
      {"10.0.0.0/8", "10.200.3.4", true},
      {"10.0.0.0/9", "10.128.0.0", false},
      {"10.0.0.0/0", "192.0.2.1", true},
      {"10.0.0.0/33", "10.0.0.0", false},
      {"10.0.0.0/x", "10.0.0.0", false},
      {"10.0.0.0/8", "10.example.com", false},
      {"2001:db8::/32", "[2001:db8::7]", true},
      {"[2001:db8::7]", "2001:DB8::7", true},
      {"2001:db8::/32", "[2001:db9::7]", false},
      {"::/0", "10.0.0.1", false},
  };
  for (const Row& row : rows)
    EXPECT_EQ(is_in_no_proxy(row.list, row.host), row.in) << row.list << " " << row.host;
}

TEST(NetworkSettings, AuthoritiesInTheirOrder) {
  const NetworkDescription own = describe({});
  EXPECT_EQ(own.ca_source, "libcurl's default");
  EXPECT_FALSE(own.ca_file.empty() && own.ca_folder.empty());
  const bool has_file = std::filesystem::exists(own.ca_file);
  EXPECT_EQ(own.ca_folder.empty(), has_file) << "the system's file holds what its folder does";

  const NetworkDescription file = describe({{"SSL_CERT_FILE", "/f.pem"}});
  EXPECT_EQ(file.ca_file, "/f.pem");
  EXPECT_FALSE(file.ca_folder.empty() && !own.ca_folder.empty()) << "each in place of its own kind";
  EXPECT_EQ(file.ca_source, "SSL_CERT_FILE");

  const NetworkDescription both = describe({{"SSL_CERT_FILE", "/f.pem"}, {"SSL_CERT_DIR", "/d"}});
  EXPECT_EQ(both.ca_folder, "/d");
  EXPECT_EQ(both.ca_source, "SSL_CERT_FILE and SSL_CERT_DIR");
  EXPECT_EQ(describe({{"SSL_CERT_DIR", "/d"}}).ca_file, own.ca_file);

  const NetworkDescription bundle = describe({{"CURL_CA_BUNDLE", "/b.pem"}, {"SSL_CERT_FILE", "/f.pem"}});
  EXPECT_EQ(bundle.ca_file, "/b.pem");
  EXPECT_EQ(bundle.ca_folder, "") << "and nothing else";
  EXPECT_EQ(bundle.ca_source, "CURL_CA_BUNDLE");
  EXPECT_EQ(describe({{"CURL_CA_BUNDLE", ""}, {"SSL_CERT_FILE", "/f.pem"}}).ca_source, "SSL_CERT_FILE");

  const NetworkDescription mine =
      describe({{"CURL_CA_BUNDLE", "/b.pem"}}, "https://example.com", {.ca_file = "/o.pem"});
  EXPECT_EQ(mine.ca_file, "/o.pem");
  EXPECT_EQ(mine.ca_folder, "") << "those of the options are all";
  EXPECT_EQ(mine.ca_source, "the client's options");
}

TEST(NetworkSettings, WhatCannotBeDescribed) {
  EXPECT_THROW((void)describe({}, "ftp://example.com"), Error);
  EXPECT_THROW((void)describe({}, "https://me:hush@example.com"), Error);
  EXPECT_THROW((void)describe({}, "https://example.com", {.ca_file = "a", .ca_pem = "b"}), Error);
}

}  // namespace
}  // namespace sandkey
