#include "sandkey/agent/python/cell_output.h"

#include "sandkey/base/utf8.h"

#include <gtest/gtest.h>

namespace sandkey::agent {
namespace {

TEST(CellOutput, KeepsAllUpToTheLimit) {
  CellOutput output(10);
  for (const char c : std::string("0123456789")) output.append(std::string(1, c));
  EXPECT_EQ(output.take_text(), "0123456789");
  EXPECT_TRUE(output.empty());
}

TEST(CellOutput, DropsTheMiddleVisibly) {
  CellOutput output(10);
  output.append("01234567890");
  EXPECT_EQ(output.take_text(), "01234\n[... 1 bytes of output were dropped here ...]\n67890");
}

TEST(CellOutput, CountsWhatWasDroppedInWhateverPiecesItCame) {
  for (const std::size_t piece : {1U, 2U, 3U, 7U, 10U, 11U, 1000U}) {
    CellOutput output(20);
    std::string all;
    for (int i = 0; i < 500; ++i) all += static_cast<char>('a' + i % 26);
    for (std::size_t i = 0; i < all.size(); i += piece) output.append(std::string_view(all).substr(i, piece));
    EXPECT_EQ(output.take_text(),
              all.substr(0, 10) + "\n[... 480 bytes of output were dropped here ...]\n" + all.substr(490))
        << piece;
  }
}

TEST(CellOutput, CutsBetweenCharacters) {
  CellOutput output(10);
  for (int i = 0; i < 20; ++i) output.append("\xE2\x82\xAC");
  const std::string text = output.take_text();
  EXPECT_EQ(text, "\xE2\x82\xAC\n[... 54 bytes of output were dropped here ...]\n\xE2\x82\xAC");
}

TEST(CellOutput, IsAlwaysUtf8) {
  CellOutput output(100);
  output.append("a\xFF");
  output.append("\xE2\x82");
  const std::string text = output.take_text();
  EXPECT_TRUE(utf8::is_valid(text));
  EXPECT_EQ(text, "a\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(CellOutput, JoinsCharactersThatCameInPieces) {
  CellOutput output(100);
  output.append("\xE2\x82");
  output.append("\xAC");
  EXPECT_EQ(output.take_text(), "\xE2\x82\xAC");
}

TEST(StripAnsiColors, StripsExactlyWhatOpenHandsDoes) {
  EXPECT_EQ(strip_ansi_colors("\x1B[33mLorem\x1B[0m"), "Lorem");
  EXPECT_EQ(strip_ansi_colors("\x1B[38;5;32mx\x1B[1;2my"), "xy");
  EXPECT_EQ(strip_ansi_colors("\x1B[0m"), "");
  EXPECT_EQ(strip_ansi_colors("plain"), "plain");
  for (const std::string kept :
       {"\x1B[m", "\x1B[K", "\x1B[1;2;3;4m", "\x1B[1;m", "\x1B[", "\x1B", "\x1B[12", "\x1B[1;2", "\x1B[;m"}) {
    EXPECT_EQ(strip_ansi_colors(kept), kept);
  }
  EXPECT_EQ(strip_ansi_colors("\x1B\x1B[1m["), "\x1B[");  // once, not again over the result
}

}  // namespace
}  // namespace sandkey::agent
