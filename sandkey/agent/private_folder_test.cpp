#include "sandkey/agent/private_folder.h"

#include "sandkey/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace sandkey::agent {
namespace {

namespace fs = std::filesystem;
using testing::StartsWith;

// A folder for TMPDIR to point to.
class PrivateFolderTest : public testing::Test {
 protected:
  PrivateFolderTest() {
    if (const char* old = std::getenv("TMPDIR")) old_ = old;
    std::string name = fs::temp_directory_path() / "sandkey-parts-XXXXXX";
    dir_ = ::mkdtemp(name.data());
    ::setenv("TMPDIR", dir_.c_str(), 1);
  }
  ~PrivateFolderTest() override {
    if (old_) {
      ::setenv("TMPDIR", old_->c_str(), 1);
    } else {
      ::unsetenv("TMPDIR");
    }
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }

  static unsigned mode(const std::string& path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777U : 0U;
  }
  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::optional<std::string> old_;
  std::string dir_;
};

TEST_F(PrivateFolderTest, IsForItsOwnerOnlyAndGoesWithItsFiles) {
  std::string path;
  {
    PrivateFolder folder;
    path = folder.path();
    EXPECT_THAT(path, StartsWith(dir_ + "/"));
    EXPECT_EQ(mode(path), 0700U);
    folder.write("a", "some text");
    EXPECT_EQ(mode(path + "/a"), 0600U);
    EXPECT_EQ(content(path + "/a"), "some text");
    folder.write("a", "less");
    EXPECT_EQ(content(path + "/a"), "less");
    folder.make_fifo("pipe");
    EXPECT_TRUE(folder.is_fifo("pipe"));
    EXPECT_FALSE(folder.is_fifo("a"));
    EXPECT_FALSE(folder.is_fifo("missing"));
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(PrivateFolderTest, WritesLargeFiles) {
  PrivateFolder folder;
  const std::string text(5'000'000, 'z');
  folder.write("large", text);
  EXPECT_EQ(content(folder.path() + "/large"), text);
}

TEST_F(PrivateFolderTest, FollowsNoLinkOutOfItself) {
  PrivateFolder folder;
  const std::string victim = dir_ + "/victim";
  std::ofstream(victim) << "precious";
  fs::create_symlink(victim, folder.path() + "/name");
  EXPECT_THROW(folder.write("name", "overwritten"), Error);
  EXPECT_EQ(content(victim), "precious");
}

TEST_F(PrivateFolderTest, AFifoComesBackAfterTheFolderWasRemoved) {
  PrivateFolder folder;
  folder.make_fifo("pipe");
  fs::remove_all(folder.path());
  EXPECT_FALSE(folder.is_fifo("pipe"));
  folder.make_fifo("pipe");
  EXPECT_TRUE(folder.is_fifo("pipe"));
  EXPECT_EQ(mode(folder.path()), 0700U);
  std::ofstream(folder.path() + "/other") << "x";
  fs::remove(folder.path() + "/pipe");
  std::ofstream(folder.path() + "/pipe") << "a file where the pipe was";
  folder.make_fifo("pipe");
  EXPECT_TRUE(folder.is_fifo("pipe"));
  EXPECT_TRUE(fs::exists(folder.path() + "/other"));
}

TEST_F(PrivateFolderTest, WillNotUseAFolderThatSomebodyElsePutInItsPlace) {
  PrivateFolder folder;
  fs::remove_all(folder.path());
  fs::create_directory(folder.path());
  ::chmod(folder.path().c_str(), 0777);
  EXPECT_THROW(folder.make_fifo("pipe"), Error);
  fs::remove(folder.path());
  fs::create_directory(dir_ + "/elsewhere");
  fs::create_directory_symlink(dir_ + "/elsewhere", folder.path());
  EXPECT_THROW(folder.make_fifo("pipe"), Error);
}

TEST_F(PrivateFolderTest, AvoidsAUselessTmpdir) {
  for (const std::string& useless :
       {dir_ + "/missing", std::string("relative"), std::string(), dir_ + "/it's quoted"}) {
    fs::create_directory(dir_ + "/it's quoted");
    ::setenv("TMPDIR", useless.c_str(), 1);
    const PrivateFolder folder;
    EXPECT_THAT(folder.path(), StartsWith("/")) << useless;
    EXPECT_EQ(folder.path().find('\''), std::string::npos);
    EXPECT_NE(fs::path(folder.path()).parent_path(), useless);
  }
}

TEST_F(PrivateFolderTest, RemovingTwiceIsHarmless) {
  PrivateFolder folder;
  folder.remove();
  folder.remove();
  EXPECT_EQ(folder.path(), "");
}

}  // namespace
}  // namespace sandkey::agent
