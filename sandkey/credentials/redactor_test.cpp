#include "sandkey/credentials/redactor.h"

#include "sandkey/credentials/credential.h"
#include "sandkey/credentials/credential_url.h"
#include "sandkey/credentials/part_check.h"
#include "sandkey/credentials/sha256.h"

#include <gtest/gtest.h>

namespace sandkey {
namespace {

TEST(Sha256, AgreesWithTheStandardsVectors) {
  const auto hash = [](std::string_view text) { return Sha256().update(text).hex_digest(); };
  EXPECT_EQ(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hash(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  // Every length around a block, in pieces or whole.
  for (std::size_t size = 50; size < 70; ++size) {
    Sha256 pieces;
    for (std::size_t i = 0; i < size; ++i) pieces.update("x");
    EXPECT_EQ(pieces.hex_digest(), hash(std::string(size, 'x')));
  }
}

TEST(Redactor, FindsAValueInItsCommonForms) {
  Redactor redactor;
  redactor.add("e2b_k/y+1\"\\~:");
  EXPECT_EQ(redactor.redact("<e2b_k/y+1\"\\~:>"), "<[redacted]>");
  EXPECT_EQ(redactor.redact("?key=e2b_k%2Fy%2B1%22%5C~%3A&x"), "?key=[redacted]&x");
  EXPECT_EQ(redactor.redact("?key=e2b%5fk%2fy%2b1%22%5c%7e%3a&x"), "?key=[redacted]&x");
  EXPECT_EQ(redactor.redact(R"({"key":"e2b_k/y+1\"\\~:"})"), R"({"key":"[redacted]"})");
  EXPECT_EQ(redactor.redact(R"({"key":"e2b_k\/y+1\"\\~:"})"), R"({"key":"[redacted]"})");
}

// "user:" + value, "us:" + value and "u:" + value, each with more behind it: every alignment.
TEST(Redactor, FindsAValueWithinBase64) {
  Redactor redactor;
  redactor.add("secret-value");
  // Up to one character at either end is made of a neighbour's bits as well, and stays.
  for (const auto& [text, expected] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"c2VjcmV0LXZhbHVl", "[redacted]"},                              // secret-value
           {"dTpzZWNyZXQtdmFsdWU=", "dTp[redacted]U="},                     // u:secret-value
           {"dXM6c2VjcmV0LXZhbHVlOng=", "dXM6[redacted]Ong="},              // us:secret-value:x
           {"dXNlcjpzZWNyZXQtdmFsdWU6eA==", "dXNlcjp[redacted]U6eA=="}}) {  // user:secret-value:x
    EXPECT_EQ(redactor.redact(text), expected);
  }
  Redactor url;
  url.add("\xfb\xff\xfe\xfb\xff\xfe\xfb\xff");
  EXPECT_EQ(url.redact("-__--__--_8").substr(0, 10), "[redacted]");
  EXPECT_EQ(url.redact("+//++//++/8").substr(0, 10), "[redacted]");
}

TEST(Redactor, TakesTheLongestAndLeavesTheRest) {
  Redactor redactor;
  redactor.add("abcdef");
  redactor.add("abcdefgh");
  redactor.add("short");
  redactor.add("");
  EXPECT_EQ(redactor.redact("abcdefgh abcdef abcde short"), "[redacted] [redacted] abcde short");
  EXPECT_EQ(redactor.redact("abcdefabcdef"), "[redacted][redacted]");
  EXPECT_EQ(redactor.redact(""), "");
  EXPECT_EQ(Redactor().redact("anything % at all"), "anything % at all");
  EXPECT_EQ(redactor.redact("100% %zz %6"), "100% %zz %6");
}

TEST(Redactor, LearnsTheSecretPartsOfACredential) {
  Credential::Data data{.provider = "acme",
                        .form = "a token",
                        .parts = {},
                        .endpoints = {},
                        .settings = {},
                        .origin = {},
                        .warnings = {}};
  data.parts["token"] = {Secret("the-token"), true};
  data.parts["organization"] = {Secret("the-organization"), false};
  const Credential credential(std::move(data));
  Redactor redactor;
  credential.teach(redactor);
  EXPECT_EQ(redactor.redact("the-token of the-organization"), "[redacted] of the-organization");
}

TEST(RedactLookalikes, TakesWhatMayBeAKey) {
  EXPECT_EQ(redact_lookalikes(
                "key e2b_0123456789abcdef, at /usr/local/lib/python3.11/site-packages line 12\n\x1b[0m"),
            "key [redacted], at /usr/local/lib/python3.11/site-packages line 12  [0m");
  EXPECT_EQ(redact_lookalikes("0123456789012345 abcdefghijklmnopq"), "0123456789012345 abcdefghijklmnopq");
  EXPECT_EQ(redact_lookalikes(std::string(20, ' ') + "a b c", 22), std::string(20, ' ') + "a...");
  EXPECT_EQ(redact_lookalikes("\xff"), "\xef\xbf\xbd");
}

TEST(CredentialUrl, IsBroughtToOneForm) {
  for (const auto& [text, url] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"https://Example.COM", "https://example.com"},
           {"HTTPS://example.com:443/", "https://example.com"},
           {"http://example.com:80/a/b//", "http://example.com/a/b"},
           {"https://example.com:8443/api", "https://example.com:8443/api"},
           {"https://[2001:DB8::1]:1/x", "https://[2001:db8::1]:1/x"}}) {
    const auto endpoint = parse_credential_url(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(endpoint->url, url);
    EXPECT_EQ(parse_credential_url(endpoint->url)->url, url);
  }
  for (const char* text : {"",
                           "example.com",
                           "https://",
                           "https:///x",
                           "https://:1",
                           "ftp://x",
                           "https://a b",
                           "https://a@b",
                           "https://a/@b",
                           "https://a?b",
                           "https://a#b",
                           "https://a:0",
                           "https://a:65536",
                           "https://a:",
                           "https://a:1x",
                           "https://[::1",
                           "https://[::1]x",
                           "https://[g::]",
                           "https://a..b",
                           "https://-a",
                           "https://.a",
                           "https://a\\b",
                           "https://a/\\b",
                           "https://a\n",
                           "https://a/\x7f",
                           "https://a,https://b"}) {
    EXPECT_FALSE(parse_credential_url(text)) << text;
  }
  EXPECT_TRUE(parse_credential_url("https://a/" + std::string(2000, 'x')));
  EXPECT_FALSE(parse_credential_url("https://a/" + std::string(2048, 'x')));
  EXPECT_TRUE(is_domain("e2b.app"));
  EXPECT_TRUE(is_domain("localhost:3000"));
  for (const char* text : {"", "a/b", "a b", "a@b", "a:", "a:x", "https://a"})
    EXPECT_FALSE(is_domain(text)) << text;
}

}  // namespace
}  // namespace sandkey
