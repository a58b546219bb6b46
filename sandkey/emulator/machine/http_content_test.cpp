#include "sandkey/emulator/machine/http_content.h"

#include <gtest/gtest.h>

#include <string>

namespace sandkey::machine {
namespace {

TEST(ContentType, IsThatOfTheExtension) {
  EXPECT_EQ(content_type_of("/a/b.JSON", ""), "application/json");
  EXPECT_EQ(content_type_of("x.html", "\x01"), "text/html; charset=utf-8");
}

TEST(ContentType, IsElseGuessedFromWhatIsInIt) {
  EXPECT_EQ(content_type_of("/a.b/c", "hello\n"), "text/plain; charset=utf-8");
  EXPECT_EQ(content_type_of("/a", ""), "text/plain; charset=utf-8");
  EXPECT_EQ(content_type_of("/a", "caf\xC3"), "text/plain; charset=utf-8");  // cut within a letter
  EXPECT_EQ(content_type_of("/a", std::string("\0", 1)), "application/octet-stream");
  EXPECT_EQ(content_type_of("/a", "\xFF\xFE"), "application/octet-stream");
}

void expect_range(const char* header, std::uint64_t first, std::uint64_t length) {
  const RangeChoice choice = choose_range(header, 10);
  EXPECT_FALSE(choice.unsatisfiable) << header;
  ASSERT_TRUE(choice.bytes) << header;
  EXPECT_EQ(*choice.bytes, (ByteRange{first, length})) << header;
}

TEST(Range, IsWithinTheFile) {
  expect_range("bytes=0-0", 0, 1);
  expect_range("bytes=2-4", 2, 3);
  expect_range("bytes=2-", 2, 8);
  expect_range("bytes=9-9", 9, 1);
  expect_range("bytes=2-99", 2, 8);
  expect_range("bytes=-3", 7, 3);
  expect_range("bytes=-99", 0, 10);
}

TEST(Range, IsRefusedBeyondTheEnd) {
  for (const char* header : {"bytes=10-", "bytes=10-11", "bytes=-0"})
    EXPECT_TRUE(choose_range(header, 10).unsatisfiable) << header;
  EXPECT_TRUE(choose_range("bytes=0-", 0).unsatisfiable);
}

TEST(Range, IsIgnoredWhereItIsNone) {
  for (const char* header :
       {"", "bytes=", "bytes=-", "bytes=a-b", "bytes=4-2", "lines=1-2", "bytes=0-1,3-4", "bytes=1"}) {
    const RangeChoice choice = choose_range(header, 10);
    EXPECT_FALSE(choice.bytes || choice.unsatisfiable) << header;
  }
}

TEST(HttpDate, ReadsWhatItWrites) {
  const std::chrono::sys_seconds time{std::chrono::seconds(784111777)};
  EXPECT_EQ(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), time);
  EXPECT_EQ(parse_http_date("yesterday"), std::nullopt);
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT and more"), std::nullopt);
}

TEST(Encodings, GzipWhereItIsAskedFor) {
  for (const char* header :
       {"gzip", "gzip, deflate", "deflate, GZIP;q=0.5", "gzip;q=0.8, identity;q=0.5", "identity;q=0, *"})
    EXPECT_EQ(choose_encoding(header), Encoding::gzip) << header;
}

TEST(Encodings, IdentityElse) {
  for (const char* header :
       {"", "identity", "br", "deflate", "*", "gzip;q=0", "gzip;q=0.2, identity;q=0.5", "gzip;q=x"})
    EXPECT_EQ(choose_encoding(header), Encoding::identity) << header;
}

TEST(Encodings, NoneWhereBothAreRefused) {
  for (const char* header : {"identity;q=0", "*;q=0", "br, identity;q=0", "gzip;q=0, identity;q=0"})
    EXPECT_EQ(choose_encoding(header), std::nullopt) << header;
}

}  // namespace
}  // namespace sandkey::machine
