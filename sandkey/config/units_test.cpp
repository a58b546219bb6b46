#include "sandkey/config/units.h"

#include "sandkey/base/error.h"
#include "sandkey/config/nearest_name.h"
#include "sandkey/config/toml_document.h"

#include <gtest/gtest.h>

#include <array>

namespace sandkey {
namespace {

using std::chrono::milliseconds;

TEST(Units, ReadsDurations) {
  EXPECT_EQ(duration_from_text("30"), milliseconds(30'000));
  EXPECT_EQ(duration_from_text("30s"), milliseconds(30'000));
  EXPECT_EQ(duration_from_text("1500ms"), milliseconds(1500));
  EXPECT_EQ(duration_from_text("2m"), milliseconds(120'000));
  EXPECT_EQ(duration_from_text("1.5h"), milliseconds(5'400'000));
  EXPECT_EQ(duration_from_text("7d"), milliseconds(604'800'000));
  for (const char* text :
       {"", "s", "-1s", "0", "0.1ms", "1y", "1 s", "1s ", "1e3", "nan", "inf", "1e400", "99999999d"}) {
    EXPECT_EQ(duration_from_text(text), std::nullopt) << text;
  }
}

TEST(Units, ReadsSizes) {
  EXPECT_EQ(size_from_text("1048576"), 1048576U);
  EXPECT_EQ(size_from_text("64k"), 65536U);
  EXPECT_EQ(size_from_text("512M"), 512U << 20U);
  EXPECT_EQ(size_from_text("1.5G"), 3ULL << 29U);
  EXPECT_EQ(size_from_text("2GiB"), 2ULL << 30U);
  EXPECT_EQ(size_from_text("2GB"), 2ULL << 30U);
  for (const char* text : {"", "G", "-1", "0", "2X", "2 G", "2iBiB", "99999999T"}) {
    EXPECT_EQ(size_from_text(text), std::nullopt) << text;
  }
}

TEST(NearestName, FindsSlipsAndNothingFarther) {
  constexpr std::array<std::string_view, 3> kNames{"timeout", "network", "lease"};
  EXPECT_EQ(nearest_name("timeot", kNames), "timeout");
  EXPECT_EQ(nearest_name("tiemout", kNames), "timeout");
  EXPECT_EQ(nearest_name("networks", kNames), "network");
  EXPECT_EQ(nearest_name("password", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name(std::string(100'000, 'x'), kNames), "");
}

TEST(TomlDocument, KeepsLinesAndQuotesWhatItReadBack) {
  const TomlValue document = parse_toml("a = 1\n[t.u]\nb = \"x\"\nc = [1, 2.5, true]\nd = 2020-01-01\n", "f");
  EXPECT_EQ(document.find("a")->integer, 1);
  const TomlValue* table = document.find("t")->find("u");
  EXPECT_EQ(table->line, 2);
  EXPECT_EQ(table->find("b")->line, 3);
  EXPECT_EQ(table->find("c")->items.size(), 3U);
  EXPECT_TRUE(table->find("d")->is(TomlValue::Type::date));
  EXPECT_EQ(table->find("none"), nullptr);
  std::string odd = "quote\" back\\ line\n tab\t bell\a del\x7f \xc3\xa9";
  EXPECT_EQ(parse_toml("k = " + toml_quoted(odd), "f").find("k")->text, odd);
  EXPECT_EQ(shown_key("a\nb\xff"), "a?b?");
  EXPECT_EQ(shown_key(std::string(65, 'a')), std::string(64, 'a') + "...");
}

TEST(TomlDocument, RefusesWhatTheParserItselfDoesNotExpect) {
  for (const char* text : {"[", "[\n]", "[[\n", "[a.\n]", "[ ", "a = [\n", "a = {", "a.", "\"", "a = \"\\u\"",
                           "\xff", "\xc3\xa9", "\xef\xbb\x9f"}) {
    EXPECT_THROW((void)parse_toml(text, "f"), Error) << text;
  }
  EXPECT_THROW((void)parse_toml("a = " + std::string(100'000, '['), "f"), Error);
}

}  // namespace
}  // namespace sandkey
