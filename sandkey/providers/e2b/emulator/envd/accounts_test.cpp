#include "sandkey/providers/e2b/emulator/envd/accounts.h"

#include <gtest/gtest.h>

#include <string>

namespace sandkey::e2b_envd {
namespace {

const Account kUser{.name = "user", .home = "/home/user"};

TEST(Paths, AbsoluteOnesStayAsTheyAre) {
  EXPECT_EQ(resolve_path("/tmp//x/../y/", kUser, "/work"), "/tmp//x/../y/");
}

TEST(Paths, RelativeOnesAreOfTheHome) {
  EXPECT_EQ(resolve_path("a/b.txt", kUser, "/work"), "/home/user/a/b.txt");
  EXPECT_EQ(resolve_path("./a/../b/", kUser, "/work"), "/home/user/b");
  EXPECT_EQ(resolve_path("../other", kUser, ""), "/home/other");
}

TEST(Paths, TildeIsTheHomeAndNobodyElses) {
  EXPECT_EQ(resolve_path("~", kUser, "/work"), "/home/user");
  EXPECT_EQ(resolve_path("~/a", kUser, ""), "/home/user/a");
  EXPECT_EQ(resolve_path("~//a", kUser, ""), "/home/user/a");
  EXPECT_THROW((void)resolve_path("~root/a", kUser, ""), PathError);
  EXPECT_EQ(resolve_path("a~", kUser, ""), "/home/user/a~");
}

TEST(Paths, EmptyOnesAreTheWorkFolderOrTheHome) {
  EXPECT_EQ(resolve_path("", kUser, "/work"), "/work");
  EXPECT_EQ(resolve_path("", kUser, "code"), "/home/user/code");
  EXPECT_EQ(resolve_path("", kUser, ""), "/home/user");
}

TEST(BasicUser, IsWhatStandsBeforeTheColon) {
  EXPECT_EQ(basic_user("Basic dXNlcjo="), "user");
  EXPECT_EQ(basic_user("basic cm9vdDpwdw=="), "root");
  EXPECT_EQ(basic_user("Basic Og=="), "");
}

TEST(BasicUser, IsNoneWithoutOne) {
  for (const char* header : {"", "Basic", "Bearer dXNlcjo=", "Basic !!!", "Basic dXNlcg=="})
    EXPECT_EQ(basic_user(header), std::nullopt) << header;
}

TEST(NameTable, ReadsAccountsAndGroups) {
  const NameTable users =
      NameTable::parse("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
  EXPECT_EQ(users.rows.at("user").home, "/home/user");
  EXPECT_EQ(users.name_of(0), "root");
  EXPECT_EQ(users.name_of(1), std::nullopt);
  EXPECT_EQ(NameTable::parse("tty:x:5:a,b").name_of(5), "tty");
}

TEST(NameTable, SkipsWhatIsNoRow) {
  EXPECT_TRUE(NameTable::parse("\n:x:1\nname\nname:x\nname:x:\nname:x:1a:\nname:x:-1\n").rows.empty());
}

}  // namespace
}  // namespace sandkey::e2b_envd
