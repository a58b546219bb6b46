#include "sandkey/base/utf8.h"

#include <gtest/gtest.h>

namespace sandkey::utf8 {
namespace {

TEST(Utf8, KeepsValidTextAsItIs) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
  EXPECT_TRUE(is_valid(text));
  EXPECT_EQ(sanitize(text), text);
  EXPECT_EQ(length(text), 4U);
  EXPECT_EQ(offset_of(text, 2), 3U);
  EXPECT_EQ(offset_of(text, 9), text.size());
}

TEST(Utf8, ReplacesEachMalformedSequenceOnceAsPythonDoes) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(sanitize("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(sanitize("\xE2\x82z"), r + "z");               // truncated: one replacement
  EXPECT_EQ(sanitize("\xC0\xAF"), r + r);                  // overlong
  EXPECT_EQ(sanitize("\xED\xA0\x80"), r + r + r);          // surrogate
  EXPECT_EQ(sanitize("\xF4\x90\x80\x80"), r + r + r + r);  // beyond U+10FFFF
  EXPECT_EQ(sanitize("\xF0\x9F\x98"), r);
}

TEST(Utf8, AppendsWhatDecodeReads) {
  for (const char32_t c : {U'a', U'\u00e9', U'\u20ac', U'\U0001F600', U'\U0010FFFF'}) {
    std::string out;
    append(out, c);
    const Decoded step = decode(out);
    EXPECT_TRUE(step.valid);
    EXPECT_EQ(step.code_point, c);
    EXPECT_EQ(step.length, out.size());
  }
}

TEST(Utf8, KnowsWhatMoreInputMayComplete) {
  EXPECT_EQ(incomplete_tail("abc"), 0U);
  EXPECT_EQ(incomplete_tail("a\xE2\x82"), 2U);
  EXPECT_EQ(incomplete_tail("a\xE2"), 1U);
  EXPECT_EQ(incomplete_tail("a\xF0\x9F\x98"), 3U);
  EXPECT_EQ(incomplete_tail("a\xE2\x82\xAC"), 0U);
  EXPECT_EQ(incomplete_tail("a\xFF"), 0U);
  EXPECT_EQ(incomplete_tail("\xED\xA0"), 0U);
  EXPECT_EQ(incomplete_tail("\x80\x80\x80\x80"), 0U);
}

}  // namespace
}  // namespace sandkey::utf8
