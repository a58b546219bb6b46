#include "sandkey/runtime/shell_quote.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace sandkey {
namespace {

// What a real shell makes of one word; every byte counts, the last line break too.
std::string through_shell(const std::string& shell, const std::string& word) {
  // The script goes through the environment, since system(3) would be one more shell to get past.
  ::setenv("SANDKEY_TEST_SCRIPT", ("printf '%s' " + word).c_str(), 1);
  FILE* const pipe = ::popen((shell + " -c \"$SANDKEY_TEST_SCRIPT\"").c_str(), "r");
  if (pipe == nullptr) return "popen failed";
  std::string out;
  char buffer[4096];
  while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  EXPECT_EQ(::pclose(pipe), 0) << word;
  return out;
}

class ShellQuoteRoundTrip : public ::testing::TestWithParam<std::string> {};

TEST_P(ShellQuoteRoundTrip, ShellsGiveBackEveryByte) {
  EXPECT_EQ(through_shell("sh", shell_quote(GetParam())), GetParam());
  if (::access("/bin/bash", X_OK) == 0) {
    EXPECT_EQ(through_shell("bash", shell_quote(GetParam())), GetParam());
  }
}

std::string every_byte_but_nul() {
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  return all;
}

INSTANTIATE_TEST_SUITE_P(
    Words, ShellQuoteRoundTrip,
    ::testing::Values("", "plain", "two words", " leading and trailing ", "'", "''", "'quoted'", "it's",
                      "\"double\"", "$HOME $(id) ${x} $((1+1))", "`id`", "\\", "\\\\n", "\\'", "a\nb", "\n",
                      "trailing\n\n", "\t", "!history !!", "*?[a-z]", "~", "; rm -rf / &", "#not a comment",
                      "-n", "%s%d", "h\xc3\xa9llo \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x8f\x9d",
                      "\xff\xfe not UTF-8", std::string(20'000, '\''), every_byte_but_nul()));

TEST(ShellName, OnlyWhatShellsTakeAsAVariable) {
  for (const char* good : {"A", "a", "_", "_1", "GITHUB_TOKEN", "x9"})
    EXPECT_TRUE(is_shell_name(good)) << good;
  for (const char* bad :
       {"", "1", "9A", "A-B", "A B", "A=B", "A;id", "\xc3\x84", "A\n", "A.B", "$A", "A'", "A\xff"}) {
    EXPECT_FALSE(is_shell_name(bad)) << bad;
  }
  EXPECT_FALSE(is_shell_name(std::string_view("A\0B", 3)));
}

}  // namespace
}  // namespace sandkey
