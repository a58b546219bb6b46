// Files into and out of the agent: whole or not at all, nowhere but where they belong, in constant memory.
#include "tests/agent/agent_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sandkey::test {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

class Transfers : public ::testing::Test {
 protected:
  Transfers() {
    ProgramOptions options;
    options.arguments = {"--listen", "unix:" + folder / "socket", "--working-dir", folder / "work"};
    agent.emplace(options);
  }

  [[nodiscard]] RawClient connect() const { return RawClient::to_unix(folder / "socket"); }
  RawResponse ask(std::string_view bytes) {
    RawClient client = connect();
    client.send(bytes);
    std::optional<RawResponse> reply = client.response();
    if (!reply) {
      ADD_FAILURE() << "no reply to " << bytes.substr(0, 200);
      return {};
    }
    return std::move(*reply);
  }
  RawResponse upload(const std::string& destination, std::string_view filename, std::string_view content,
                     const std::string& more = {}) {
    return ask(request("POST", "/upload_file?destination=" + destination + more, form(filename, content),
                       kFormHeader));
  }
  void expect_alive() {
    const RawResponse reply =
        ask(request("POST", "/execute_action", action("run", {{"command", "echo alive"}}, 100.0)));
    EXPECT_EQ(reply.status, 200);
    EXPECT_THAT(reply.body, HasSubstr(R"("content":"alive")"));
  }

  Folder folder;
  std::string inbox = folder / "in";
  std::optional<AgentProgram> agent;
};

TEST_F(Transfers, UploadAnswersWithWhatItDid) {
  const RawResponse reply = upload(inbox, "a.txt", "content");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"filename":"a.txt","destination":")" + inbox + R"(","recursive":false})");
  EXPECT_EQ(read_file(inbox + "/a.txt"), "content");
  EXPECT_EQ(upload(inbox, "a.txt", "").status, 200);
  EXPECT_EQ(read_file(inbox + "/a.txt"), "") << "replaced";
  EXPECT_EQ(upload(inbox, "name with \xC3\xA4 %20.txt", "x").status, 200);
  EXPECT_THAT(names_in(inbox), ElementsAre("a.txt", "name with \xC3\xA4 %20.txt"));
}

TEST_F(Transfers, UploadUnpacksZips) {
  const std::string zip = make_zip({{"one", "1"}, {"sub/two", "22"}});
  const RawResponse reply = upload(inbox, "tree.zip", zip, "&recursive=true");
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_THAT(reply.body, HasSubstr(R"("recursive":true)"));
  EXPECT_EQ(read_file(inbox + "/sub/two"), "22");
  EXPECT_THAT(names_in(inbox), ElementsAre("one", "sub"));
  EXPECT_EQ(upload(folder / "plain", "tree.zip", zip).status, 200)
      << "without recursive too, as the reference";
  EXPECT_THAT(names_in(folder / "plain"), ElementsAre("one", "sub"));
  EXPECT_EQ(upload(folder / "none", "none.zip", make_zip({}), "&recursive=true").status, 200) << "no entries";
  EXPECT_THAT(names_in(folder / "none"), IsEmpty());
}

TEST_F(Transfers, UploadRefusesZipsThatAreNotWhatTheyShouldBe) {
  const std::string good = make_zip({{"one", std::string(10'000, 'x')}, {"two", "2"}});
  std::string damaged = good;
  damaged[45] = static_cast<char>(damaged[45] ^ 0x55);
  const std::vector<std::pair<std::string, std::string>> bad{
      {"empty file", ""},
      {"no zip", "this is no zip at all"},
      {"cut off", good.substr(0, good.size() - 10)},
      {"cut off in front", good.substr(10)},
      {"damaged data", damaged},
      {"unpacks to more than it says", make_zip({{"bomb", std::string(50'000'000, '\0'), 10}})},
      {"says more than it unpacks to", make_zip({{"bomb", "x", 4'000'000'000U}})},
      {"slip", make_zip({{"../evil", "x"}})},
      {"deep slip", make_zip({{"a/../../evil", "x"}})},
      {"absolute", make_zip({{folder / "evil", "x"}})},
      {"name with NUL", make_zip({{std::string("a\0b", 3), "x"}})},
      {"no name", make_zip({{"", "x"}})},
  };
  for (const auto& [name, zip] : bad) {
    SCOPED_TRACE(name);
    const RawResponse reply = upload(inbox, "bad.zip", zip, "&recursive=true");
    EXPECT_EQ(reply.status, 400) << reply.body;
    EXPECT_FALSE(fs::exists(folder / "evil"));
    for (const std::string& left : names_in(inbox))
      EXPECT_THAT(left, AnyOf("one")) << "only whole entries stay";
    fs::remove_all(inbox);
    expect_alive();
  }
  EXPECT_THAT(names_in(folder.path()), ElementsAre("socket", "work"));
}

TEST_F(Transfers, UploadRefusesBadForms) {
  const std::string target = "/upload_file?destination=" + inbox;
  const std::string whole = form("a.txt", "content");
  const auto cut_off = [&](std::size_t size) {  // a length that was right, for half a form
    return request("POST", target, whole.substr(0, size), kFormHeader);
  };
  struct Bad {
    std::string name, bytes;
    int status;
  };
  const std::vector<Bad> cases{
      {"no form", request("POST", target, "x"), 422},
      {"JSON", request("POST", target, "{}", "Content-Type: application/json\r\n"), 422},
      {"no boundary", request("POST", target, whole, "Content-Type: multipart/form-data\r\n"), 422},
      {"another boundary",
       request("POST", target, whole, "Content-Type: multipart/form-data; boundary=x\r\n"), 400},
      {"empty", request("POST", target, "", kFormHeader), 400},
      {"no file field", request("POST", target, form("a.txt", "x", "other"), kFormHeader), 422},
      {"no parts", request("POST", target, "--b0und--\r\n", kFormHeader), 422},
      {"ends in the header", cut_off(30), 400},
      {"ends in the data", cut_off(whole.size() - 14), 400},
      {"ends in the last boundary", cut_off(whole.size() - 4), 400},
      {"garbage after a boundary", request("POST", target, "--b0undgarbage\r\n", kFormHeader), 400},
      {"endless part header",
       request("POST", target, "--b0und\r\nX: " + std::string(20'000, 'x'), kFormHeader), 400},
      {"no name", request("POST", target, form("", "x"), kFormHeader), 400},
      {"name ..", request("POST", target, form("..", "x"), kFormHeader), 400},
      {"name .", request("POST", target, form("/tmp/.", "x"), kFormHeader), 400},
      {"name a folder", request("POST", target, form("a/", "x"), kFormHeader), 400},
      {"name too long", request("POST", target, form(std::string(300, 'n'), "x"), kFormHeader), 400},
      {"no destination", request("POST", "/upload_file", whole, kFormHeader), 422},
      {"relative destination", request("POST", "/upload_file?destination=in", whole, kFormHeader), 400},
      {"destination with NUL", request("POST", "/upload_file?destination=/tmp/a%00b", whole, kFormHeader),
       400},
      {"destination with a bad escape", request("POST", "/upload_file?destination=%zz", whole, kFormHeader),
       400},
      {"recursive, and no zip", request("POST", target + "&recursive=true", whole, kFormHeader), 400},
      {"recursive, and neither yes nor no", request("POST", target + "&recursive=maybe", whole, kFormHeader),
       422},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.name);
    const RawResponse reply = ask(bad.bytes);
    EXPECT_EQ(reply.status, bad.status) << reply.body;
    EXPECT_THAT(reply.body, HasSubstr("{\"detail\":"));
    EXPECT_THAT(names_in(inbox), IsEmpty());
    expect_alive();
  }
}

TEST_F(Transfers, UploadStaysInItsDestination) {
  fs::create_directories(inbox);
  EXPECT_EQ(upload(inbox, "../../escaped", "x").status, 200) << "only the name counts";
  EXPECT_EQ(upload(inbox, folder / "absolute", "x").status, 200);
  EXPECT_THAT(names_in(inbox), ElementsAre("absolute", "escaped"));
  EXPECT_FALSE(fs::exists(folder / "escaped"));
  EXPECT_FALSE(fs::exists(folder / "absolute"));

  // A link at the file's place is replaced, not followed.
  write_file(folder / "outside", "precious");
  fs::create_symlink(folder / "outside", inbox + "/link");
  EXPECT_EQ(upload(inbox, "link", "new").status, 200);
  EXPECT_EQ(read_file(folder / "outside"), "precious");
  EXPECT_EQ(read_file(inbox + "/link"), "new");

  // A destination may be a link to a folder: who may upload may also write there.
  fs::create_directories(folder / "real");
  fs::create_symlink(folder / "real", folder / "alias");
  EXPECT_EQ(upload(folder / "alias", "f", "x").status, 200);
  EXPECT_EQ(read_file(folder / "real/f"), "x");
  EXPECT_EQ(upload(folder / "alias", "t.zip", make_zip({{"g", "y"}})).status, 200);
  EXPECT_EQ(read_file(folder / "real/g"), "y");
  fs::create_symlink(folder / "nowhere", folder / "dangling");
  EXPECT_THAT(upload(folder / "dangling", "f", "x").status, AnyOf(404, 409));
  EXPECT_THAT(upload(folder / "outside", "f", "x").status, AnyOf(404, 409)) << "a file";
  EXPECT_EQ(upload(inbox, "..%2Fx", "x").status, 200) << "names are not decoded";
  fs::create_directories(inbox + "/folder");
  EXPECT_EQ(upload(inbox, "folder", "x").status, 409);
  expect_alive();
}

TEST_F(Transfers, ConnectionsThatBreakInAnUploadLeaveNothing) {
  fs::create_directories(inbox);
  const std::string data(200'000, 'd');
  const std::string zip = make_zip({{"one", "1"}});
  const std::vector<std::string> uploads{
      request("PUT", "/sandkey/v1/file?path=" + inbox + "/f", data),
      request("POST", "/upload_file?destination=" + inbox, form("f", data), kFormHeader),
      request("POST", "/upload_file?destination=" + inbox, form("f.zip", zip + data), kFormHeader),
  };
  for (const std::string& bytes : uploads) {
    RawClient client = connect();
    client.send(std::string_view(bytes).substr(0, bytes.size() - 150'000));
    ASSERT_TRUE(eventually([&] { return !names_in(inbox).empty(); })) << "it has begun";
    client.hang_up();
    EXPECT_TRUE(eventually([&] { return names_in(inbox).empty(); }));
    expect_alive();
  }
}

TEST_F(Transfers, FilesKeepTheirBytesAndModes) {
  std::string data;
  for (int i = 0; i < 100'000; ++i) data += static_cast<char>(i * 7 + i / 256);
  const std::string path = inbox + "/deep/er/f.bin";
  const RawResponse put = ask(request("PUT", "/sandkey/v1/file?path=" + path + "&mode=750", data));
  EXPECT_EQ(put.status, 200);
  EXPECT_EQ(put.body, R"({"path":")" + path + R"(","bytes":100000})");
  EXPECT_TRUE(read_file(path) == data);
  const RawResponse got = ask(request("GET", "/sandkey/v1/file?path=" + path));
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.header("x-sandkey-mode"), "750");
  EXPECT_TRUE(got.body == data);
  EXPECT_EQ(ask(request("GET", "/sandkey/v1/stat?path=" + path)).body,
            R"({"type":"file","size":100000,"mode":488})");
  EXPECT_EQ(ask(request("GET", "/sandkey/v1/stat?path=/no/such")).body, R"({"type":"missing"})");
  EXPECT_THAT(ask(request("GET", "/sandkey/v1/stat?path=" + inbox)).body, HasSubstr(R"("type":"directory")"));
}

TEST_F(Transfers, FilesThatCannotBeReadOrWrittenGetTheirStatus) {
  fs::create_directories(inbox);
  ASSERT_EQ(::mkfifo((inbox + "/fifo").c_str(), 0600), 0);
  struct Bad {
    std::string method, target;
    int status;
  };
  const std::vector<Bad> cases{
      {"GET", "/sandkey/v1/file", 422},
      {"GET", "/sandkey/v1/file?path=", 422},
      {"GET", "/sandkey/v1/file?path=relative", 400},
      {"GET", "/sandkey/v1/file?path=/a%00b", 400},
      {"GET", "/sandkey/v1/file?path=" + inbox + "/none", 404},
      {"GET", "/sandkey/v1/file?path=" + inbox, 409},
      {"GET", "/sandkey/v1/file?path=" + inbox + "/fifo", 409},
      {"GET", "/sandkey/v1/file?path=/" + std::string(5000, 'x'), 400},
      {"PUT", "/sandkey/v1/file?path=" + inbox, 409},
      {"PUT", "/sandkey/v1/file?path=" + inbox + "/f&mode=999", 400},
      {"PUT", "/sandkey/v1/file?path=relative", 400},
      {"PUT", "/sandkey/v1/file?path=/", ::geteuid() == 0 ? 409 : 403},
      {"PUT", "/sandkey/v1/file?path=" + inbox + "/folder/", 409},
      {"GET", "/sandkey/v1/tree?path=" + inbox + "/none", 404},
      {"PUT", "/sandkey/v1/tree?path=" + inbox + "/tree", 400},  // "x" is no tar
      {"GET", "/sandkey/v1/stat?path=relative", 400},
      {"GET", "/download_files", 422},
      {"GET", "/download_files?path=relative", 400},
      {"GET", "/download_files?path=" + inbox + "/none", 404},
      {"GET", "/download_files?path=/a%00b", 400},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.method + " " + bad.target.substr(0, 200));
    const RawResponse reply = ask(request(bad.method, bad.target, bad.method == "PUT" ? "x" : ""));
    EXPECT_EQ(reply.status, bad.status) << reply.body;
    EXPECT_THAT(reply.body, HasSubstr("{\"detail\":"));
    expect_alive();
  }
  for (const std::string& name : names_in(inbox)) EXPECT_THAT(name, AnyOf("fifo", "folder", "tree"));
}

TEST_F(Transfers, WhatMayNotBeReadIsForbidden) {
  if (::geteuid() == 0) {
    agent.reset();
    ASSERT_EQ(::chown(folder.path().c_str(), 65534, 65534), 0);
    fs::remove_all(folder / "work");
    ProgramOptions options;
    options.arguments = {"--listen", "unix:" + folder / "socket", "--working-dir", folder / "work"};
    options.user = 65534;
    agent.emplace(options);
  }
  fs::create_directories(inbox);
  write_file(inbox + "/secret", "s", 0);
  fs::permissions(
      inbox, fs::perms::owner_exec | fs::perms::owner_read | fs::perms::others_exec | fs::perms::others_read);
  EXPECT_EQ(ask(request("GET", "/sandkey/v1/file?path=" + inbox + "/secret")).status, 403);
  EXPECT_EQ(ask(request("PUT", "/sandkey/v1/file?path=" + inbox + "/new", "x")).status, 403);
  EXPECT_EQ(upload(inbox, "new", "x").status, 403);
  // What cannot be read is found half way: the archive must not look whole.
  const RawResponse zip = ask(request("GET", "/download_files?path=" + inbox));
  EXPECT_TRUE(zip.status == 403 || !zip.complete) << zip.status;
  expect_alive();
  fs::permissions(inbox, fs::perms::owner_all);
}

TEST_F(Transfers, DownloadIsAnUncompressedZipOfTheFolder) {
  fs::create_directories(inbox + "/sub/empty");
  write_file(inbox + "/one", std::string(100'000, 'o'));
  write_file(inbox + "/sub/two", "22");
  const RawResponse reply = ask(request("GET", "/download_files?path=" + inbox + "/"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(reply.complete);
  EXPECT_EQ(reply.header("content-type"), "application/zip");
  EXPECT_EQ(reply.header("content-disposition"), "attachment; filename=\"in.zip\"");
  EXPECT_GT(reply.body.size(), 100'000U) << "uncompressed";
  // Unlike the reference's, which is empty, the zip of a file holds that file.
  const RawResponse file = ask(request("GET", "/download_files?path=" + inbox + "/sub/two"));
  EXPECT_EQ(file.status, 200);
  EXPECT_EQ(file.header("content-disposition"), "attachment; filename=\"two.zip\"");

  if (std::system("python3 -c 'import zipfile' > /dev/null 2>&1") != 0) GTEST_SKIP() << "there is no python3";
  write_file(folder / "folder.zip", reply.body);
  write_file(folder / "file.zip", file.body);
  const std::string script =
      "import zipfile, sys\n"
      "for name in ('folder.zip', 'file.zip'):\n"
      "    z = zipfile.ZipFile(sys.argv[1] + '/' + name)\n"
      "    assert z.testzip() is None\n"
      "    for i in sorted(z.infolist(), key=lambda i: i.filename):\n"
      "        print(i.filename, i.file_size, i.compress_type, z.read(i)[:2].decode())\n";
  write_file(folder / "list.py", script);
  const std::string command =
      "python3 " + folder / "list.py" + " " + folder.path() + " > " + folder / "listing";
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(read_file(folder / "listing"),
            "one 100000 0 oo\nsub/ 0 0 \nsub/empty/ 0 0 \nsub/two 2 0 22\ntwo 2 0 22\n");
}

// ---- Size

constexpr std::size_t kLarge = 100UL * 1024 * 1024;

// Piece n of content that repeats nowhere.
std::string large_piece(std::size_t n) {
  std::string piece(1024 * 1024, '\0');
  std::uint64_t state = 0x9E3779B97F4A7C15ULL * (n + 1);
  for (std::size_t i = 0; i + 8 <= piece.size(); i += 8) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    std::memcpy(&piece[i], &state, 8);
  }
  return piece;
}

bool is_large(std::string_view content) {
  if (content.size() != kLarge) return false;
  for (std::size_t n = 0; n < kLarge >> 20U; ++n) {
    if (content.substr(n << 20U, 1UL << 20U) != large_piece(n)) return false;
  }
  return true;
}

TEST_F(Transfers, AHundredMegabytesTravelUnchangedInConstantMemory) {
  expect_alive();  // and with it all that the first action needs
  const std::size_t before = agent->peak_memory();
  ASSERT_GT(before, 0U);
  const auto send_large = [](RawClient& client) {
    for (std::size_t n = 0; n < kLarge >> 20U; ++n) ASSERT_TRUE(client.send(large_piece(n)));
  };
  {
    RawClient client = connect();
    client.send("PUT /sandkey/v1/file?path=" + inbox +
                "/put HTTP/1.1\r\nContent-Length: " + std::to_string(kLarge) + "\r\n\r\n");
    send_large(client);
    const auto reply = client.response();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 200) << reply->body;
  }
  EXPECT_TRUE(is_large(read_file(inbox + "/put")));
  {
    const std::string whole = form("posted", "");
    const std::size_t split = whole.find("\r\n\r\n") + 4;
    RawClient client = connect();
    client.send("POST /upload_file?destination=" + inbox + " HTTP/1.1\r\n" + std::string(kFormHeader) +
                "Content-Length: " + std::to_string(kLarge + whole.size()) + "\r\n\r\n" +
                whole.substr(0, split));
    send_large(client);
    client.send(whole.substr(split));
    const auto reply = client.response();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 200) << reply->body;
  }
  EXPECT_TRUE(is_large(read_file(inbox + "/posted")));
  EXPECT_TRUE(is_large(ask(request("GET", "/sandkey/v1/file?path=" + inbox + "/put")).body));
  fs::remove(inbox + "/put");
  const RawResponse zip = ask(request("GET", "/download_files?path=" + inbox));
  EXPECT_TRUE(zip.complete);
  const std::size_t at = zip.body.find(large_piece(0).substr(0, 64));
  ASSERT_NE(at, std::string::npos);
  EXPECT_TRUE(is_large(std::string_view(zip.body).substr(at, kLarge)));

  const std::size_t growth = agent->peak_memory() - before;
  std::printf("the agent's peak memory grew by %zu KiB\n", growth / 1024);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(growth, 32UL * 1024 * 1024);
#endif
}

}  // namespace
}  // namespace sandkey::test
