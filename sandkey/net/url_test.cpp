#include "sandkey/net/url.h"

#include "sandkey/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sandkey {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string refusal(std::string_view address) {
  try {
    (void)Endpoint::parse(address, "--agent");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  ADD_FAILURE() << address << " was accepted";
  return {};
}

TEST(Url, Http) {
  const Endpoint e = Endpoint::parse("http://Example.com:8080/base/");
  EXPECT_EQ(e.host(), "example.com");
  EXPECT_EQ(e.port(), 8080);
  EXPECT_EQ(e.prefix(), "/base");
  EXPECT_FALSE(e.is_https());
  EXPECT_FALSE(e.is_unix());
  EXPECT_FALSE(e.is_loopback());
  EXPECT_EQ(e.to_string(), "http://example.com:8080/base");
  EXPECT_EQ(e.url("/a"), "http://example.com:8080/base/a");
}

TEST(Url, HttpsAndDefaultPorts) {
  const Endpoint e = Endpoint::parse("HTTPS://api.e2b.dev");
  EXPECT_TRUE(e.is_https());
  EXPECT_EQ(e.port(), 443);
  EXPECT_EQ(e.to_string(), "https://api.e2b.dev");
  EXPECT_EQ(e.url("/"), "https://api.e2b.dev/");
  EXPECT_EQ(Endpoint::parse("http://x").port(), 80);
  EXPECT_EQ(Endpoint::parse("https://x:80").to_string(), "https://x:80");
}

TEST(Url, Ipv6) {
  const Endpoint e = Endpoint::parse("http://[::1]:3000");
  EXPECT_EQ(e.host(), "::1");
  EXPECT_TRUE(e.is_loopback());
  EXPECT_EQ(e.to_string(), "http://[::1]:3000");
}

TEST(Url, Unix) {
  for (const char* text : {"unix:/run/a b.sock", "unix:///run/x"}) {
    if (std::string_view(text).find(' ') != std::string_view::npos) {
      EXPECT_THAT(refusal(text), HasSubstr("blanks"));
      continue;
    }
    const Endpoint e = Endpoint::parse(text);
    EXPECT_TRUE(e.is_unix());
    EXPECT_TRUE(e.is_loopback());
    EXPECT_EQ(e.unix_socket(), "/run/x");
    EXPECT_EQ(e.to_string(), "unix:/run/x");
    EXPECT_EQ(e.url("/alive"), "http://localhost/alive");
  }
}

TEST(Url, PathAndQueryAreEncoded) {
  const Endpoint e = Endpoint::parse("http://h/p");
  EXPECT_EQ(e.url("/a b/\xC3\xA9%?#"), "http://h/p/a%20b/%C3%A9%25%3F%23");
  EXPECT_EQ(e.url("/x/"), "http://h/p/x/");
  EXPECT_EQ(e.url("/x", {{"path", "/a b&c=d"}, {"e", ""}}), "http://h/p/x?path=%2Fa%20b%26c%3Dd&e=");
  EXPECT_EQ(e.url_of({"sandboxes", "a/b"}), "http://h/p/sandboxes/a%2Fb");
  EXPECT_EQ(e.url_of({}, {{"k", "v"}}), "http://h/p/?k=v");
}

TEST(Url, DotSegmentsAndRelativePathsAreRefused) {
  const Endpoint e = Endpoint::parse("http://h");
  EXPECT_THROW((void)e.url("/a/../b"), Error);
  EXPECT_THROW((void)e.url("/."), Error);
  EXPECT_THROW((void)e.url_of({".."}), Error);
  EXPECT_THROW((void)e.url("a"), Error);
  EXPECT_THROW((void)e.url(""), Error);
}

TEST(Url, RefusalsSayWhy) {
  EXPECT_EQ(
      refusal("localhost:80"),
      "--agent \"localhost:80\" has no scheme; expected http://HOST:PORT, https://HOST[:PORT] or unix:/PATH");
  EXPECT_THAT(refusal(""), HasSubstr("is empty"));
  EXPECT_THAT(refusal("ftp://x"), HasSubstr("unknown scheme"));
  EXPECT_THAT(refusal("http://"), HasSubstr("host"));
  EXPECT_THAT(refusal("http://h:99999"), HasSubstr("port"));
  EXPECT_THAT(refusal("http://h:x"), HasSubstr("port"));
  EXPECT_THAT(refusal("http://h:0"), HasSubstr("port"));
  EXPECT_THAT(refusal("http://[::1"), HasSubstr("IPv6"));
  EXPECT_THAT(refusal("http://h/\n"), HasSubstr("control characters"));
  EXPECT_THAT(refusal("http://h?token=s3cret"), AllOf(HasSubstr("query"), Not(HasSubstr("s3cret"))));
  EXPECT_THAT(refusal("http://h#f"), HasSubstr("fragment"));
  EXPECT_THAT(refusal("unix:relative"), HasSubstr("absolute path"));
  EXPECT_THAT(refusal("unix:/" + std::string(200, 'x')), HasSubstr("too long"));
}

TEST(Url, PasswordsAreRefusedAndNotRepeated) {
  EXPECT_THAT(refusal("http://user:s3cret@host"), AllOf(HasSubstr("password"), Not(HasSubstr("s3cret"))));
  EXPECT_THAT(refusal("http://@host"), HasSubstr("password"));
  EXPECT_THAT(refusal("http://user:s3cret@host:bad"), Not(HasSubstr("s3cret")));
}

TEST(Url, Loopback) {
  for (const char* host :
       {"localhost", "LOCALHOST", "a.localhost", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"}) {
    EXPECT_TRUE(is_loopback_host(host)) << host;
  }
  for (const char* host :
       {"", "example.com", "127.0.0.1.example.com", "10.0.0.1", "::2", "localhost.com", "128.0.0.1"}) {
    EXPECT_FALSE(is_loopback_host(host)) << host;
  }
}

}  // namespace
}  // namespace sandkey
