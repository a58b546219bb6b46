// Looking at what is in a folder, changing it, and being told of changes.
#include "tests/agent/agent_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace sandkey::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class Entries : public ::testing::Test {
 protected:
  Entries() {
    ProgramOptions options;
    options.arguments = {"--listen", "unix:" + folder / "socket", "--working-dir", folder / "work"};
    agent.emplace(options);
    fs::create_directories(root);
  }

  RawResponse ask(std::string_view method, const std::string& target, std::string_view body = {}) {
    RawClient client = RawClient::to_unix(folder / "socket");
    client.send(request(method, "/sandkey/v1/" + target, body));
    std::optional<RawResponse> reply = client.response();
    if (!reply) {
      ADD_FAILURE() << "no reply to " << target;
      return {};
    }
    return std::move(*reply);
  }
  json::array list(const std::string& path, int depth, const std::string& more = {}) {
    const RawResponse reply = ask("GET", "entries?path=" + path + "&depth=" + std::to_string(depth) + more);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply.status == 200 ? parse_json(reply.body, "the entries").at("entries").as_array()
                               : json::array();
  }
  std::vector<std::string> paths(const std::string& path, int depth) {
    std::vector<std::string> found;
    for (const json::value& entry : list(path, depth)) {
      const std::string full(entry.at("path").as_string());
      found.push_back(full.substr(std::min(full.size(), path.size())));
    }
    return found;
  }

  Folder folder;
  std::string root = folder / "root";
  std::optional<AgentProgram> agent;
};

TEST_F(Entries, OneIsDescribed) {
  write_file(root + "/file", "12345", 0640);
  const json::array entries = list(root + "/file", 0);
  ASSERT_EQ(entries.size(), 1U);
  const json::object& file = entries[0].as_object();
  EXPECT_EQ(file.at("type"), "file");
  EXPECT_EQ(file.at("size"), 5);
  EXPECT_EQ(file.at("mode"), 0640);
  EXPECT_EQ(file.at("uid"), static_cast<std::int64_t>(::getuid()));
  struct stat info {};
  ASSERT_EQ(::stat((root + "/file").c_str(), &info), 0);
  EXPECT_EQ(file.at("modified"), std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec);
  EXPECT_FALSE(file.contains("target"));
}

TEST_F(Entries, AFolderIsListedAsDeepAsAskedInTheOrderOfNames) {
  fs::create_directories(root + "/b/inner/deep");
  write_file(root + "/a", "");
  write_file(root + "/b/x", "");
  write_file(root + "/c", "");
  EXPECT_THAT(paths(root, 0), ElementsAre(""));
  EXPECT_THAT(paths(root, 1), ElementsAre("", "/a", "/b", "/c"));
  EXPECT_THAT(paths(root, 2), ElementsAre("", "/a", "/b", "/b/inner", "/b/x", "/c"));
  EXPECT_THAT(paths(root, 99), ElementsAre("", "/a", "/b", "/b/inner", "/b/inner/deep", "/b/x", "/c"));
  EXPECT_THAT(paths(root + "/a", 5), ElementsAre(""));
}

TEST_F(Entries, LinksAreToldAndNotFollowed) {
  fs::create_directories(root + "/real");
  write_file(root + "/real/file", "");
  fs::create_symlink("real", root + "/link");
  fs::create_symlink("nowhere", root + "/dead");
  fs::create_symlink("loop", root + "/loop");
  EXPECT_THAT(paths(root, 9), ElementsAre("", "/dead", "/link", "/loop", "/real", "/real/file"));
  const json::array entries = list(root, 1);
  EXPECT_EQ(entries[1].at("target"), "nowhere");
  EXPECT_FALSE(entries[1].as_object().contains("target_type"));
  EXPECT_EQ(entries[2].at("type"), "symlink");
  EXPECT_EQ(entries[2].at("target"), json::string(fs::canonical(root + "/real").string()));
  EXPECT_EQ(entries[2].at("target_type"), "directory");
  EXPECT_FALSE(entries[3].as_object().contains("target_type"));
  EXPECT_THAT(paths(root + "/link", 1), ElementsAre("", "/file")) << "but the path itself is followed";
}

TEST_F(Entries, WhatIsNotThereIs404) {
  EXPECT_EQ(ask("GET", "entries?path=" + root + "/none").status, 404);
  EXPECT_EQ(ask("GET", "entries").status, 422);
  EXPECT_EQ(ask("GET", "entries?path=relative").status, 400);
  EXPECT_EQ(ask("GET", "entries?path=" + root + "&depth=x").status, 400);
  EXPECT_EQ(ask("POST", "entries?path=" + root).status, 405);
}

TEST_F(Entries, FoldersAreMadeWithTheirParentsOnce) {
  EXPECT_EQ(ask("POST", "folder?path=" + root + "/a/b/c").status, 201);
  EXPECT_TRUE(fs::is_directory(root + "/a/b/c"));
  EXPECT_EQ(ask("POST", "folder?path=" + root + "/a/b").status, 409);
  write_file(root + "/file", "");
  EXPECT_EQ(ask("POST", "folder?path=" + root + "/file").status, 409);
  EXPECT_EQ(ask("POST", "folder?path=" + root + "/file/below").status, 404);
}

TEST_F(Entries, MovesReplaceWhatIsThereAndMakeParents) {
  write_file(root + "/from", "new");
  write_file(root + "/to", "old");
  EXPECT_EQ(ask("POST", "move?from=" + root + "/from&to=" + root + "/to").status, 200);
  EXPECT_EQ(read_file(root + "/to"), "new");
  EXPECT_FALSE(fs::exists(root + "/from"));
  EXPECT_EQ(ask("POST", "move?from=" + root + "/to&to=" + root + "/x/y/z").status, 200);
  EXPECT_EQ(read_file(root + "/x/y/z"), "new");
  EXPECT_EQ(ask("POST", "move?from=" + root + "/to&to=" + root + "/q/r").status, 404);
  EXPECT_FALSE(fs::exists(root + "/q")) << "nothing is made for what does not come";
}

TEST_F(Entries, MovesGoBetweenFileSystems) {
  std::string elsewhere = "/dev/shm/sandkey-entries-XXXXXX";
  struct stat here {
  }, there{};
  if (::mkdtemp(elsewhere.data()) == nullptr) GTEST_SKIP() << "there is no /dev/shm";
  ::stat(root.c_str(), &here);
  ::stat(elsewhere.c_str(), &there);
  fs::create_directories(root + "/tree/inner");
  write_file(root + "/tree/inner/file", "content", 0750);
  fs::create_symlink("inner/file", root + "/tree/link");
  EXPECT_EQ(ask("POST", "move?from=" + root + "/tree&to=" + elsewhere + "/sub/tree").status, 200);
  EXPECT_EQ(read_file(elsewhere + "/sub/tree/link"), "content");
  EXPECT_TRUE(fs::is_symlink(elsewhere + "/sub/tree/link"));
  EXPECT_EQ(fs::status(elsewhere + "/sub/tree/inner/file").permissions(), fs::perms(0750));
  EXPECT_FALSE(fs::exists(root + "/tree"));
  EXPECT_THAT(names_in(elsewhere + "/sub"), ElementsAre("tree")) << "and nothing else is left";
  fs::remove_all(elsewhere);
  if (here.st_dev == there.st_dev) GTEST_SKIP() << "both folders are of one file system";
}

TEST_F(Entries, RemovingTakesAllBelowAndNothingIsEnough) {
  fs::create_directories(root + "/tree/inner");
  write_file(root + "/tree/inner/file", "");
  const RawResponse reply = ask("DELETE", "entries?path=" + root + "/tree");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"removed":3})");
  EXPECT_FALSE(fs::exists(root + "/tree"));
  EXPECT_EQ(ask("DELETE", "entries?path=" + root + "/tree").body, R"({"removed":0})");
}

TEST_F(Entries, RemovingALinkLeavesWhatItLeadsTo) {
  write_file(root + "/real", "stays");
  fs::create_symlink("real", root + "/link");
  EXPECT_EQ(ask("DELETE", "entries?path=" + root + "/link").status, 200);
  EXPECT_EQ(read_file(root + "/real"), "stays");
}

TEST_F(Entries, AttributesAreReplacedAsASet) {
  write_file(root + "/file", "");
  const std::string target = "attributes?path=" + root + "/file&prefix=user.test.";
  const RawResponse first = ask("PUT", target, R"({"a":"1","b":"2"})");
  if (first.status == 500) GTEST_SKIP() << "no extended attributes here: " << first.body;
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(ask("PUT", "attributes?path=" + root + "/file&prefix=user.other.", R"({"z":"9"})").status, 200);
  EXPECT_EQ(ask("PUT", target, R"({"b":"3","c":""})").status, 200);
  const json::array entries = list(root + "/file", 0, "&attributes=user.test.");
  EXPECT_EQ(entries[0].at("attributes"), (json::object{{"b", "3"}, {"c", ""}}));
  EXPECT_EQ(ask("PUT", target, "[]").status, 422);
  EXPECT_EQ(ask("PUT", target, R"({"a":1})").status, 422);
  EXPECT_EQ(ask("PUT", "attributes?path=" + root + "/file", "{}").status, 422);
}

TEST_F(Entries, APartOfAFileIsRead) {
  write_file(root + "/file", "0123456789");
  const std::string target = "file?path=" + root + "/file";
  EXPECT_EQ(ask("GET", target + "&offset=3").body, "3456789");
  EXPECT_EQ(ask("GET", target + "&offset=3&length=2").body, "34");
  EXPECT_EQ(ask("GET", target + "&length=0").body, "");
  EXPECT_EQ(ask("GET", target + "&offset=10").body, "");
  EXPECT_EQ(ask("GET", target + "&offset=11&length=5").body, "");
  EXPECT_EQ(ask("GET", target + "&offset=-1").status, 400);
}

TEST_F(Entries, AFileIsOverwrittenInPlace) {
  write_file(root + "/file", "a long content", 0600);
  fs::create_hard_link(root + "/file", root + "/other-name");
  EXPECT_EQ(ask("PUT", "file?path=" + root + "/file&in_place=1", "short").status, 200);
  EXPECT_EQ(read_file(root + "/other-name"), "short");
  EXPECT_EQ(fs::status(root + "/file").permissions(), fs::perms(0600));
  EXPECT_EQ(ask("PUT", "file?path=" + root + "/new/file&in_place=1&mode=644", "x").status, 200);
  EXPECT_EQ(read_file(root + "/new/file"), "x");
}

// The lines of a watch, as they come.
class WatchReader {
 public:
  WatchReader(const std::string& socket, const std::string& target) : client_(RawClient::to_unix(socket)) {
    client_.send(request("GET", "/sandkey/v1/watch?path=" + target));
  }
  // Reads until the text is there; all that came.
  const std::string& until(const std::string& text) {
    char buffer[4096];
    while (seen_.find(text) == std::string::npos && client_.readable(RawClient::kPatience)) {
      const ssize_t n = ::recv(client_.fd(), buffer, sizeof buffer, 0);
      if (n <= 0) break;
      seen_.append(buffer, static_cast<std::size_t>(n));
    }
    return seen_;
  }

 private:
  RawClient client_;
  std::string seen_;
};

TEST_F(Entries, ChangesAreTold) {
  WatchReader watch(folder / "socket", root);
  ASSERT_THAT(watch.until("\n{"), HasSubstr(R"({"watching":true})"));
  write_file(root + "/a", "x");
  EXPECT_THAT(watch.until("\"write\""), HasSubstr(R"({"name":"a","events":["create"]})"));
  fs::permissions(root + "/a", fs::perms(0600));
  EXPECT_THAT(watch.until("attributes"), HasSubstr(R"({"name":"a","events":["attributes"]})"));
  fs::rename(root + "/a", root + "/b");
  EXPECT_THAT(watch.until(R"({"name":"b","events":["create"]})"),
              HasSubstr(R"({"name":"a","events":["rename"]})"));
  fs::remove(root + "/b");
  EXPECT_THAT(watch.until("remove"), HasSubstr(R"({"name":"b","events":["remove"]})"));
}

TEST_F(Entries, ChangesBelowAreToldWhereThatIsAsked) {
  fs::create_directories(root + "/old");
  WatchReader watch(folder / "socket", root + "&recursive=1");
  ASSERT_THAT(watch.until("watching"), HasSubstr("watching"));
  write_file(root + "/old/a", "");
  EXPECT_THAT(watch.until("old/a"), HasSubstr(R"({"name":"old/a","events":["create"]})"));
  // It may be full before it can be watched.
  fs::create_directories(folder / "aside/deep");
  write_file(folder / "aside/deep/file", "");
  fs::rename(folder / "aside", root + "/new");
  EXPECT_THAT(watch.until("new/deep/file"), HasSubstr(R"({"name":"new/deep/file","events":["create"]})"));
  write_file(root + "/new/deep/later", "");
  EXPECT_THAT(watch.until("later"), HasSubstr(R"({"name":"new/deep/later","events":["create"]})"));
}

TEST_F(Entries, OnlyFoldersAreWatched) {
  write_file(root + "/file", "");
  EXPECT_EQ(ask("GET", "watch?path=" + root + "/file").status, 404);
  EXPECT_EQ(ask("GET", "watch?path=" + root + "/none").status, 404);
}

}  // namespace
}  // namespace sandkey::test
