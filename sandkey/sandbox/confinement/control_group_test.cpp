#include "sandkey/sandbox/confinement/control_group.h"

#include "sandkey/base/unique_fd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <new>
#include <sstream>
#include <string>
#include <thread>

namespace sandkey::sandbox {
namespace {

namespace fs = std::filesystem;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr std::uint64_t kMemory = 64ULL << 20U;

std::string read_file(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
void write_file(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

std::string unique_name() {
  static int count = 0;
  return "test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

class TempFolder {
 public:
  TempFolder() {
    char path[] = "/tmp/control group test XXXXXX";  // with blanks, which mountinfo escapes
    path_ = ::mkdtemp(path);
  }
  ~TempFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] fs::path operator/(const std::string& name) const { return path_ / name; }
  [[nodiscard]] std::string escaped() const {
    std::string out;
    for (const char c : path_.string()) out += c == ' ' ? std::string("\\040") : std::string(1, c);
    return out;
  }

 private:
  fs::path path_;
};

// This machine's sources, with only those lines that pass.
class Filtered {
 public:
  explicit Filtered(const std::function<bool(const std::string&)>& pass) {
    sources.own_groups = folder_ / "cgroup";
    sources.mounts = folder_ / "mountinfo";
    copy("/proc/self/cgroup", sources.own_groups, pass);
    copy("/proc/self/mountinfo", sources.mounts, pass);
  }
  ControlGroupSources sources;

 private:
  static void copy(const std::string& from, const std::string& to,
                   const std::function<bool(const std::string&)>& pass) {
    std::ifstream in(from);
    std::ofstream out(to);
    for (std::string line; std::getline(in, line);) {
      if (pass(line)) out << line << '\n';
    }
  }
  TempFolder folder_;
};
bool is_v2(const std::string& line) {
  return line.starts_with("0::") || line.find(" - cgroup2 ") != std::string::npos;
}

// A child that counts as fast as it can, where we see it.
class Counter {
 public:
  Counter() {
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    count_ = new (memory) std::atomic<std::uint64_t>(0);
    pid_ = ::fork();
    if (pid_ == 0) {
      while (true) ++*count_;
    }
  }
  ~Counter() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::munmap(count_, 4096);
  }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  // False if it stands still for a good while.
  [[nodiscard]] bool counts() const {
    const std::uint64_t before = *count_;
    for (int i = 0; i < 50; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (*count_ != before) return true;
    }
    return false;
  }

 private:
  std::atomic<std::uint64_t>* count_;
  pid_t pid_;
};

// The exit status of a child that is in the group before it starts to work.
int run_in(ControlGroup& group, const std::function<int()>& work) {
  int ends[2];
  if (::pipe(ends) != 0) return -1;
  const pid_t pid = ::fork();
  if (pid == 0) {
    char go = 0;
    ::_exit(::read(ends[0], &go, 1) == 1 ? work() : 99);
  }
  group.add(pid);
  if (::write(ends[1], "x", 1) != 1) ::kill(pid, SIGKILL);
  int status = 0;
  ::waitpid(pid, &status, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  return status;
}

void expect_limits(ControlGroup& group) {
  const int hog = run_in(group, [] {
    const std::size_t size = kMemory * 2;
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memset(memory, 1, size);
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(hog) && WTERMSIG(hog) == SIGKILL);
  const int bomb = run_in(group, [] {
    for (int started = 1; started < 100; ++started) {
      const pid_t pid = ::fork();
      if (pid == 0) {
        ::pause();
        ::_exit(0);
      }
      if (pid < 0) return started;
    }
    return 100;
  });
  EXPECT_TRUE(WIFEXITED(bomb));
  EXPECT_EQ(WEXITSTATUS(bomb), 8);
  group.kill();  // those that it started
}

void expect_freezing(ControlGroup& group) {
  Counter counter;
  group.add(counter.pid());
  ASSERT_TRUE(group.freeze());
  EXPECT_FALSE(counter.counts());
  EXPECT_FALSE(group.remove()) << "with a process in it";
  group.thaw();
  EXPECT_TRUE(counter.counts());
  ASSERT_TRUE(group.freeze());
  group.kill();
  EXPECT_EQ(counter.wait(), SIGKILL);
}

TEST(ControlGroup, ThisMachines) {
  ControlGroup group(unique_name(), kMemory, 8);
  if (!group.limits_memory() || !group.limits_processes() || !group.can_freeze()) {
    GTEST_SKIP() << ::testing::PrintToString(group.not_enforced());
  }
  EXPECT_THAT(group.not_enforced(), IsEmpty());
  expect_limits(group);
  expect_freezing(group);
  EXPECT_TRUE(group.remove());
}

TEST(ControlGroup, VersionOne) {
  const Filtered filtered([](const std::string& line) { return !is_v2(line); });
  ControlGroup group(unique_name(), kMemory, 8, filtered.sources);
  if (!group.limits_memory() || !group.limits_processes() || !group.can_freeze()) {
    GTEST_SKIP() << ::testing::PrintToString(group.not_enforced());
  }
  expect_limits(group);
  expect_freezing(group);
  EXPECT_TRUE(group.remove());
}

TEST(ControlGroup, VersionTwoFreezes) {
  const Filtered filtered(is_v2);
  ControlGroup group(unique_name(), kMemory, 8, filtered.sources);
  if (!group.can_freeze()) GTEST_SKIP() << ::testing::PrintToString(group.not_enforced());
  expect_freezing(group);
  EXPECT_TRUE(group.remove());
}

TEST(ControlGroup, SaysWhatItMayNotDo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody who may not";
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
    const ControlGroup group(unique_name(), kMemory, 8);
    std::string said;
    for (const std::string& one : group.not_enforced()) said += one + "\n";
    if (group.limits_memory() || group.limits_processes() || group.can_freeze()) said += "but has one\n";
    ::_exit(::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  char text[4096];
  const ssize_t size = ::read(ends[0], text, sizeof(text));
  const std::string said(text, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  EXPECT_THAT(said, HasSubstr("memory: no control group can be made here (/"));
  EXPECT_THAT(said, HasSubstr("processes: no control group can be made here (/"));
  EXPECT_THAT(said, HasSubstr("freezing: no control group can be made here (/"));
  EXPECT_THAT(said, HasSubstr("Permission denied"));
  EXPECT_THAT(said, testing::Not(HasSubstr("but has one")));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(ControlGroup, SaysWhenThereAreNone) {
  const TempFolder folder;
  const ControlGroup group("x", kMemory, 8, {.own_groups = folder / "none", .mounts = folder / "none"});
  EXPECT_THAT(group.not_enforced(), SizeIs(3));
  EXPECT_THAT(group.not_enforced(), Each(HasSubstr("no such control group")));
}

// A v2 tree of ordinary files, whose groups are there already, as a crash would have left them.
class FakeTree {
 public:
  explicit FakeTree(const std::string& own) {
    write_file(folder_ / "cgroup", "0::" + own + "\n");
    write_file(folder_ / "mountinfo", "29 23 0:26 / " + folder_.escaped() +
                                          "/fs rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    write_file(root() / "cgroup.controllers", "cpuset cpu io memory pids\n");
  }
  [[nodiscard]] fs::path root() const { return folder_ / "fs"; }
  [[nodiscard]] ControlGroupSources sources() const {
    return {.own_groups = folder_ / "cgroup", .mounts = folder_ / "mountinfo"};
  }
  void add_group(const fs::path& parent, const std::vector<std::string>& files) const {
    write_file(parent / "cgroup.subtree_control", "");
    for (const std::string& file : files) write_file(parent / "sandkey-x" / file, "");
  }

 private:
  TempFolder folder_;
};
const std::vector<std::string> kAllFiles = {"cgroup.procs", "cgroup.freeze",   "cgroup.events", "cgroup.kill",
                                            "memory.max",   "memory.swap.max", "pids.max"};

TEST(ControlGroup, VersionTwoLimits) {
  const FakeTree tree("/user.slice/mine");
  const fs::path group_folder = tree.root() / "user.slice" / "mine" / "sandkey-x";
  tree.add_group(group_folder.parent_path(), kAllFiles);
  ControlGroup group("x", kMemory, 77, tree.sources());
  EXPECT_THAT(group.not_enforced(), IsEmpty());
  EXPECT_EQ(read_file(group_folder / "memory.max"), std::to_string(kMemory));
  EXPECT_EQ(read_file(group_folder / "memory.swap.max"), "0");
  EXPECT_EQ(read_file(group_folder / "pids.max"), "77");
  EXPECT_THAT(read_file(group_folder.parent_path() / "cgroup.subtree_control"), StartsWith("+"));

  write_file(group_folder / "cgroup.events", "populated 1\nfrozen 1\n");
  EXPECT_TRUE(group.freeze());
  EXPECT_EQ(read_file(group_folder / "cgroup.freeze"), "1");
  write_file(group_folder / "cgroup.events", "populated 1\nfrozen 0\n");
  EXPECT_FALSE(group.freeze());
  EXPECT_EQ(read_file(group_folder / "cgroup.freeze"), "0") << "does not stay half frozen";
  group.kill();
  EXPECT_EQ(read_file(group_folder / "cgroup.kill"), "1");
}

TEST(ControlGroup, VersionTwoGoesUpToWhereTheControllersAre) {
  const FakeTree tree("/user.slice/mine");
  const fs::path own = tree.root() / "user.slice" / "mine";
  tree.add_group(own, {"cgroup.procs", "cgroup.freeze", "cgroup.events"});
  tree.add_group(own.parent_path(), kAllFiles);
  const ControlGroup group("x", kMemory, 77, tree.sources());
  EXPECT_THAT(group.not_enforced(), IsEmpty());
  EXPECT_EQ(read_file(own.parent_path() / "sandkey-x" / "pids.max"), "77");
}

TEST(ControlGroup, VersionTwoTakesWhatThereIs) {
  const FakeTree tree("/mine");
  tree.add_group(tree.root() / "mine", {"cgroup.procs", "cgroup.freeze", "cgroup.events", "pids.max"});
  const ControlGroup group("x", kMemory, 77, tree.sources());
  EXPECT_TRUE(group.can_freeze());
  EXPECT_TRUE(group.limits_processes());
  EXPECT_THAT(group.not_enforced(), testing::ElementsAre(AllOf(StartsWith("memory: "), HasSubstr("/mine"))));
}

}  // namespace
}  // namespace sandkey::sandbox
