#include "sandkey/events/observation.h"

#include "sandkey/base/utf8.h"

#include <gtest/gtest.h>

namespace sandkey {
namespace {

constexpr std::string_view kNote = "\n[... Observation truncated due to length ...]\n";

TEST(TruncateContent, KeepsWhatIsNotTooLong) {
  const std::string text(kMaxContentLength, 'x');
  EXPECT_EQ(truncate_content(text), text);
  EXPECT_EQ(truncate_content(""), "");
}

TEST(TruncateContent, KeepsBothEndsAndIsIdempotent) {
  const std::string text = std::string(15'000, 'a') + "-" + std::string(15'000, 'z');
  const std::string short_text = truncate_content(text);
  EXPECT_EQ(short_text, std::string(15'000, 'a') + std::string(kNote) + std::string(15'000, 'z'));
  EXPECT_EQ(short_text.size(), 30'047U);
  EXPECT_EQ(truncate_content(short_text), short_text);
}

TEST(TruncateContent, CountsCodePoints) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += "ä";
  EXPECT_EQ(truncate_content(text), text);
  text += "€";
  const std::string short_text = truncate_content(text);
  EXPECT_EQ(utf8::length(short_text), 30'047U);
  EXPECT_EQ(short_text.substr(short_text.size() - 3), "€");
}

TEST(TruncateContent, GivesValidUtf8WhateverCame) {
  EXPECT_EQ(truncate_content("a\xFF"), "a\xEF\xBF\xBD");
  EXPECT_TRUE(utf8::is_valid(truncate_content(std::string(100'000, '\x80'))));
}

TEST(Observation, TruncatesCommandOutputUnlessHidden) {
  const std::string text(40'000, 'x');
  EXPECT_EQ(Observation(text, CmdOutputObservation{}).content.size(), 30'047U);
  EXPECT_EQ(Observation(text, CmdOutputObservation{.hidden = true}).content, text);
  EXPECT_EQ(Observation(text, FileReadObservation{}).content, text);
}

TEST(ToText, SurroundsCommandOutputWithNotes) {
  Observation observation("hi", CmdOutputObservation{.command = "echo hi"});
  EXPECT_EQ(to_text(observation), "hi");
  observation.as<CmdOutputObservation>()->metadata = {
      0, -1, "u", "h", "/work", "/usr/bin/python", "[before]\n", "\n[after]"};
  EXPECT_EQ(
      to_text(observation),
      "[before]\nhi\n[after]\n[Current working directory: /work]\n[Python interpreter: /usr/bin/python]\n"
      "[Command finished with exit code 0]");
  observation.as<CmdOutputObservation>()->metadata.working_dir = "";
  observation.as<CmdOutputObservation>()->metadata.exit_code = -1;
  EXPECT_EQ(to_text(observation), "[before]\nhi\n[after]\n[Python interpreter: /usr/bin/python]");
}

TEST(ToText, IsTheContentOfEverythingElse) {
  EXPECT_EQ(to_text(Observation("text", FileReadObservation{.path = "/a"})), "text");
}

}  // namespace
}  // namespace sandkey
