#include "sandkey/base/secret.h"

#include <gtest/gtest.h>

#include <ostream>
#include <type_traits>
#include <utility>

namespace sandkey {
namespace {

template <class T>
concept Printable = requires(std::ostream& out, const T& value) {
  out << value;
};

static_assert(!Printable<Secret>);
static_assert(!std::is_copy_constructible_v<Secret>);
static_assert(!std::is_convertible_v<Secret, std::string_view>);

TEST(Secret, MovesAndLeavesNothingBehind) {
  Secret first("short");
  const Secret second = std::move(first);
  EXPECT_EQ(second.expose(), "short");
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move): the moved-from state is what is tested
}

TEST(Secret, WipeOverwrites) {
  char text[] = "canary";
  wipe(text, sizeof text);
  for (const char c : text) EXPECT_EQ(c, '\0');
}

TEST(Secret, MatchesOnlyTheSameBytes) {
  const Secret secret("abc");
  EXPECT_TRUE(secret.matches("abc"));
  EXPECT_FALSE(secret.matches("abd"));
  EXPECT_FALSE(secret.matches("ab"));
  EXPECT_FALSE(secret.matches(""));
  EXPECT_TRUE(Secret().matches(""));
}

}  // namespace
}  // namespace sandkey
