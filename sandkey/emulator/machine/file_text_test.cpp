#include "sandkey/emulator/machine/file_text.h"

#include <gtest/gtest.h>

namespace sandkey::machine {
namespace {

TEST(Paths, NamesAndParents) {
  EXPECT_EQ(base_name("/a/b"), "b");
  EXPECT_EQ(base_name("/a/b/"), "b");
  EXPECT_EQ(base_name("/"), "/");
  EXPECT_EQ(base_name(""), ".");
  EXPECT_EQ(parent_of("/a/b"), "/a");
  EXPECT_EQ(parent_of("/a/b/"), "/a");
  EXPECT_EQ(parent_of("/a"), "/");
  EXPECT_EQ(parent_of("a"), ".");
}

TEST(Paths, AreMadeAbsolute) {
  EXPECT_EQ(absolute_path("a/../b/", "/home/user"), "/home/user/b");
  EXPECT_EQ(absolute_path("/a//./b", "/home/user"), "/a/b");
  EXPECT_EQ(absolute_path(".", "/home/user"), "/home/user");
  EXPECT_EQ(absolute_path("", "/home/user"), "/home/user");
  EXPECT_EQ(absolute_path("/..", "/"), "/");
}

TEST(Permissions, AreWrittenAsGoDoes) {
  using Type = RemoteEntry::Type;
  EXPECT_EQ(go_permissions(Type::file, 0644), "-rw-r--r--");
  EXPECT_EQ(go_permissions(Type::directory, 0755), "drwxr-xr-x");
  EXPECT_EQ(go_permissions(Type::symlink, 0777), "Lrwxrwxrwx");
  EXPECT_EQ(go_permissions(Type::file, 0), "----------");
  EXPECT_EQ(go_permissions(Type::file, 04755), "urwxr-xr-x");
  EXPECT_EQ(go_permissions(Type::directory, 01777), "dtrwxrwxrwx");
  EXPECT_EQ(go_permissions(Type::directory, 06700), "dugrwx------");
}

}  // namespace
}  // namespace sandkey::machine
