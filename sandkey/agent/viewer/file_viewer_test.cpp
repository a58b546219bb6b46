#include "sandkey/agent/viewer/file_viewer.h"

#include "sandkey/base/unique_fd.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

namespace sandkey::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Reply {
  int status = 0;
  std::string head;
  std::string body;
};

class FileViewerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "sandkey-view-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    server_ = std::make_unique<net::HttpServer>(
        io_.get_executor(), [](net::HttpExchange& exchange) { return handle_file_viewer(exchange); });
    server_->listen_unix(folder_ + "/socket");
    thread_ = std::thread([this] { io_.run(); });
  }

  void TearDown() override {
    boost::asio::post(io_, [this] { server_->stop(); });
    thread_.join();
    (void)!std::system(("rm -rf '" + folder_ + "'").c_str());
  }

  std::string write(const std::string& name, std::string_view bytes) const {
    const std::string path = folder_ + "/" + name;
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    EXPECT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    return path;
  }

  // HTTP/1.0, so that the body comes as it is and ends with the connection.
  Reply get(const std::string& target, const std::string& host = "localhost:8001",
            const char* method = "GET") const {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder_ + "/socket").copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string request = std::string(method) + " " + target + " HTTP/1.0\r\n" +
                                (host.empty() ? "" : "Host: " + host + "\r\n") + "\r\n";
    EXPECT_EQ(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    std::string all;
    std::string piece(1 << 16, '\0');
    ssize_t n = 0;
    while ((n = ::recv(fd.get(), piece.data(), piece.size(), 0)) > 0)
      all.append(piece, 0, static_cast<std::size_t>(n));
    const std::size_t end = all.find("\r\n\r\n");
    if (end == std::string::npos) return {};
    return {std::stoi(all.substr(9, 3)), all.substr(0, end), all.substr(end + 4)};
  }
  Reply view(const std::string& path) const { return get("/view?path=" + path); }

  std::string folder_;
  boost::asio::io_context io_;
  std::unique_ptr<net::HttpServer> server_;
  std::thread thread_;
};

TEST_F(FileViewerTest, ShowsTextEscaped) {
  const Reply reply = view(write("page.html", "\n<script>alert(\"1\")</script>\n& 'x' \xC3\xA9 \xFF"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.head, HasSubstr("Content-Type: text/html; charset=utf-8"));
  EXPECT_THAT(reply.body, HasSubstr("<title>File Viewer - page.html</title>"));
  EXPECT_THAT(reply.body, HasSubstr("<pre>\n\n&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;\n"
                                    "&amp; &#39;x&#39; \xC3\xA9 \xEF\xBF\xBD</pre>"));
  EXPECT_THAT(reply.body, Not(HasSubstr("<script")));
}

TEST_F(FileViewerTest, AllowsNoScripts) {
  const std::string path = write("a.txt", "x");
  EXPECT_THAT(view(path).head, HasSubstr("Content-Security-Policy: default-src 'none'; img-src data:"));
  EXPECT_THAT(view(path).head, Not(HasSubstr("script-src")));
  EXPECT_THAT(view("/nowhere").head, HasSubstr("Content-Security-Policy: default-src 'none'"));
}

TEST_F(FileViewerTest, EmbedsImagesAndDocuments) {
  EXPECT_THAT(view(write("i.PNG", "\x89PNG")).body,
              HasSubstr(R"(<img alt="i.PNG" src="data:image/png;base64,iVBORw==">)"));
  EXPECT_THAT(view(write("i.jpeg", "abc")).body, HasSubstr("data:image/jpeg;base64,YWJj\""));
  EXPECT_THAT(view(write("i.gif", "ab")).body, HasSubstr("data:image/gif;base64,YWI=\""));
  EXPECT_THAT(view(write("i.svg", "<svg onload='x'/>")).body, HasSubstr("data:image/svg+xml;base64,"));
  EXPECT_THAT(view(write("d.pdf", "%PDF")).body,
              HasSubstr(R"(<embed type="application/pdf" src="data:application/pdf;base64,JVBERg==">)"));
}

TEST_F(FileViewerTest, EscapesNames) {
  const std::string path = write("\"><b>&.png", "x");
  (void)path;
  const Reply reply = view(folder_ + "/%22%3E%3Cb%3E%26.png");
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("<title>File Viewer - &quot;&gt;&lt;b&gt;&amp;.png</title>"));
  EXPECT_THAT(reply.body, Not(HasSubstr("<b>")));
  EXPECT_THAT(view("/nowhere/%3Cb%3E").body, HasSubstr("<p>/nowhere/&lt;b&gt;</p>"));
}

TEST_F(FileViewerTest, RefusesWhatItCannotShow) {
  EXPECT_EQ(view("relative.txt").status, 400);
  EXPECT_EQ(view("").status, 400);
  EXPECT_EQ(view("/etc/passwd%00.png").status, 400);
  EXPECT_EQ(view(folder_).status, 400);
  EXPECT_THAT(view(folder_).body, HasSubstr("<h1>Error: Path is a directory</h1>"));
  EXPECT_EQ(view(folder_ + "/missing").status, 404);
  EXPECT_EQ(view(folder_ + "/socket").status, 400);
  EXPECT_EQ(view("/dev/zero").status, 400);
  ASSERT_EQ(::mkfifo((folder_ + "/fifo").c_str(), 0600), 0);
  EXPECT_EQ(view(folder_ + "/fifo").status, 400);
  EXPECT_EQ(view(write("binary", std::string_view("a\0b", 3))).status, 415);
  EXPECT_EQ(get("/view").status, 422);
  EXPECT_EQ(get("/other").status, 404);
  EXPECT_EQ(get("/view?path=/etc/passwd", "localhost", "POST").status, 405);
  if (::geteuid() != 0) {
    const std::string path = write("secret", "x");
    ::chmod(path.c_str(), 0);
    EXPECT_EQ(view(path).status, 403);
  }
}

TEST_F(FileViewerTest, IsForThisMachineOnly) {
  const std::string target = "/view?path=" + write("a.txt", "secret text");
  for (const char* host : {"localhost", "LOCALHOST:8001", "127.0.0.1:8001", "[::1]:8001", ""}) {
    EXPECT_EQ(get(target, host).status, 200) << host;
  }
  for (const char* host : {"evil.example", "evil.example:8001", "localhost.evil.example",
                           "127.0.0.1.evil.example", "[::2]", "localhost@evil"}) {
    EXPECT_EQ(get(target, host).status, 403) << host;
    EXPECT_THAT(get(target, host).body, Not(HasSubstr("secret"))) << host;
  }
}

TEST_F(FileViewerTest, BoundsTheSize) {
  const Reply whole = view(write("limit.txt", std::string(kMaxViewedFile, 'x')));
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(std::count(whole.body.begin(), whole.body.end(), 'x'),
            static_cast<std::ptrdiff_t>(kMaxViewedFile) + 3);
  const Reply refused = view(write("beyond.txt", std::string(kMaxViewedFile + 1, 'x')));
  EXPECT_EQ(refused.status, 413);
  EXPECT_THAT(refused.body, HasSubstr("It has 10485761 bytes; files of up to 10 MiB are shown."));
}

TEST_F(FileViewerTest, PiecesDoNotSplitCharactersOrBase64) {
  std::string text = "a";
  while (text.size() < 200'000) text += "\xE2\x82\xAC";
  const Reply reply = view(write("euro.txt", text));
  EXPECT_THAT(reply.body, HasSubstr("<pre>\n" + text + "</pre>"));
  EXPECT_THAT(view(write("cut.txt", "x\xE2\x82")).body, HasSubstr("x\xEF\xBF\xBD</pre>"));
  const Reply image = view(write("i.png", std::string(100'001, '\0')));
  std::string expected(133'336, 'A');
  expected.back() = '=';
  EXPECT_THAT(image.body, HasSubstr("base64," + expected + "\""));
}

TEST_F(FileViewerTest, ShowsFilesWhoseSizeIsNotKnown) {
  const Reply reply = view("/proc/self/status");
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("VmRSS"));
}

TEST_F(FileViewerTest, SaysThatItRuns) {
  const Reply reply = get("/");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"status":"File viewer server is running"})");
}

}  // namespace
}  // namespace sandkey::agent
