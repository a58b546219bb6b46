#include "sandkey/agent/process.h"

#include "sandkey/agent/identity.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using testing::HasSubstr;
using Strings = std::vector<std::string>;

const char* const kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Pipe make_pipe() {
  std::array<int, 2> fds{};
  EXPECT_EQ(::pipe2(fds.data(), O_CLOEXEC), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::string read_all(int fd) {
  std::string out;
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return out;
    out.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    std::string name = fs::temp_directory_path() / "sandkey-process-XXXXXX";
    dir_ = ::mkdtemp(name.data());
    dir_ = fs::canonical(dir_);
  }
  ~ProcessTest() override {
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }

  std::string put(const std::string& name, const std::string& text, unsigned mode) const {
    const std::string path = dir_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }

  // What `sh -c script` prints, and how it ended.
  std::string output(const std::string& script, SpawnOptions options = {}) {
    Pipe out = make_pipe();
    options.argv = {"sh", "-c", script};
    if (options.environment.empty()) options.environment = {kPath};
    if (options.working_dir.empty()) options.working_dir = dir_;
    options.descriptors.emplace_back(out.write.get(), 1);
    const pid_t pid = spawn(options);
    out.write.reset();
    std::string text = read_all(out.read.get());
    ::waitpid(pid, &status_, 0);
    return text;
  }
  static ErrorCode code_of(const SpawnOptions& options) {
    try {
      const pid_t pid = spawn(options);
      ::waitpid(pid, nullptr, 0);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "it was started";
    return ErrorCode::internal;
  }

  std::string dir_;
  int status_ = 0;
};

TEST_F(ProcessTest, FindsProgramsAsAShellWould) {
  (void)put("one/tool", "", 0755);
  (void)put("two/tool", "", 0755);
  (void)put("one/text", "", 0644);
  (void)put("two/text", "", 0755);
  fs::create_directory(dir_ + "/one/folder");
  const Strings environment{"A=b", "PATH=:" + dir_ + "/missing:" + dir_ + "/one::" + dir_ + "/two"};
  EXPECT_EQ(find_program("tool", environment), dir_ + "/one/tool");
  EXPECT_EQ(find_program("text", environment), dir_ + "/two/text");
  EXPECT_EQ(find_program("folder", environment), "");
  EXPECT_EQ(find_program("none", environment), "");
  EXPECT_EQ(find_program("", environment), "");
  EXPECT_EQ(find_program("./tool", environment), "./tool");
  EXPECT_EQ(find_program("sh", {}), find_program("sh", {kPath}));  // the usual folders
}

TEST_F(ProcessTest, ReadsAndSetsValuesOfAnEnvironment) {
  Strings environment{"NAME=value", "NAMESAKE=other", "EMPTY="};
  EXPECT_EQ(environment_value(environment, "NAME"), "value");
  EXPECT_EQ(environment_value(environment, "NAMES"), "");
  EXPECT_EQ(environment_value(environment, "EMPTY"), "");
  set_environment_value(environment, "NAME", "new=er");
  set_environment_value(environment, "ADDED", "1");
  EXPECT_EQ(environment, (Strings{"NAME=new=er", "NAMESAKE=other", "EMPTY=", "ADDED=1"}));
}

TEST_F(ProcessTest, GivesExactlyTheEnvironmentFolderAndArguments) {
  SpawnOptions options;
  options.environment = {kPath, "GIVEN=a b"};
  EXPECT_EQ(output("echo \"$GIVEN\"; pwd; echo \"[$HOME]\"", std::move(options)), "a b\n" + dir_ + "\n[]\n");
  EXPECT_EQ(status_, 0);
}

TEST_F(ProcessTest, GivesExactlyTheDescriptorsMapped) {
  Pipe three = make_pipe();
  Pipe nine = make_pipe();
  ASSERT_EQ(::write(three.write.get(), "three", 5), 5);
  ASSERT_EQ(::write(nine.write.get(), "nine", 4), 4);
  three.write.reset();
  nine.write.reset();
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  SpawnOptions options;
  options.descriptors = {{null.get(), 0}, {null.get(), 2}, {three.read.get(), 3}, {nine.read.get(), 9}};
  const UniqueFd inherited(::fcntl(null.get(), F_DUPFD, 30));  // as from whoever started us
  // 4 is the folder that the shell reads.
  EXPECT_EQ(
      output("cat <&3; cat <&9; for f in /proc/$$/fd/*; do printf ' %s' ${f##*/}; done", std::move(options)),
      "threenine 0 1 2 3 4 9");
}

// Numbers of ours that are targets as well: each must arrive where it belongs, whatever the order.
TEST_F(ProcessTest, DescriptorsMayTradePlaces) {
  Pipe a = make_pipe();
  Pipe b = make_pipe();
  ASSERT_EQ(::write(a.write.get(), "a", 1), 1);
  ASSERT_EQ(::write(b.write.get(), "b", 1), 1);
  a.write.reset();
  b.write.reset();
  SpawnOptions options;
  options.descriptors = {{a.read.get(), b.read.get()}, {b.read.get(), a.read.get()}};
  const std::string script =
      "cat <&" + std::to_string(a.read.get()) + "; cat <&" + std::to_string(b.read.get());
  if (a.read.get() > 9 || b.read.get() > 9) GTEST_SKIP() << "sh takes one digit only";
  EXPECT_EQ(output(script, std::move(options)), "ba");
}

TEST_F(ProcessTest, LeadsASessionOfItsOwnWithDefaultSignals) {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  const std::string text =
      output("read -r line </proc/self/stat; echo $line; grep -e ^SigBlk -e ^SigIgn /proc/self/status");
  ::pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  std::signal(SIGPIPE, SIG_DFL);
  const pid_t pid = static_cast<pid_t>(std::strtol(text.c_str(), nullptr, 10));
  const std::string ids = " S 0 " + std::to_string(pid);
  const std::size_t after = text.find(") ");
  ASSERT_NE(after, std::string::npos);
  // pid (name) state parent group session
  EXPECT_THAT(text.substr(after), HasSubstr(" " + std::to_string(pid) + " " + std::to_string(pid) + " "))
      << ids;
  EXPECT_THAT(text, HasSubstr("SigBlk:\t0000000000000000"));
  EXPECT_THAT(text, HasSubstr("SigIgn:\t0000000000000000"));
}

TEST_F(ProcessTest, SaysWhyItCannotStart) {
  SpawnOptions options{.argv = {}, .environment = {kPath}, .working_dir = dir_, .descriptors = {}};
  EXPECT_EQ(code_of(options), ErrorCode::invalid_argument);
  options.argv = {"sandkey-no-such-program"};
  EXPECT_EQ(code_of(options), ErrorCode::not_found);
  options.argv = {dir_ + "/none"};
  EXPECT_EQ(code_of(options), ErrorCode::not_found);
  options.argv = {put("not-executable", "text", 0644)};
  EXPECT_EQ(code_of(options), ErrorCode::permission_denied);
  options.argv = {dir_};
  EXPECT_EQ(code_of(options), ErrorCode::permission_denied);
  options.argv = {"true"};
  options.working_dir = dir_ + "/gone";
  try {
    (void)spawn(options);
    FAIL() << "it was started";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr(dir_ + "/gone"));
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // no failed child is left behind
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(ProcessTest, ALargeCommandLineIsRefusedWithoutHarm) {
  SpawnOptions options{.argv = {"true", std::string(std::size_t{8} * 1024 * 1024, 'x')},
                       .environment = {kPath},
                       .working_dir = dir_,
                       .descriptors = {}};
  EXPECT_THROW((void)spawn(options), Error);
}

TEST_F(ProcessTest, LeaksNoDescriptorsOfOurs) {
  const auto count = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto before = count();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(output("echo x"), "x\n");
  SpawnOptions options{
      .argv = {"sandkey-no-such-program"}, .environment = {kPath}, .working_dir = dir_, .descriptors = {}};
  EXPECT_THROW((void)spawn(options), Error);
  EXPECT_EQ(count(), before);
}

// --- ChildReaper -------------------------------------------------------------------------------------

class ChildReaperTest : public ProcessTest {
 protected:
  pid_t start(const std::string& script) const {
    SpawnOptions options{
        .argv = {"sh", "-c", script}, .environment = {kPath}, .working_dir = dir_, .descriptors = {}};
    return spawn(options);
  }
  ExitStatus end_of(pid_t pid) {
    std::optional<ExitStatus> ended;
    reaper_.watch(pid, [&](ExitStatus status) { ended = status; });
    while (!ended) io_.run_one();
    return *ended;
  }

  asio::io_context io_;
  ChildReaper reaper_{io_.get_executor()};
};

TEST_F(ChildReaperTest, TellsHowAChildEnded) {
  const ExitStatus exited = end_of(start("exit 3"));
  EXPECT_EQ(exited.code, 3);
  EXPECT_EQ(exited.signal, 0);
  const ExitStatus killed = end_of(start("kill -9 $$"));
  EXPECT_EQ(killed.code, 137);
  EXPECT_EQ(killed.signal, 9);
  EXPECT_EQ(end_of(start("exit 137")).signal, 0);
}

TEST_F(ChildReaperTest, NoneOfManyThatEndAtOnceIsMissed) {
  int ended = 0;
  for (int i = 0; i < 100; ++i) {
    reaper_.watch(start("exit " + std::to_string(i)), [&ended, i](ExitStatus status) {
      EXPECT_EQ(status.code, i);
      ++ended;
    });
  }
  while (ended < 100) io_.run_one();
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(ChildReaperTest, AForgottenChildIsReapedSilently) {
  const pid_t forgotten = start("exit 1");
  reaper_.watch(forgotten, [](ExitStatus) { ADD_FAILURE() << "told of a child that was forgotten"; });
  reaper_.forget(forgotten);
  while (::kill(forgotten, 0) == 0) io_.run_one();
}

TEST_F(ChildReaperTest, AWatcherMayStartAndWatchTheNext) {
  int ended = 0;
  std::function<void(ExitStatus)> again = [&](ExitStatus) {
    if (++ended < 3) reaper_.watch(start("true"), again);
  };
  reaper_.watch(start("true"), again);
  while (ended < 3) io_.run_one();
}

TEST_F(ChildReaperTest, AWholeSessionIsKilledWhateverItsGroups) {
  Pipe out = make_pipe();
  SpawnOptions options{.argv = {"bash", "-c",
                                "set -m; trap '' TERM; (trap '' TERM HUP; exec tail -f /dev/null) & "
                                "(trap '' TERM HUP; exec tail -f /dev/null) & echo ready; wait"},
                       .environment = {kPath},
                       .working_dir = dir_,
                       .descriptors = {{out.write.get(), 1}}};
  if (find_program("bash", options.environment).empty()) GTEST_SKIP() << "bash is not installed";
  const pid_t pid = spawn(options);
  out.write.reset();
  std::array<char, 6> ready{};
  ASSERT_EQ(::read(out.read.get(), ready.data(), ready.size()), 6);
  kill_session(pid, SIGTERM);  // ignored by all of them
  EXPECT_EQ(::kill(pid, 0), 0);
  kill_session(pid, SIGKILL);
  EXPECT_EQ(end_of(pid).signal, SIGKILL);
  EXPECT_EQ(read_all(out.read.get()), "");  // ends only when nobody holds its other end
}

TEST_F(ChildReaperTest, NobodyIsKilledForANumberThatIsNoSession) {
  kill_session(0, SIGKILL);
  kill_session(1, SIGKILL);
  kill_session(-1, SIGKILL);
}

// --- Identity ------------------------------------------------------------------------------------------

TEST(Identity, IsThatOfTheProcess) {
  const Identity identity = current_identity();
  EXPECT_FALSE(identity.username.empty());
  EXPECT_EQ(identity.home.front(), '/');
  EXPECT_EQ(identity.hostname.find('.'), std::string::npos);
  if (::geteuid() == 0) {
    EXPECT_EQ(identity.username, "root");
  }
}

TEST(Identity, ChildrenInheritNoKeyAndACompleteEnvironment) {
  ::setenv("SESSION_API_KEY", "canary-1", 1);
  ::setenv("OH_SESSION_API_KEYS_0", "canary-2", 1);
  ::setenv("SANDKEY_TEST_KEPT", "kept", 1);
  const char* lang = std::getenv("LANG");
  const std::optional<std::string> old = lang == nullptr ? std::nullopt : std::optional<std::string>(lang);
  ::unsetenv("LANG");
  const Strings environment = child_environment({"name", "/home/name", "/bin/zsh", "host"});
  for (const char* name : {"SESSION_API_KEY", "OH_SESSION_API_KEYS_0", "SANDKEY_TEST_KEPT"}) ::unsetenv(name);
  if (old) ::setenv("LANG", old->c_str(), 1);
  for (const std::string& entry : environment) EXPECT_THAT(entry, testing::Not(HasSubstr("canary")));
  EXPECT_EQ(environment_value(environment, "SANDKEY_TEST_KEPT"), "kept");
  EXPECT_EQ(environment_value(environment, "LANG"), "C.UTF-8");
  for (const char* name : {"HOME", "USER", "PATH", "SHELL", "LOGNAME"}) {
    EXPECT_NE(environment_value(environment, name), "") << name;
  }
}

}  // namespace
}  // namespace sandkey::agent
