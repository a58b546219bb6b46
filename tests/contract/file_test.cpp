// Files and folders, there and back.
#include "tests/contract/suite.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

namespace sandkey::contract {
namespace {

namespace fs = std::filesystem;
using runtime_test::mode_of;
using runtime_test::read_file;
using runtime_test::write_file;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Files : public ContractTest {
 protected:
  void put(ActionExecutionClient& runtime, const std::string& from, const std::string& to) {
    engine_->wait(runtime.agent().put_file(from, to, soon()));
  }
  void get(ActionExecutionClient& runtime, const std::string& from, const std::string& to) {
    engine_->wait(runtime.agent().get_file(from, to, soon()));
  }
};
INSTANTIATE_TEST_SUITE_P(, Files, ::testing::ValuesIn(every_provider()), name_of);

// The same ones each time.
std::string random_bytes(std::size_t size) {
  std::mt19937_64 random(4711);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() & 0xFF);
  return bytes;
}

const std::vector<std::string>& odd_names() {
  static const std::vector<std::string> names{"with blanks ",
                                              "it's \"quoted\" `$HOME`",
                                              "\xC3\xA4\xE6\x96\x87",
                                              "-rf",
                                              "two\nlines",
                                              "back\\slash",
                                              ".hidden",
                                              "100%41",
                                              "a?b#c&d=e+f",
                                              "*",
                                              std::string(255, 'n')};
  return names;
}

TEST_P(Files, AreWrittenReadAndEdited) {
  const auto runtime = connected("actions");
  const Observation written = runtime->write({.path = "/workspace/notes.txt", .content = "first\nsecond"});
  EXPECT_NE(written.as<FileWriteObservation>(), nullptr) << written.content;
  EXPECT_EQ(output(*runtime, "cat notes.txt"), "first\nsecond");
  const Observation edited = runtime->edit({.path = "/workspace/notes.txt",
                                            .command = "str_replace",
                                            .old_str = "second",
                                            .new_str = "zw\xC3\xB6lf"});
  EXPECT_NE(edited.as<FileEditObservation>(), nullptr) << edited.content;
  EXPECT_EQ(runtime->read({.path = "/workspace/notes.txt"}).content, "first\nzw\xC3\xB6lf\n");
  EXPECT_NE(runtime->read({.path = "/workspace/none"}).as<ErrorObservation>(), nullptr);
  EXPECT_THAT(runtime->list_files("/workspace"), Contains("notes.txt"));
  EXPECT_THAT(runtime->list_files("/workspace/none"), IsEmpty());
  runtime->close();
}

TEST_P(Files, LargeOnesArriveByteForByte) {
  const auto runtime = connected("large");
  const std::string bytes = random_bytes(32U << 20U);
  write_file(dir_ / "large", bytes);
  put(*runtime, dir_ / "large", "/workspace/large");
  EXPECT_EQ(output(*runtime, "stat -c %s large"), std::to_string(bytes.size()));
  get(*runtime, "/workspace/large", dir_ / "back");
  EXPECT_TRUE(read_file(dir_ / "back") == bytes);
  write_file(dir_ / "empty", "");
  put(*runtime, dir_ / "empty", "/workspace/empty");
  get(*runtime, "/workspace/empty", dir_ / "empty-back");
  EXPECT_TRUE(fs::exists(dir_ / "empty-back"));
  EXPECT_EQ(fs::file_size(dir_ / "empty-back"), 0U);
  runtime->close();
}

TEST_P(Files, KeepTheirModesAndOddNames) {
  const auto runtime = connected("odd");
  for (const std::string& name : odd_names()) {
    SCOPED_TRACE(name);
    write_file(dir_ / "file", name + " is my name");
    fs::permissions(dir_ / "file", fs::perms(0750));
    put(*runtime, dir_ / "file", "/workspace/" + name);
    const RemoteStat there = engine_->wait(runtime->agent().stat("/workspace/" + name, soon()));
    EXPECT_EQ(there.type, RemoteStat::Type::file);
    EXPECT_EQ(there.mode, 0750U);
    get(*runtime, "/workspace/" + name, dir_ / "back");
    EXPECT_EQ(read_file(dir_ / "back"), name + " is my name");
    EXPECT_EQ(mode_of(dir_ / "back"), 0750U);
    fs::remove(dir_ / "back");
  }
  EXPECT_EQ(output(*runtime, "find . -type f -print0 | tr -cd '\\0' | wc -c"),
            std::to_string(odd_names().size()));
  runtime->close();
}

TEST_P(Files, FoldersKeepAllThatIsInThem) {
  const auto runtime = connected("folders");
  fs::create_directories(dir_ / "tree/empty");
  fs::create_directories(dir_ / "tree/sub/deep");
  for (const std::string& name : odd_names()) write_file(dir_ / ("tree/sub/" + name), name);
  write_file(dir_ / "tree/sub/deep/bytes", random_bytes(100'000));
  write_file(dir_ / "tree/run.sh", "#!/bin/sh\necho it runs\n");
  fs::permissions(dir_ / "tree/run.sh", fs::perms(0755));
  fs::create_symlink("run.sh", dir_ / "tree/link");

  runtime->copy_to(dir_ / "tree", "/workspace", true);
  EXPECT_EQ(output(*runtime, "tree/link"), "it runs");
  engine_->wait(runtime->agent().get_tree("/workspace/tree", dir_ / "back", soon()));
  EXPECT_TRUE(fs::is_directory(dir_ / "back/empty"));
  EXPECT_EQ(fs::read_symlink(dir_ / "back/link"), "run.sh");
  EXPECT_EQ(mode_of(dir_ / "back/run.sh"), 0755U);
  EXPECT_TRUE(read_file(dir_ / "back/sub/deep/bytes") == random_bytes(100'000));
  for (const std::string& name : odd_names()) EXPECT_EQ(read_file(dir_ / ("back/sub/" + name)), name);

  const fs::path zip = runtime->copy_from("/workspace/tree");
  EXPECT_TRUE(read_file(zip.string()).starts_with("PK"));
  fs::remove(zip);
  runtime->close();
}

TEST_P(Files, WhatIsNotThereIsSaid) {
  const auto runtime = connected("missing");
  EXPECT_EQ(thrown([&] { get(*runtime, "/workspace/none", dir_ / "none"); }).code(), ErrorCode::not_found);
  EXPECT_EQ(thrown([&] { (void)runtime->copy_from("/workspace/none"); }).code(), ErrorCode::not_found);
  EXPECT_EQ(thrown([&] { runtime->copy_to(dir_ / "none", "/workspace"); }).code(), ErrorCode::not_found);
  EXPECT_FALSE(fs::exists(dir_ / "none"));
  EXPECT_EQ(engine_->wait(runtime->agent().stat("/workspace/none", soon())).type, RemoteStat::Type::missing);
  runtime->close();
}

}  // namespace
}  // namespace sandkey::contract
