#include "sandkey/agent/files/line_diff.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace sandkey::agent::files {
namespace {

const std::string kHead = "--- /f\n+++ /f\n";

std::string numbered_lines(int count, const std::string& word) {
  std::string out;
  for (int i = 0; i < count; ++i) out += word + std::to_string(i) + "\n";
  return out;
}

TEST(LineDiff, SaysWhatDifflibSays) {
  struct Row {
    const char *name, *before, *after, *changes;
  };
  const Row rows[] = {
      {"replaced", "a\nb\nc\n", "a\nX\nc\n", "@@ -2 +2 @@\n-b\n+X"},
      {"inserted", "a\nc", "a\nb\nc", "@@ -1,0 +2 @@\n+b"},
      {"inserted at the top", "a\n", "x\ny\na\n", "@@ -0,0 +1,2 @@\n+x\n+y"},
      {"deleted", "a\nb\nc\n", "c\n", "@@ -1,2 +0,0 @@\n-a\n-b"},
      {"created", "", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b"},
      {"created without a newline", "", "a", "@@ -1 +1 @@\n-\n+a"},
      {"two changes", "a\nb\nc\nd\ne\n", "A\nb\nc\nd\nE\n", "@@ -1 +1 @@\n-a\n+A\n@@ -5 +5 @@\n-e\n+E"},
      {"newline lost", "a\n", "a", "@@ -2 +1,0 @@\n-"},
      {"not the shortest", "ab\nx\n", "x\nab\nab\nx\n", "@@ -0,0 +1,2 @@\n+x\n+ab"},
      {"ends stripped", "a\n", "a \t\xE3\x80\x80\n", "@@ -1 +1 @@\n-a\n+a"},
      {"CRLF", "a\r\nb\r\n", "a\r\nc\r\n", "@@ -2 +2 @@\n-b\n+c"},
      {"unicode", "h\xC3\xA9\n", "h\xC3\xAA\n", "@@ -1 +1 @@\n-h\xC3\xA9\n+h\xC3\xAA"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(unified_diff(row.before, row.after, "/f"), kHead + row.changes) << row.name;
  }
}

TEST(LineDiff, OfEqualTextsIsEmpty) {
  EXPECT_EQ(unified_diff("", "", "/f"), "");
  EXPECT_EQ(unified_diff("a\nb", "a\nb", "/f"), "");
}

TEST(LineDiff, StripsThePathToo) {
  EXPECT_EQ(unified_diff("a", "b", "/x y "), "--- /x y\n+++ /x y\n@@ -1 +1 @@\n-a\n+b");
}

// A line frequent in a long text does not start a match: with 199 lines in the new text the "}" are paired
// up, with 200 only "k" is.
TEST(LineDiff, IgnoresFrequentLinesFromTwoHundredOn) {
  const std::string before = "}\n}\n}\n}\n}\nx\nk";
  const std::string tail = numbered_lines(190, "l");
  const auto changes = [](const std::string& text) {
    std::size_t n = 0;
    for (std::size_t at = text.find("\n@@"); at != std::string::npos; at = text.find("\n@@", at + 1)) ++n;
    return n;
  };
  const std::string short_text = "k\n" + tail + "}\n}\n}\n}\n}\n}\nz1\nz2";     // 199 lines
  const std::string long_text = "k\n" + tail + "}\n}\n}\n}\n}\n}\nz1\nz2\nz3";  // 200 lines
  EXPECT_NE(unified_diff(before, short_text, "/f").find("\n-k"), std::string::npos);
  EXPECT_EQ(unified_diff(before, long_text, "/f").find("\n-k"), std::string::npos);
  EXPECT_EQ(changes(unified_diff(before, long_text, "/f")), 2U);
}

TEST(LineDiff, OfMoreLinesThanTheLimitIsStillRight) {
  for (const int lines : {static_cast<int>(kMaxDiffLines) - 1, static_cast<int>(kMaxDiffLines) + 1}) {
    const std::string before = numbered_lines(lines, "line ");
    std::string after = before;
    after.replace(after.find("line 7\n"), 6, "LINE 7");
    EXPECT_EQ(unified_diff(before, after, "/f"), kHead + "@@ -8 +8 @@\n-line 7\n+LINE 7") << lines;
  }
}

TEST(LineDiff, TakesBoundedTimeOnHostileTexts) {
  std::string before;
  std::string after;
  for (unsigned i = 0, state = 1; i < kMaxDiffLines - 1; ++i) {
    state = state * 1664525U + 1013904223U;
    before += std::to_string((state >> 16U) % 150) + "\n";
    after += std::to_string((state >> 8U) % 150) + "\n";
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(unified_diff(before, after, "/f").empty());
  EXPECT_LT(std::chrono::steady_clock::now() - start,
            std::chrono::seconds(30));  // sanitizers, a busy machine
}

}  // namespace
}  // namespace sandkey::agent::files
