#include "sandkey/base/own_program.h"

#include "sandkey/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

EngineOptions variable(std::string value) {
  EngineOptions options;
  options.environment = [value = std::move(value)](const std::string& name) -> std::optional<std::string> {
    if (name == "SANDKEY_PROGRAM_DIR") return value;
    return std::nullopt;
  };
  return options;
}

TEST(OwnProgram, IsFoundBesideUs) {
  const Engine engine(variable(""));
  const fs::path self = fs::read_symlink("/proc/self/exe");
  EXPECT_EQ(find_own_program(engine, self.filename().string()), self);
}

TEST(OwnProgram, IsLookedForInTheChosenFolderOnly) {
  std::string folder = (fs::temp_directory_path() / "own-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/tool") << "#!/bin/sh\n";
  const Engine engine(variable(folder));
  const auto refused = [&](const std::string& name) {
    try {
      (void)find_own_program(engine, name);
      ADD_FAILURE() << name << " was found";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      EXPECT_THAT(error.what(), AllOf(HasSubstr(name), HasSubstr(folder), HasSubstr("SANDKEY_PROGRAM_DIR")));
    }
  };
  refused("tool");  // it cannot be executed
  ::chmod((folder + "/tool").c_str(), 0755);
  EXPECT_EQ(find_own_program(engine, "tool"), fs::path(folder) / "tool");
  refused(fs::read_symlink("/proc/self/exe").filename().string());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace sandkey
