#include "sandkey/runtime/state_folder.h"

#include "sandkey/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class StateFolderTest : public testing::Test {
 protected:
  StateFolderTest() {
    std::string name = fs::temp_directory_path() / "sandkey-state-XXXXXX";
    dir_ = ::mkdtemp(name.data());
  }
  ~StateFolderTest() override {
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }

  Engine engine(std::map<std::string, std::string> variables) {
    EngineOptions options;
    options.environment = [variables = std::move(variables)](const std::string& name) {
      const auto found = variables.find(name);
      return found == variables.end() ? std::optional<std::string>() : found->second;
    };
    return Engine(std::move(options));
  }
  fs::path folder(std::map<std::string, std::string> variables) {
    Engine e = engine(std::move(variables));
    return state_folder(e);
  }
  fs::path required(const fs::path& path) {
    Engine e = engine({{"SANDKEY_STATE_DIR", path}});
    return require_state_folder(e);
  }
  static unsigned mode(const fs::path& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777U : 0U;
  }
  // Code and text of what the call throws.
  template <typename Call>
  static std::pair<ErrorCode, std::string> failure(Call call) {
    try {
      call();
    } catch (const Error& error) {
      return {error.code(), error.what()};
    }
    return {ErrorCode::internal, "it did not throw"};
  }

  fs::path dir_;
};

TEST_F(StateFolderTest, TheMostParticularVariableWins) {
  EXPECT_EQ(folder({{"SANDKEY_STATE_DIR", "/a"}, {"XDG_STATE_HOME", "/b"}, {"HOME", "/c"}}), "/a");
  EXPECT_EQ(folder({{"XDG_STATE_HOME", "/b"}, {"HOME", "/c"}}), "/b/sandkey");
  EXPECT_EQ(folder({{"HOME", "/c"}}), "/c/.local/state/sandkey");
  EXPECT_EQ(folder({{"SANDKEY_STATE_DIR", ""}, {"XDG_STATE_HOME", ""}, {"HOME", "/c"}}),
            "/c/.local/state/sandkey");
}

TEST_F(StateFolderTest, ARelativePathIsRefusedByName) {
  for (const std::string variable : {"SANDKEY_STATE_DIR", "XDG_STATE_HOME", "HOME"}) {
    const auto [code, text] = failure([&] { (void)folder({{variable, "here"}}); });
    EXPECT_EQ(code, ErrorCode::invalid_argument);
    EXPECT_THAT(text, HasSubstr("$" + variable + " is 'here'"));
  }
  EXPECT_EQ(failure([&] { (void)folder({}); }).first, ErrorCode::invalid_argument);
}

TEST_F(StateFolderTest, WhatIsMissingIsMadeForTheOwnerOnly) {
  const fs::path path = dir_ / "a" / "b" / "c";
  EXPECT_EQ(required(path), path);
  for (const fs::path& made : {path, path.parent_path(), dir_ / "a"}) EXPECT_EQ(mode(made), 0700U) << made;
  EXPECT_EQ(required(path), path);
  EXPECT_EQ(required(path / ""), path / "") << "with a slash at its end";
}

TEST_F(StateFolderTest, AFolderThatOthersMayUseIsRefused) {
  fs::create_directory(dir_ / "open");
  ::chmod((dir_ / "open").c_str(), 0750);
  const auto [code, text] = failure([&] { (void)required(dir_ / "open"); });
  EXPECT_EQ(code, ErrorCode::permission_denied);
  EXPECT_THAT(text, HasSubstr("chmod 700"));
  ::chmod((dir_ / "open").c_str(), 0700);
  EXPECT_EQ(required(dir_ / "open"), dir_ / "open");
}

TEST_F(StateFolderTest, AFileInTheWayIsNamed) {
  std::ofstream(dir_ / "file") << "x";
  EXPECT_THAT(failure([&] { (void)required(dir_ / "file"); }).second, HasSubstr((dir_ / "file").string()));
  const auto [code, text] = failure([&] { (void)required(dir_ / "file" / "below"); });
  EXPECT_EQ(code, ErrorCode::not_found);
  EXPECT_THAT(text, HasSubstr((dir_ / "file").string()));
}

TEST_F(StateFolderTest, AFolderOfSomebodyElseIsRefused) {
  if (::geteuid() == 0) {
    fs::create_directory(dir_ / "theirs");
    ::chmod((dir_ / "theirs").c_str(), 0700);
    ASSERT_EQ(::chown((dir_ / "theirs").c_str(), 12345, 12345), 0);
    const auto [code, text] = failure([&] { (void)required(dir_ / "theirs"); });
    EXPECT_EQ(code, ErrorCode::permission_denied);
    EXPECT_THAT(text, HasSubstr("belongs to user 12345"));
  } else {
    EXPECT_EQ(failure([&] { (void)required("/root/sandkey"); }).first, ErrorCode::permission_denied);
  }
}

TEST_F(StateFolderTest, AReadOnlyFolderIsRefused) {
  // A folder of the kernel's cannot be written by root either.
  const auto [code, text] = failure([&] { make_private_folders("/proc/self/fdinfo/sandkey"); });
  EXPECT_NE(code, ErrorCode::internal);
  EXPECT_THAT(text, HasSubstr("/proc/self/fdinfo/sandkey"));
  if (::geteuid() == 0) return;
  fs::create_directory(dir_ / "fixed");
  ::chmod((dir_ / "fixed").c_str(), 0500);
  const auto refused = failure([&] { (void)required(dir_ / "fixed"); });
  EXPECT_EQ(refused.first, ErrorCode::permission_denied);
  EXPECT_THAT(refused.second, HasSubstr("set SANDKEY_STATE_DIR"));
}

}  // namespace
}  // namespace sandkey
