// The agent as it is shipped, in a root that holds nothing but itself and busybox.
#include "sandkey/agent/process.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/events/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace sandkey::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

void write_file(const char* path, const std::string& text) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  if (fd) (void)!::write(fd.get(), text.data(), text.size());
}

class BareImageTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string busybox = find_program("busybox", {});
    if (busybox.empty()) GTEST_SKIP() << "busybox is not installed";
    std::string name = fs::temp_directory_path() / "sandkey-bare-XXXXXX";
    root_ = ::mkdtemp(name.data());
    for (const char* folder : {"bin", "dev", "proc", "tmp", "work"})
      fs::create_directory(root_ + "/" + folder);
    fs::copy_file(fs::canonical(busybox), root_ + "/bin/busybox");
    for (const char* applet : {"sh", "cat", "ls", "rm", "seq", "tail", "env"}) {
      fs::create_symlink("busybox", root_ + "/bin/" + applet);
    }
    fs::copy_file(SANDKEY_AGENT_PROGRAM, root_ + "/bin/sandkey-agent");
    start();
  }
  void TearDown() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
      ::waitpid(pid_, nullptr, 0);
    }
    // The mounts were in the child's own namespace, so nothing of ours is below.
    std::error_code ignored;
    if (!root_.empty()) fs::remove_all(root_, ignored);
  }

  // Becomes root of a namespace of its own with this root. Says in `said` what is not permitted.
  [[noreturn]] void become(int said) const {
    const auto fail = [said](const std::string& what) {
      const std::string text = "not permitted: " + what + ": " + std::strerror(errno) + "\n";
      (void)!::write(said, text.data(), text.size());
      ::_exit(99);
    };
    const uid_t uid = ::geteuid();
    const gid_t gid = ::getegid();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) != 0) fail("unshare");
    if (uid != 0) {
      write_file("/proc/self/setgroups", "deny");
      write_file("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
      write_file("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
    }
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail("private mounts");
    for (const char* folder : {"/dev", "/proc"}) {
      if (::mount(folder, (root_ + folder).c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
        fail("bind mount");
    }
    if (::chroot(root_.c_str()) != 0 || ::chdir("/") != 0) fail("chroot");
    ::dup2(said, 2);
    ::execle("/bin/sandkey-agent", "sandkey-agent", "--listen", "unix:/socket", "--working-dir", "/work",
             static_cast<char*>(nullptr), std::array<const char*, 2>{"PATH=/bin", nullptr}.data());
    fail("exec");
    ::_exit(99);
  }

  void start() {
    std::array<int, 2> fds{};
    ASSERT_EQ(::pipe2(fds.data(), O_CLOEXEC), 0);
    said_.reset(fds[0]);
    UniqueFd write(fds[1]);
    pid_ = ::fork();
    if (pid_ == 0) become(write.get());
    write.reset();
    std::string text;
    std::array<char, 512> buffer{};
    while (text.find('\n') == std::string::npos) {
      const ssize_t n = ::read(said_.get(), buffer.data(), buffer.size());
      if (n <= 0) break;
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    if (text.find("not permitted") != std::string::npos) GTEST_SKIP() << text;
    ASSERT_THAT(text, HasSubstr("listening on unix:/socket"));
  }

  json::object execute(json::object arguments, const std::string& action) const {
    const std::string body = write_json(
        json::object{{"action", json::object{{"action", action}, {"args", std::move(arguments)}}}});
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (root_ + "/socket").copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string request =
        "POST /execute_action HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
    EXPECT_EQ(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    std::string reply;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = ::recv(fd.get(), buffer.data(), buffer.size(), 0)) > 0;) {
      reply.append(buffer.data(), static_cast<std::size_t>(n));
    }
    const std::size_t end = reply.find("\r\n\r\n");
    EXPECT_THAT(reply, HasSubstr(" 200 "));
    if (end == std::string::npos) return {};
    return parse_json(reply.substr(end + 4), "the reply").as_object();
  }
  static std::string content(const json::object& observation) {
    return std::string(std::string_view(observation.at("content").as_string()));
  }

  std::string root_;
  UniqueFd said_;
  pid_t pid_ = -1;
};

TEST_F(BareImageTest, CommandsFilesAndTheAbsenceOfPython) {
  json::object got = execute({{"command", "echo hello; (exit 5)"}}, "run");
  EXPECT_EQ(content(got), "hello");
  EXPECT_EQ(got.at("extras").at("metadata").at("exit_code").as_int64(), 5);
  EXPECT_EQ(got.at("extras").at("metadata").at("working_dir").as_string(), "/work");
  EXPECT_EQ(content(execute({{"command", "cd /tmp; x=kept"}}, "run")), "");
  EXPECT_EQ(content(execute({{"command", "echo $x; pwd"}}, "run")), "kept\n/tmp");
  EXPECT_EQ(content(execute({{"command", "bash -c true"}}, "run")).find("kept"), std::string::npos);

  got = execute({{"code", "print(1)"}}, "run_ipython");
  EXPECT_THAT(content(got), HasSubstr("ython"));
  EXPECT_THAT(content(got), testing::Not(HasSubstr("1\n")));

  EXPECT_EQ(
      execute({{"path", "/work/file.txt"}, {"content", "one\ntwo\n"}}, "write").at("observation").as_string(),
      "write");
  EXPECT_THAT(content(execute({{"path", "/work/file.txt"}}, "read")), HasSubstr("one\ntwo"));
  EXPECT_EQ(content(execute({{"command", "cat /work/file.txt"}}, "run")), "one\ntwo");
  got = execute({{"path", "/work/file.txt"},
                 {"command", "str_replace"},
                 {"old_str", "two"},
                 {"new_str", "three"},
                 {"impl_source", "oh_aci"}},
                "edit");
  EXPECT_EQ(got.at("observation").as_string(), "edit") << content(got);
  EXPECT_EQ(content(execute({{"command", "cat file.txt; cat /work/file.txt"}}, "run")).find("two"),
            std::string::npos);
}

}  // namespace
}  // namespace sandkey::agent
