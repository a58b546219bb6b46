#include "sandkey/runtime/process_identity.h"

#include "sandkey/runtime/child_process.h"

#include <gtest/gtest.h>

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

namespace sandkey {
namespace {

// What a child tells of itself; the same machine's as ours in all else.
struct Told {
  std::int64_t pid;
  std::uint64_t start_time;
};

ProcessIdentity identity_of(const Told& told) {
  ProcessIdentity identity = ProcessIdentity::current();
  identity.pid = told.pid;
  identity.start_time = told.start_time;
  return identity;
}

Told tell() {
  const ProcessIdentity own = ProcessIdentity::current();
  return {.pid = own.pid, .start_time = own.start_time};
}

TEST(ProcessIdentity, IsKnownAndStaysTheSame) {
  const ProcessIdentity own = ProcessIdentity::current();
  EXPECT_EQ(own.pid, ::getpid());
  EXPECT_FALSE(own.host.empty());
  EXPECT_FALSE(own.boot_id.empty());
  EXPECT_EQ(own.namespaces.find("pid:["), 0U) << own.namespaces;
  EXPECT_GT(own.start_time, 0U);
  EXPECT_EQ(own, ProcessIdentity::current());
  EXPECT_TRUE(own.may_be_alive());
}

TEST(ProcessIdentity, AProcessIsAliveUntilItEnds) {
  ChildProcess<Told> child([](const auto& report) {
    report(tell());
    ::pause();
  });
  const ProcessIdentity identity = identity_of(child.report());
  EXPECT_NE(identity, ProcessIdentity::current());
  EXPECT_TRUE(identity.may_be_alive());
  child.kill();
  EXPECT_FALSE(identity.may_be_alive()) << "not reaped yet, but ended";
  child.reap();
  EXPECT_FALSE(identity.may_be_alive());
}

TEST(ProcessIdentity, AProgramsNameMayHoldAnything) {
  ChildProcess<Told> child([](const auto& report) {
    ::prctl(PR_SET_NAME, "a) Z 1 (b) ) ");
    report(tell());
    ::pause();
  });
  const ProcessIdentity identity = identity_of(child.report());
  EXPECT_EQ(identity.pid, child.pid());
  EXPECT_GE(identity.start_time, ProcessIdentity::current().start_time);
  EXPECT_TRUE(identity.may_be_alive());
  child.kill();
  EXPECT_FALSE(identity.may_be_alive());
}

TEST(ProcessIdentity, AProcessLivesOnWhenOnlyItsFirstThreadHasEnded) {
  ChildProcess<Told> child([](const auto& report) {
    const pid_t first = ::getpid();
    std::thread([report, first] {
      // Until the first thread shows as a zombie.
      for (bool ended = false; !ended;) {
        std::FILE* stat = std::fopen(("/proc/self/task/" + std::to_string(first) + "/stat").c_str(), "r");
        char state = '?';
        ended = stat != nullptr && std::fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z';
        if (stat != nullptr) std::fclose(stat);
        std::this_thread::yield();
      }
      report(tell());
      ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);
  });
  const ProcessIdentity identity = identity_of(child.report());
  EXPECT_TRUE(identity.may_be_alive());
  child.kill();
  EXPECT_FALSE(identity.may_be_alive());
}

TEST(ProcessIdentity, ANumberThatWasGivenAgainIsAnotherProcess) {
  ProcessIdentity earlier = ProcessIdentity::current();
  earlier.start_time -= 1;
  EXPECT_FALSE(earlier.may_be_alive());
}

TEST(ProcessIdentity, OnlyWhatIsCertainlyDeadIsCalledDead) {
  ProcessIdentity ended = ProcessIdentity::current();
  ended.start_time -= 1;
  ASSERT_FALSE(ended.may_be_alive());

  const auto changed = [&](auto change) {
    ProcessIdentity other = ended;
    change(other);
    return other;
  };
  using Id = ProcessIdentity;
  EXPECT_TRUE(changed([](Id& id) { id.host = "elsewhere"; }).may_be_alive());
  EXPECT_TRUE(changed([](Id& id) { id.host = ""; }).may_be_alive());
  EXPECT_TRUE(changed([](Id& id) { id.machine = "namesake"; }).may_be_alive());
  EXPECT_TRUE(changed([](Id& id) { id.boot_id = ""; }).may_be_alive());
  EXPECT_TRUE(changed([](Id& id) { id.namespaces = "pid:[1] time:[2]"; }).may_be_alive()) << "in a container";
  EXPECT_TRUE(changed([](Id& id) { id.namespaces = ""; }).may_be_alive());
  EXPECT_TRUE(changed([](Id& id) { id.pid = 0; }).may_be_alive());

  // No process survives a restart of its machine, provided that it is the same machine.
  const auto restarted = [&](Id& id) {
    id.boot_id = "another boot";
    id.namespaces = "pid:[1] time:[2]";
  };
  EXPECT_EQ(changed(restarted).may_be_alive(), ended.machine.empty());
}

TEST(ProcessIdentity, AnUnknownStartTimeLeavesTheNumber) {
  ProcessIdentity own = ProcessIdentity::current();
  own.start_time = 0;
  EXPECT_TRUE(own.may_be_alive());
}

}  // namespace
}  // namespace sandkey
