#include "sandkey/base/percent.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>

namespace sandkey {
namespace {

TEST(PercentEncode, LeavesTheUnreservedOnly) {
  EXPECT_EQ(percent_encode("azAZ09-._~ +/"), "azAZ09-._~%20%2B%2F");
  EXPECT_EQ(percent_encode("\xC3\xA9"), "%C3%A9");
  EXPECT_EQ(percent_encode(""), "");
}

TEST(PercentDecode, KnowsEveryByteAndNoOtherEscape) {
  for (int byte = 0; byte < 256; ++byte) {
    std::array<char, 8> escape{};
    std::snprintf(escape.data(), escape.size(), byte % 2 != 0 ? "%%%02X" : "%%%02x", byte);
    EXPECT_EQ(percent_decode(escape.data(), false), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(percent_decode("a+b", true), "a b");
  EXPECT_EQ(percent_decode("a+b", false), "a+b");
  EXPECT_EQ(percent_decode("", true), "");
  for (const char* bad : {"%", "%1", "%%41", "%0x", "% 1", "%1 ", "%-1"})
    EXPECT_EQ(percent_decode(bad, true), std::nullopt) << bad;
}

}  // namespace
}  // namespace sandkey
