#include "sandkey/agent/shell/terminal_screen.h"

#include "sandkey/agent/shell/character_width.h"
#include "sandkey/base/utf8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace sandkey::agent {
namespace {

using Trailing = TerminalScreen::TrailingLines;

std::string shown(std::string_view bytes) {
  TerminalScreen screen;
  screen.feed(bytes);
  return screen.text();
}

std::string numbered_lines(int from, int to) {
  std::string out;
  for (int i = from; i <= to; ++i) out += "Line " + std::to_string(i) + "\r\n";
  return out;
}

struct Case {
  const char* name;
  std::string input;
  std::string text;
};

class Shows : public ::testing::TestWithParam<Case> {};

TEST_P(Shows, AsATerminalWould) {
  EXPECT_EQ(shown(GetParam().input), GetParam().text);
}

// However the bytes arrive, the result is the same.
TEST_P(Shows, RegardlessOfChunks) {
  const std::string& input = GetParam().input;
  for (std::size_t size = 1; size <= 3; ++size) {
    TerminalScreen screen;
    for (std::size_t i = 0; i < input.size(); i += size) screen.feed(std::string_view(input).substr(i, size));
    EXPECT_EQ(screen.text(), GetParam().text) << size;
  }
}

const std::string kLong(2500, 'x');

INSTANTIATE_TEST_SUITE_P(
    TerminalScreen, Shows,
    ::testing::Values(
        Case{"Nothing", "", ""}, Case{"Lines", "a\r\nb\r\n", "a\nb"},
        Case{"EmptyLines", "a\r\n\r\nb", "a\n\nb"}, Case{"LeadingEmptyLines", "\r\n\r\na", "\n\na"},
        Case{"TrailingBlanks", "a  \r\n\tb  \r\n  ", "a\n        b"},
        Case{"Tab", "a\tb\r\n1234567\t8\r\n12345678\t9", "a       b\n1234567 8\n12345678        9"},
        Case{"TabMovesWithoutErasing", "abcdefghij\r\tX", "abcdefghXj"},
        Case{"BareLineFeedKeepsTheColumn", "ab\ncd", "ab\n  cd"},
        Case{"VerticalTabAndFormFeed", "a\vb\fc", "a\n b\n  c"},
        Case{"CarriageReturnOverwrites", "10%\r100%\r99", "990%"}, Case{"Backspace", "abc\b\bX", "aXc"},
        Case{"BackspaceStopsAtTheEdge", "\b\ba", "a"},
        Case{"OtherControlsVanish",
             std::string("a\x07\0\x0e\x0f\x7f"
                         "b",
                         7),
             "ab"},
        Case{"Colours", "\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mx\x1b[m", "red x"},
        Case{"ColonParameters", "\x1b[4:3mx", "x"}, Case{"TitleByBell", "\x1b]0;title\x07x", "x"},
        Case{"TitleByTerminator", "\x1b]2;title\x1b\\x", "x"}, Case{"ScreenTitle", "\x1bktitle\x1b\\x", "x"},
        Case{"Hyperlink", "\x1b]8;;http://a/\x1b\\b\x1b]8;;\x1b\\", "b"},
        Case{"DeviceControl", "\x1bPq#0~~\x1b\\x", "x"},
        Case{"Passthrough", "\x1bPtmux;\x1b\x1b]0;t\x07\x1b\\x", "x"},
        Case{"ApplicationCommand", "\x1b_G\xC3\xA9\x1b\\x\x1b^p\x1b\\y\x1bXs\x1b\\z", "xyz"},
        Case{"StringBrokenOff", "\x1b]0;t\x18x", "x"},
        Case{"StringBrokenOffBySequence", "\x1b]0;t\x1b[1mx", "x"},
        Case{"CharacterSets", "\x1b(0\x1b)Blqk\x1b(B", "lqk"},
        Case{"UnknownSequences", "\x1b=\x1b>\x1b[?25l\x1b[>4;1m\x1b[!p\x1b#8x", "x"},
        Case{"SequenceCancelled", "\x1b[3\x18x", "x"},
        Case{"SequenceBrokenOffByText", "\x1b[3\xC3\xA9x", "\xC3\xA9x"},
        Case{"ControlWithinSequence", "ab\x1b[\r1Cx", "ax"},
        Case{"HugeParameters", "\x1b[99999999999999999999CX\rY", "Y" + std::string(998, ' ') + "X"},
        Case{"ManyParameters", "\x1b[1;2;3;4;5;6;7;8;9;1;2;3;4;5;6;7;8;9;1;2mx", "x"},
        Case{"CursorMoves", "abc\x1b[2D_\x1b[1C!\r\n\n\x1b[A\x1b[5Gx\x1b[2;3Hy\x1b[1dz", "a_cz\n  y x"},
        Case{"NextAndPreviousLine", "a\x1b[2Eb\x1b[Fc", "a\nc\nb"},
        Case{"EraseToEnd", "abcdef\x1b[3D\x1b[K", "abc"},
        Case{"EraseToBegin", "abcdef\x1b[3D\x1b[1K", "    ef"},
        Case{"EraseLine", "abcdef\x1b[2Kx", "      x"}, Case{"EraseCharacters", "abcdef\r\x1b[2X", "  cdef"},
        Case{"InsertCharacters", "abcdef\r\x1b[C\x1b[2@", "a  bcdef"},
        Case{"DeleteCharacters", "abcdef\r\x1b[C\x1b[2P", "adef"},
        Case{"DeleteBeyondTheEnd", "abc\r\x1b[C\x1b[99P", "a"}, Case{"Repeat", "ab\x1b[3b", "abbbb"},
        Case{"InsertLines", "a\r\nb\r\nc\x1b[2;1H\x1b[Lx", "a\nx\nb\nc"},
        Case{"DeleteLines", "a\r\nb\r\nc\r\nd\x1b[2;1H\x1b[2M", "a\nd"},
        Case{"ScrollRegion", "a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\nx", "b\na\nc\nx\nd"},
        Case{"ScrollRegionBackwards", "a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[2;1H\x1bMx", "a\nx\nb\nd"},
        Case{"ScrollUpAndDown", "a\r\nb\r\nc\x1b[1;3r\x1b[S\x1b[3;1Hd\x1b[T\x1b[1;1He", "a\ne\nb\nc"},
        Case{"EraseBelow", "a\r\nbcd\r\ne\x1b[2;2H\x1b[J", "a\nb"},
        Case{"EraseAbove", "a\r\nbcd\r\ne\x1b[2;2H\x1b[1J", "\n  d\ne"},
        Case{"SaveAndRestore",
             "ab\x1b"
             "7\r\ncd\x1b"
             "8X\r\n\x1b[sef\x1b[ug",
             "abX\ngf"},
        Case{"ClearMovesTheScreenIntoHistory", "a\r\nb\x1b[H\x1b[2Jc", "a\nb\nc"},
        Case{"ClearAsTmuxTerminfoHasIt", "a\r\nb\x1b[H\x1b[Jc", "a\nb\nc"},
        Case{"ClearWithHistory", "a\r\nb\x1b[H\x1b[2J\x1b[3Jc", "c"},
        Case{"Reset",
             "a\r\n\x1b"
             "cb",
             "a\nb"},
        Case{"AlternateScreenActive", "a\r\n\x1b[?1049h\x1b[Hb", "b"},
        Case{"AlternateScreenLeft", "a\r\nb\x1b[?1049h\x1b[2J\x1b[5;5Hzzz\x1b[?1049lc", "a\nbc"},
        Case{"AlternateScreenTwice", "a\x1b[?1049h\x1b[?1049hx\x1b[?1049l\x1b[?1049lb", "ab"},
        Case{"OldAlternateScreen", "a\x1b[?47hx\x1b[?47lb", "a b"},
        Case{"LongLine", kLong + "\r\nb", kLong + "\nb"},
        Case{"ExactlyOneRow", std::string(1000, 'x') + "\r\ny", std::string(1000, 'x') + "\ny"},
        Case{"BlankAtTheWrap", std::string(999, 'x') + " y", std::string(999, 'x') + " y"},
        Case{"BackspaceOverTheWrap", std::string(1001, 'x') + "\b\bY", std::string(999, 'x') + "Yx"},
        Case{"Utf8", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
        Case{"Malformed", "a\xFF\xE2\x82z\xC0", "a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD"},
        Case{"C1Controls",
             "a\xC2\x85"
             "b",
             "ab"},
        Case{"Combining", "e\xCC\x81x\re", "ex"}, Case{"CombiningWithoutBase", "\xCC\x81x", "x"},
        Case{"CombiningLater", "ab\x1b[D\xCC\x81",
             "a\xCC\x81"
             "b"},
        Case{"WideOverwrittenInHalf", "\xE4\xB8\xAD\xE6\x96\x87\rx", "x \xE6\x96\x87"},
        Case{"WideOverwrittenInTheMiddle", "\xE4\xB8\xAD\xE6\x96\x87\x1b[2GX", " X\xE6\x96\x87"},
        Case{"WideOverNarrow", "abcd\r\xE4\xB8\xAD",
             "\xE4\xB8\xAD"
             "cd"},
        Case{"WideAtTheEdge", std::string(999, 'x') + "\xE4\xB8\xAD", std::string(999, 'x') + "\xE4\xB8\xAD"},
        Case{"AccentedOverwritten", "\xC3\xA9\xC3\xA8z\r\x1b[Ca",
             "\xC3\xA9"
             "az"},
        Case{"ZshPartialLineMark", "%" + std::string(20, ' ') + "\r \r$ ls", "$ ls"},
        Case{"Readline", "$ sl\b\bls\x1b[K\r\na", "$ ls\na"},
        Case{"BracketedPaste", "\x1b[?2004hx\x1b[?2004l\r\ny", "x\ny"}),
    [](const auto& test) { return test.param.name; });

TEST(TerminalScreen, KeepsEmptyLinesDownToTheCursorIfAsked) {
  TerminalScreen screen;
  EXPECT_EQ(screen.text(Trailing::keep), "");
  screen.feed("a\r\n\r\n");
  EXPECT_EQ(screen.text(), "a");
  EXPECT_EQ(screen.text(Trailing::keep), "a\n\n");
  screen.feed("   ");
  EXPECT_EQ(screen.text(Trailing::keep), "a\n\n");
}

TEST(TerminalScreen, AnswersQueries) {
  TerminalScreen screen;
  screen.feed("ab\r\nc\x1b[6n");
  EXPECT_TRUE(screen.has_replies());
  EXPECT_EQ(screen.take_replies(), "\x1b[2;2R");
  EXPECT_FALSE(screen.has_replies());
  screen.feed("\x1b[5n\x1b[c\x1b[0c\x1bZ");
  EXPECT_EQ(screen.take_replies(), "\x1b[0n\x1b[?1;2c\x1b[?1;2c\x1b[?1;2c");
  screen.feed("\x1b[>c\x1b[18t\x1b[?6n\x1b[7n");
  EXPECT_EQ(screen.take_replies(), "\x1b[>84;0;0c\x1b[8;1000;1000t");
  for (int i = 0; i < 10'000; ++i) screen.feed("\x1b[5n");
  EXPECT_EQ(screen.take_replies().size(), TerminalScreen::kMaxReplyBytes);
}

TEST(TerminalScreen, EndsAnUnterminatedString) {
  TerminalScreen screen;
  screen.feed("\x1b]0;");
  for (std::size_t i = 0; i < TerminalScreen::kMaxStringSequence; ++i) screen.feed("x");
  screen.feed("\r\ny");
  EXPECT_EQ(screen.text().back(), 'y');
}

TEST(TerminalScreen, KeepsTheLastLines) {
  TerminalScreen screen;
  screen.feed(numbered_lines(1, 9000));
  EXPECT_EQ(screen.lost_lines(), 0U);
  const TerminalScreen::Mark mark = screen.mark();
  EXPECT_FALSE(screen.lost_since(mark));
  screen.feed(numbered_lines(9001, 50'000));
  const std::string text = screen.text();
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  EXPECT_LE(lines, TerminalScreen::kMaxRows);
  EXPECT_GE(lines, TerminalScreen::kMaxRows - 1);
  EXPECT_EQ(screen.lost_lines(), 50'000 - lines);
  EXPECT_TRUE(screen.lost_since(mark));
  EXPECT_FALSE(screen.lost_since(screen.mark()));
  EXPECT_EQ(screen.text_since(mark), text);
  EXPECT_NE(text.find("Line 40000\n"), std::string::npos);
  EXPECT_TRUE(text.ends_with("Line 50000"));
}

TEST(TerminalScreen, BlankLinesCountAsWell) {
  TerminalScreen screen;
  screen.feed("a" + std::string(1'000'000, '\n') + "\rb");
  const std::string text = screen.text();
  EXPECT_EQ(text, std::string(TerminalScreen::kMaxRows - 1, '\n') + "b");
}

TEST(TerminalScreen, StaysWithinItsBudget) {
  TerminalScreen screen;
  const std::string chunk(1 << 16, 'x');
  for (int i = 0; i < 400; ++i) {  // one endless line
    screen.feed(chunk);
    ASSERT_LE(screen.size(), TerminalScreen::kMaxBytes + TerminalScreen::kColumns);
  }
  EXPECT_EQ(screen.lost_lines(), 0U);  // parts of a line are no lines
  EXPECT_EQ(screen.text().find('\n'), std::string::npos);
  std::string marks = "x";
  for (int i = 0; i < 5000; ++i) marks += "\xCC\x81";
  TerminalScreen other;
  other.feed(marks);
  EXPECT_LE(other.size(), TerminalScreen::kMaxRowBytes);
}

TEST(TerminalScreen, ClearedLinesAreNotLost) {
  TerminalScreen screen;
  screen.feed(numbered_lines(1, 5000) + "\x1b[H\x1b[2J\x1b[3J" + "x");
  EXPECT_EQ(screen.lost_lines(), 0U);
  EXPECT_EQ(screen.text(), "x");
}

TEST(TerminalScreen, LinesScrolledAboveAProgressBarBecomeHistory) {
  TerminalScreen screen;
  screen.feed("\x1b[1;999r\x1b[1000;1H[##  ]\x1b[1;1H");
  screen.feed(numbered_lines(1, 3000));
  const TerminalScreen::Mark mark = screen.mark();
  screen.feed(numbered_lines(3001, 5000));
  const std::string text = screen.text();
  EXPECT_TRUE(text.starts_with("Line 1\nLine 2\n"));
  EXPECT_NE(text.find("\nLine 4999\nLine 5000\n"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\n[##  ]"));
  EXPECT_NE(screen.text_since(mark).find("Line 3001\n"), std::string::npos);
}

TEST(TerminalScreen, ResetForgetsEverything) {
  TerminalScreen screen;
  screen.feed(numbered_lines(1, 20'000) + "\x1b[?1049hx\x1b[5n\x1b]0;");
  const TerminalScreen::Mark mark = screen.mark();
  screen.reset();
  EXPECT_EQ(screen.text(), "");
  EXPECT_EQ(screen.lost_lines(), 0U);
  EXPECT_EQ(screen.size(), 0U);
  EXPECT_FALSE(screen.has_replies());
  EXPECT_FALSE(screen.alternate_screen());
  screen.feed("abc");
  EXPECT_EQ(screen.text(), "abc");
  EXPECT_EQ(screen.text_since(mark), "abc");
}

TEST(TerminalScreen, IsSmallWhenIdle) {
  EXPECT_LE(sizeof(TerminalScreen), 512U);
}

// ---- Marks.

struct Since {
  const char* name;
  std::string before, after, text;
};

class TextSince : public ::testing::TestWithParam<Since> {};

TEST_P(TextSince, GivesWhatIsNew) {
  const Since& c = GetParam();
  TerminalScreen screen;
  screen.feed(c.before);
  const TerminalScreen::Mark mark = screen.mark();
  EXPECT_EQ(screen.text_since(mark), "");
  screen.feed(c.after);
  EXPECT_EQ(screen.text_since(mark), c.text);
  EXPECT_EQ(screen.text_since(screen.mark()), "");
}

INSTANTIATE_TEST_SUITE_P(
    TerminalScreen, TextSince,
    ::testing::Values(Since{"FromTheBeginning", "", "a\r\nb", "a\nb"},
                      Since{"NextLine", "a\r\n", "b\r\nc", "b\nc"},
                      Since{"SameLine", "Enter name: ", "John\r\nHello", "John\nHello"},
                      Since{"AfterTheLine", "a", "\r\nb", "\nb"}, Since{"Nothing", "a\r\n", "\x1b[31m", ""},
                      Since{"AfterEmptyLines", "a\r\n\r\n", "b", "b"},
                      Since{"Progress", "10%", "\r20%", "20%"},
                      Since{"ProgressRedrawnAlike", "10%", "\r10%", ""},
                      Since{"ProgressAbove", "a\r\nb 1%\r\nc 1%\r\n", "\x1b[2A\x1b[3G2%\r\n\n", "b 2%\nc 1%"},
                      Since{"LineErased", "abc", "\r\x1b[Kx", "x"},
                      Since{"ScreenCleared", "a\r\nb\r\n", "\x1b[H\x1b[2Jc", "c"},
                      Since{"AllCleared", "a\r\nb\r\n", "\x1b[H\x1b[2J\x1b[3Jc", "c"},
                      Since{"AlternateEntered", "a\r\n", "b\x1b[?1049h\x1b[Hv", "v"},
                      Since{"AlternateEnteredAndLeft", "a\r\n", "b\x1b[?1049h\x1b[Hv\x1b[?1049lc", "bc"},
                      Since{"AlternateLeft", "a\r\nb\x1b[?1049h\x1b[Hv", "\x1b[?1049l\r\nc", "c"},
                      Since{"AlternateLeftSilently", "a\r\nb\x1b[?1049h\x1b[Hv", "\x1b[?1049l", ""},
                      Since{"AlternateContinues", "\x1b[?1049hv\r\n", "w", "w"},
                      Since{"WrappedLine", std::string(999, 'x'), "yz", "yz"},
                      Since{"AfterUtf8", "\xC3\xA9 ", "\xE2\x82\xAC", "\xE2\x82\xAC"}),
    [](const auto& test) { return test.param.name; });

TEST(TerminalScreen, AMarkOutlivesScrolling) {
  TerminalScreen screen;
  screen.feed(numbered_lines(1, 3000));
  const TerminalScreen::Mark mark = screen.mark();
  screen.feed(numbered_lines(3001, 9000));
  const std::string text = screen.text_since(mark);
  EXPECT_TRUE(text.starts_with("Line 3001\n"));
  EXPECT_TRUE(text.ends_with("\nLine 9000"));
}

TEST(TerminalScreen, EverythingIsNewToADefaultMark) {
  TerminalScreen screen;
  screen.feed("a\r\nb");
  EXPECT_EQ(screen.text_since(TerminalScreen::Mark{}), "a\nb");
}

// ---- Properties.

TEST(TerminalScreen, ChunksNeverMatterAndTextIsAlwaysValid) {
  const std::vector<std::string> pieces = {"abc",
                                           " ",
                                           "\r",
                                           "\n",
                                           "\r\n",
                                           "\t",
                                           "\b",
                                           "\x1b",
                                           "\x1b[",
                                           "1",
                                           ";",
                                           "5",
                                           "H",
                                           "A",
                                           "B",
                                           "C",
                                           "D",
                                           "J",
                                           "K",
                                           "\x1b[2J",
                                           "\x1b[3J",
                                           "\x1b[L",
                                           "\x1b[3M",
                                           "\x1b[@",
                                           "\x1b[2P",
                                           "\x1b[X",
                                           "\x1b[2;5r",
                                           "\x1b[r",
                                           "\x1b[?1049h",
                                           "\x1b[?1049l",
                                           "\x1b[S",
                                           "\x1b[T",
                                           "\x1bM",
                                           "\x1b"
                                           "7",
                                           "\x1b"
                                           "8",
                                           "\x1b]0;x",
                                           "\x07",
                                           "\x1b\\",
                                           "\xC3",
                                           "\xA9",
                                           "\xE4\xB8\xAD",
                                           "\xF0\x9F\x98\x80",
                                           "\xCC\x81",
                                           "\xFF",
                                           "\xE4\xB8",
                                           "\x1b[6n",
                                           "\x1b[9b",
                                           std::string(700, 'w'),
                                           "\x1b[999C",
                                           "\x1b[999B",
                                           "\n\n\n\n",
                                           "\x18"};
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string input;
    for (int i = 0; i < 60; ++i) input += pieces[random() % pieces.size()];
    TerminalScreen whole;
    whole.feed(input);
    TerminalScreen parts;
    for (std::size_t i = 0; i < input.size();) {
      const std::size_t n = 1 + random() % 5;
      parts.feed(std::string_view(input).substr(i, n));
      i += n;
    }
    ASSERT_EQ(whole.text(Trailing::keep), parts.text(Trailing::keep)) << testing::PrintToString(input);
    ASSERT_EQ(whole.size(), parts.size());
    ASSERT_EQ(whole.take_replies(), parts.take_replies());
    ASSERT_TRUE(utf8::is_valid(whole.text()));
  }
}

TEST(CharacterWidth, KnowsMarksAndWideCharacters) {
  EXPECT_EQ(character_width(U'a'), 1);
  EXPECT_EQ(character_width(U'\u00e9'), 1);
  EXPECT_EQ(character_width(U'\u2500'), 1);
  EXPECT_EQ(character_width(U'\u0301'), 0);
  EXPECT_EQ(character_width(U'\u200d'), 0);
  EXPECT_EQ(character_width(U'\ufe0f'), 0);
  EXPECT_EQ(character_width(U'\u4e2d'), 2);
  EXPECT_EQ(character_width(U'\uac00'), 2);
  EXPECT_EQ(character_width(U'\U0001F600'), 2);
  EXPECT_EQ(character_width(U'\ufffd'), 1);
}

}  // namespace
}  // namespace sandkey::agent
