#include "sandkey/sandbox/confinement/process_tree.h"

#include "sandkey/base/unique_fd.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

namespace sandkey::sandbox {
namespace {

using namespace std::chrono_literals;
constexpr auto kLong = 20s;

bool soon(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kLong;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

char state_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t end = text.rfind(')');
  return end == std::string::npos ? '-' : text[end + 2];
}

std::string first_child(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  std::string child;
  file >> child;
  return child;
}

// A shell in a session of its own, whose output we read; killed with all of its process group at the end.
class Shell {
 public:
  explicit Shell(const std::string& script) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    out_ = UniqueFd(ends[0]);
    const UniqueFd in(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::setsid();
      ::dup2(in.get(), 1);
      ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
      ::_exit(127);
    }
  }
  ~Shell() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  // What it has written up to now, or waits for the first of it.
  std::string read() {
    pollfd readable{.fd = out_.get(), .events = POLLIN, .revents = 0};
    ::poll(&readable, 1, static_cast<int>(std::chrono::milliseconds(kLong).count()));
    char text[65536];
    const ssize_t size = ::read(out_.get(), text, sizeof(text));
    return std::string(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  }
  [[nodiscard]] bool is_silent() const {
    pollfd readable{.fd = out_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&readable, 1, 30) == 0;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd out_;
};

void drain(Shell& shell) {
  while (!shell.is_silent()) shell.read();
}

TEST(ProcessTree, StopsAllAndLetsAllGoOn) {
  Shell shell("sh -c 'sh -c \"while :; do echo x; sleep 0.001; done\" & wait' & wait");
  ASSERT_EQ(shell.read().substr(0, 1), "x");
  ProcessTree tree(shell.pid());
  ASSERT_TRUE(tree.stop());
  EXPECT_EQ(state_of(shell.pid()), 'T');
  drain(shell);
  EXPECT_TRUE(shell.is_silent());
  EXPECT_TRUE(tree.stop()) << "again";
  tree.go_on();
  EXPECT_EQ(shell.read().substr(0, 1), "x");
  EXPECT_NE(state_of(shell.pid()), 'T');
}

TEST(ProcessTree, CatchesProcessesThatAreBeingStarted) {
  Shell shell("for i in 1 2 3; do sh -c 'while :; do echo x; /bin/true; done' & done; wait");
  for (int round = 0; round < 5; ++round) {
    ASSERT_FALSE(shell.read().empty());
    ProcessTree tree(shell.pid());
    ASSERT_TRUE(tree.stop());
    drain(shell);
    EXPECT_TRUE(shell.is_silent());
    tree.go_on();
  }
  EXPECT_FALSE(shell.read().empty());
}

TEST(ProcessTree, LeavesThoseStoppedThatWereStoppedBefore) {
  Shell shell("sleep 1000 & kill -STOP $!; echo $!; while :; do sleep 0.01; done");
  const pid_t sleeper = static_cast<pid_t>(std::stol(shell.read()));
  ASSERT_TRUE(soon([&] { return state_of(sleeper) == 'T'; }));
  ProcessTree tree(shell.pid());
  ASSERT_TRUE(tree.stop());
  tree.go_on();
  EXPECT_NE(state_of(shell.pid()), 'T');
  EXPECT_EQ(state_of(sleeper), 'T');
}

TEST(ProcessTree, StopsProcessOneOfANamespaceAndNestedOnes) {
  Shell shell(
      "unshare -Urpf sh -c \"echo x; unshare -Urpf sh -c 'while :; do echo x; sleep 0.001; done'\" "
      "2>/dev/null; "
      "echo failed");
  std::string seen;
  if (!soon(
          [&] { return (seen += shell.read()).starts_with("x\nx\n") || seen.find("failed") != seen.npos; }) ||
      seen.find("failed") != std::string::npos) {
    GTEST_SKIP() << "no nested user namespaces here";
  }
  const pid_t init =
      static_cast<pid_t>(std::stol(first_child(static_cast<pid_t>(std::stol(first_child(shell.pid()))))));
  ProcessTree tree(init);
  ASSERT_TRUE(tree.stop());
  EXPECT_EQ(state_of(init), 'T');
  EXPECT_NE(state_of(shell.pid()), 'T');
  drain(shell);
  EXPECT_TRUE(shell.is_silent());
  tree.go_on();
  EXPECT_EQ(shell.read().substr(0, 1), "x");
}

TEST(ProcessTree, ShellsWithJobControlDoNotNotice) {
  int master = -1;
  const pid_t pid = ::forkpty(&master, nullptr, nullptr, nullptr);
  if (pid == 0) {
    ::setenv("PS1", "ready> ", 1);
    ::execlp("bash", "bash", "--norc", "--noprofile", "-i", nullptr);
    ::_exit(127);
  }
  const UniqueFd terminal(master);
  std::string output;
  const auto wait_for = [&](const std::string& text) {
    return soon([&] {
      pollfd readable{.fd = terminal.get(), .events = POLLIN, .revents = 0};
      char part[4096];
      if (::poll(&readable, 1, 10) == 1) {
        const ssize_t size = ::read(terminal.get(), part, sizeof(part));
        if (size > 0) output.append(part, static_cast<std::size_t>(size));
      }
      return output.find(text) != std::string::npos;
    });
  };
  const auto type = [&](const std::string& text) {
    return ::write(terminal.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  };
  if (!wait_for("ready> ")) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    GTEST_SKIP() << "no bash here";
  }
  // A foreground job of two processes, one below the other.
  ASSERT_TRUE(type("sh -c 'sleep 1000; :'\n"));
  ASSERT_TRUE(soon([&] {
    const std::string job = first_child(pid);
    return !job.empty() && !first_child(static_cast<pid_t>(std::stol(job))).empty();
  }));
  for (int round = 0; round < 30; ++round) {
    ProcessTree tree(pid);
    ASSERT_TRUE(tree.stop());
    EXPECT_EQ(state_of(pid), 'T');
    tree.go_on();
  }
  ASSERT_TRUE(type("\x03"));
  ASSERT_TRUE(type("echo status-$?-\n"));
  EXPECT_TRUE(wait_for("status-130-")) << output;
  EXPECT_EQ(output.find("Stopped"), std::string::npos) << output;
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace sandkey::sandbox
