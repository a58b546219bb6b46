#include "sandkey/agent/session_keys.h"

#include "sandkey/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace sandkey::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kFirst = "first-key-0123456789";
constexpr const char* kSecond = "second-key-0123456789";

class SessionKeysTest : public testing::Test {
 protected:
  SessionKeysTest() {
    std::string name = fs::temp_directory_path() / "sandkey-keys-XXXXXX";
    dir_ = ::mkdtemp(name.data());
    file_ = dir_ + "/keys";
  }
  ~SessionKeysTest() override {
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }

  void write(const std::string& text, unsigned mode = 0600) const {
    // A new file each time: its inode is what a reader notices, however fast the writer was.
    std::ofstream(file_ + ".new") << text;
    ::chmod((file_ + ".new").c_str(), mode);
    fs::rename(file_ + ".new", file_);
  }
  [[nodiscard]] std::string failure(ErrorCode code) const {
    try {
      const SessionKeys keys(file_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "the file was accepted";
    return {};
  }

  std::string dir_;
  std::string file_;
};

TEST_F(SessionKeysTest, WithoutAFileEverybodyMayEnter) {
  SessionKeys keys;
  EXPECT_FALSE(keys.required());
  EXPECT_TRUE(keys.allow(""));
  EXPECT_TRUE(keys.allow("anything"));
}

TEST_F(SessionKeysTest, EveryLineIsAKey) {
  write(std::string("# the owner\n") + kFirst + "\n\n   \t\n  " + kSecond + " \r\n# end");
  SessionKeys keys(file_);
  EXPECT_TRUE(keys.required());
  EXPECT_TRUE(keys.allow(kFirst));
  EXPECT_TRUE(keys.allow(kSecond));
  EXPECT_FALSE(keys.allow(""));
  EXPECT_FALSE(keys.allow("# the owner"));
  EXPECT_FALSE(keys.allow(std::string(kFirst) + "x"));
  EXPECT_FALSE(keys.allow(std::string(kFirst).substr(1)));
  EXPECT_FALSE(keys.allow(std::string(kFirst) + "\n" + kSecond));
}

TEST_F(SessionKeysTest, ALastLineNeedsNoNewline) {
  write(kFirst);
  EXPECT_TRUE(SessionKeys(file_).allow(kFirst));
}

TEST_F(SessionKeysTest, OthersMustNotReadTheFile) {
  for (const unsigned mode : {0640U, 0604U, 0620U, 0602U, 0610U, 0666U}) {
    write(kFirst, mode);
    EXPECT_THAT(failure(ErrorCode::permission_denied), HasSubstr("chmod 600 " + file_));
  }
  write(kFirst, 0400);
  EXPECT_TRUE(SessionKeys(file_).allow(kFirst));
}

TEST_F(SessionKeysTest, SaysWhatIsWrongWithTheFileAndNeverAKey) {
  EXPECT_THAT(failure(ErrorCode::not_found), HasSubstr(file_));
  write("");
  EXPECT_THAT(failure(ErrorCode::credential_missing), HasSubstr("no key"));
  write("# only this\n\n");
  EXPECT_THAT(failure(ErrorCode::credential_missing), HasSubstr("no key"));
  write(std::string(kFirst) + "\nshort-secret-15\n");
  EXPECT_THAT(
      failure(ErrorCode::credential_malformed),
      testing::AllOf(HasSubstr("fewer than 16"), Not(HasSubstr("short-secret")), Not(HasSubstr(kFirst))));
}

TEST_F(SessionKeysTest, SixteenCharactersAreEnough) {
  write("0123456789abcdef\n");
  EXPECT_TRUE(SessionKeys(file_).allow("0123456789abcdef"));
}

TEST_F(SessionKeysTest, BoundsTheFile) {
  const std::string key = std::string(kFirst) + "\n";
  write(key + std::string(SessionKeys::kMaxFile - key.size(), '\n'));
  EXPECT_TRUE(SessionKeys(file_).allow(kFirst));
  write(key + std::string(SessionKeys::kMaxFile - key.size() + 1, '\n'));
  EXPECT_THAT(failure(ErrorCode::invalid_argument), HasSubstr("64 KiB"));
  fs::remove(file_);
  fs::create_symlink("/dev/zero", file_);
  EXPECT_THAT(failure(ErrorCode::invalid_argument), HasSubstr("64 KiB"));
}

TEST_F(SessionKeysTest, AnUnknownKeyMakesItReadAChangedFileAgain) {
  write(std::string(kFirst) + "\n");
  SessionKeys keys(file_);
  EXPECT_FALSE(keys.allow(kSecond));
  std::ofstream(file_, std::ios::app) << kSecond << "\n";  // as another client adds its own
  EXPECT_TRUE(keys.allow(kSecond));
  EXPECT_TRUE(keys.allow(kFirst));
  write(std::string(kSecond) + "\n");
  EXPECT_FALSE(keys.allow("an-unknown-key-0000"));  // read again, so the first one is gone by now
  EXPECT_FALSE(keys.allow(kFirst));
  EXPECT_TRUE(keys.allow(kSecond));
}

TEST_F(SessionKeysTest, KeepsItsKeysWhileTheFileIsBroken) {
  write(std::string(kFirst) + "\n");
  SessionKeys keys(file_);
  for (const char* broken : {"", "short\n", "# nothing\n"}) {
    write(broken);
    EXPECT_FALSE(keys.allow(kSecond));
    EXPECT_TRUE(keys.allow(kFirst)) << broken;
  }
  write(std::string(kSecond) + "\n", 0644);
  EXPECT_FALSE(keys.allow(kSecond));
  EXPECT_TRUE(keys.allow(kFirst));
  fs::remove(file_);
  EXPECT_FALSE(keys.allow(kSecond));
  EXPECT_TRUE(keys.allow(kFirst));
  write(std::string(kSecond) + "\n");
  EXPECT_TRUE(keys.allow(kSecond));
}

TEST_F(SessionKeysTest, ReadsAPipeOnce) {
  std::array<int, 2> fds{};
  ASSERT_EQ(::pipe(fds.data()), 0);
  const std::string text = std::string(kFirst) + "\n";
  ASSERT_EQ(::write(fds[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::close(fds[1]);
  SessionKeys keys("/proc/self/fd/" + std::to_string(fds[0]));
  ::close(fds[0]);
  EXPECT_TRUE(keys.allow(kFirst));
  EXPECT_FALSE(keys.allow(kSecond));
  EXPECT_TRUE(keys.allow(kFirst));
}

}  // namespace
}  // namespace sandkey::agent
