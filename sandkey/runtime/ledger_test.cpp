#include "sandkey/runtime/ledger.h"

#include "sandkey/base/error.h"
#include "sandkey/runtime/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sqlite3.h>
#include <thread>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::chrono::system_clock;
using testing::AllOf;
using testing::HasSubstr;
using Verdict = LedgerClaim::Verdict;

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

unsigned mode(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777U : 0U;
}

// Changes a ledger behind our back.
void run_sql(const fs::path& file, const char* sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
  sqlite3_close(database);
}

ProcessIdentity of_another_machine() {
  ProcessIdentity identity = ProcessIdentity::current();
  identity.host = "elsewhere";
  return identity;
}

LedgerEntry wanted(const std::string& sid, bool kept = false) {
  LedgerEntry entry;
  entry.sid = sid;
  entry.provider = "local";
  entry.owner = ProcessIdentity::current();
  entry.kept = kept;
  entry.created = system_clock::time_point(1'700'000'000s);
  return entry;
}

// A report of a child; an error's text, or nothing.
struct Outcome {
  Verdict verdict = Verdict::create;
  ErrorCode code = ErrorCode::internal;
  char text[1000] = {};

  [[nodiscard]] std::string message() const { return text; }
};

template <typename Call>
Outcome outcome_of(Call call) {
  Outcome outcome;
  try {
    outcome.verdict = call();
  } catch (const Error& error) {
    outcome.code = error.code();
    std::strncpy(outcome.text, error.what(), sizeof outcome.text - 1);
  }
  return outcome;
}

class LedgerTest : public testing::Test {
 protected:
  LedgerTest() {
    std::string name = fs::temp_directory_path() / "sandkey-ledger-XXXXXX";
    dir_ = ::mkdtemp(name.data());
    file_ = dir_ / "state" / "ledger.sqlite";
  }
  ~LedgerTest() override {
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }

  Outcome opening() const {
    return outcome_of([&] { return Ledger(file_).claim(wanted("s"), false).verdict; });
  }

  fs::path dir_;
  fs::path file_;
};

TEST_F(LedgerTest, ASessionFromItsClaimToItsEnd) {
  Ledger ledger(file_);
  EXPECT_EQ(ledger.file(), file_);
  EXPECT_EQ(ledger.find("s"), std::nullopt);

  const LedgerClaim claim = ledger.claim(wanted("s"), false);
  EXPECT_EQ(claim.verdict, Verdict::create);
  EXPECT_EQ(claim.entry.sid, "s");
  EXPECT_EQ(claim.entry.sandbox, std::nullopt);
  ASSERT_TRUE(ledger.find("s"));
  EXPECT_EQ(ledger.find("s")->sandbox, std::nullopt);
  EXPECT_EQ(ledger.claim(wanted("s"), false).verdict, Verdict::wait) << "being created by ourselves";

  const ProcessIdentity own = ProcessIdentity::current();
  EXPECT_TRUE(ledger.created("s", own, {"box-1"}, std::nullopt));
  EXPECT_TRUE(ledger.created("s", own, {"box-1"}, std::nullopt)) << "told once more";
  EXPECT_FALSE(ledger.created("s", own, {"box-2"}, std::nullopt)) << "there is one already";
  const LedgerClaim second = ledger.claim(wanted("s"), false);
  EXPECT_EQ(second.verdict, Verdict::attach);
  EXPECT_EQ(second.entry.sandbox, SandboxId{"box-1"});

  ledger.forget("s", {"another"});
  EXPECT_TRUE(ledger.find("s"));
  ledger.forget("s", {"box-1"});
  EXPECT_EQ(ledger.find("s"), std::nullopt);
  EXPECT_EQ(ledger.claim(wanted("s"), false).verdict, Verdict::create);
}

TEST_F(LedgerTest, EverythingComesBackAfterReopening) {
  LedgerEntry entry = wanted(std::string("s\0'\"\xc3\xa9", 6), true);
  entry.created = system_clock::time_point(1'700'000'000'123'456'789ns);
  entry.owner.pid = 4'194'304;
  entry.owner.start_time = ~std::uint64_t{0} - 5;
  const auto lease_end = entry.created + 90min + 1ns;
  {
    Ledger ledger(file_);
    EXPECT_EQ(ledger.claim(entry, true).verdict, Verdict::create);
    EXPECT_TRUE(ledger.created(entry.sid, entry.owner, {"box"}, lease_end));
  }
  {
    Ledger ledger(file_);
    const std::optional<LedgerEntry> found = ledger.find(entry.sid);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->sid, entry.sid);
    EXPECT_EQ(found->provider, "local");
    EXPECT_EQ(found->sandbox, SandboxId{"box"});
    EXPECT_EQ(found->owner, entry.owner);
    EXPECT_TRUE(found->kept);
    EXPECT_EQ(found->created, entry.created);
    EXPECT_EQ(found->lease_end, lease_end);

    ledger.renewed(entry.sid, {"another"}, std::nullopt);
    EXPECT_EQ(ledger.find(entry.sid)->lease_end, lease_end);
    ledger.renewed(entry.sid, {"box"}, system_clock::time_point::max());
  }
  Ledger ledger(file_);
  EXPECT_EQ(ledger.find(entry.sid)->lease_end, system_clock::time_point::max());
  ledger.renewed(entry.sid, {"box"}, std::nullopt);
  EXPECT_EQ(ledger.find(entry.sid)->lease_end, std::nullopt);
}

TEST_F(LedgerTest, ListsTheOldestFirst) {
  Ledger ledger(file_);
  EXPECT_TRUE(ledger.list().empty());
  for (const auto& [sid, age] : {std::pair("b", 2s), std::pair("c", 3s), std::pair("a", 1s)}) {
    LedgerEntry entry = wanted(sid);
    entry.created -= age;
    (void)ledger.claim(entry, false);
  }
  std::string order;
  for (const LedgerEntry& entry : ledger.list()) order += entry.sid;
  EXPECT_EQ(order, "cba");
}

TEST_F(LedgerTest, AFailedCreationLeavesNothing) {
  Ledger ledger(file_);
  (void)ledger.claim(wanted("s"), false);
  ledger.abandon("s", of_another_machine());
  EXPECT_TRUE(ledger.find("s")) << "somebody else's is not ours to abandon";
  ledger.abandon("s", ProcessIdentity::current());
  EXPECT_FALSE(ledger.find("s"));

  (void)ledger.claim(wanted("s"), false);
  (void)ledger.created("s", ProcessIdentity::current(), {"box"}, std::nullopt);
  ledger.abandon("s", ProcessIdentity::current());
  EXPECT_TRUE(ledger.find("s")) << "what exists cannot be abandoned";
}

TEST_F(LedgerTest, ASandboxThatIsGoneIsReplaced) {
  Ledger ledger(file_);
  (void)ledger.claim(wanted("s", true), false);
  (void)ledger.created("s", ProcessIdentity::current(), {"box-1"}, system_clock::time_point(1s));
  EXPECT_EQ(ledger.claim(wanted("s"), false, SandboxId{"box-0"}).verdict, Verdict::attach)
      << "it was another one that went";
  const LedgerClaim claim = ledger.claim(wanted("s"), false, SandboxId{"box-1"});
  EXPECT_EQ(claim.verdict, Verdict::create);
  EXPECT_FALSE(claim.entry.kept);
  EXPECT_EQ(claim.entry.lease_end, std::nullopt);
  EXPECT_EQ(ledger.claim(wanted("s"), false, SandboxId{"box-1"}).verdict, Verdict::wait)
      << "already replaced";
}

TEST_F(LedgerTest, ASessionStaysWithItsProvider) {
  Ledger ledger(file_);
  (void)ledger.claim(wanted("s"), false);
  LedgerEntry entry = wanted("s");
  entry.provider = "e2b";
  const Outcome outcome = outcome_of([&] { return ledger.claim(entry, false).verdict; });
  EXPECT_EQ(outcome.code, ErrorCode::conflict);
  EXPECT_THAT(outcome.message(), AllOf(HasSubstr("'s'"), HasSubstr("'e2b'"), HasSubstr("'local'")));
  entry.sid = "t";
  EXPECT_EQ(ledger.claim(entry, false).verdict, Verdict::create) << "the refusal left no transaction open";
}

TEST_F(LedgerTest, OfManyProcessesOneCreates) {
  for (int round = 0; round < 4; ++round) {
    // Rounds 0 and 1 make the file as well.
    if (round == 1) fs::remove_all(dir_ / "state");
    int barrier[2];
    ASSERT_EQ(::pipe(barrier), 0);
    std::vector<ChildProcess<Outcome>> children;
    for (int i = 0; i < 16; ++i) {
      children.emplace_back([&](const auto& report) {
        ::close(barrier[1]);
        char unused = 0;
        (void)!::read(barrier[0], &unused, 1);
        report(outcome_of(
            [&] { return Ledger(file_).claim(wanted("s" + std::to_string(round)), false).verdict; }));
        ::pause();  // an owner that has ended would not be waited for
      });
    }
    ::close(barrier[0]);
    ::close(barrier[1]);
    std::map<Verdict, int> verdicts;
    for (ChildProcess<Outcome>& child : children) {
      const Outcome outcome = child.report();
      EXPECT_EQ(outcome.message(), "");
      ++verdicts[outcome.verdict];
    }
    EXPECT_EQ(verdicts[Verdict::create], 1);
    EXPECT_EQ(verdicts[Verdict::wait], 15);
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(dir_ / "state")) {
    EXPECT_EQ(entry.path().string().find(".new-"), std::string::npos) << entry.path() << " was left behind";
  }
}

TEST_F(LedgerTest, ACreatorThatDiedIsRecoveredByOne) {
  ChildProcess<Outcome> creator([&](const auto& report) {
    Ledger ledger(file_);
    report(outcome_of([&] { return ledger.claim(wanted("s", true), false).verdict; }));
    ::pause();
  });
  EXPECT_EQ(creator.report().verdict, Verdict::create);
  Ledger ledger(file_);
  LedgerEntry ours = wanted("s");
  ours.created += 1min;
  EXPECT_EQ(ledger.claim(ours, false).verdict, Verdict::wait);
  const ProcessIdentity dead = ledger.find("s")->owner;
  EXPECT_EQ(dead.pid, creator.pid());

  creator.kill();
  const LedgerClaim claim = ledger.claim(ours, false);
  EXPECT_EQ(claim.verdict, Verdict::recover);
  EXPECT_EQ(claim.entry.owner, ours.owner);
  EXPECT_EQ(claim.entry.created, wanted("s").created) << "when it was first intended";
  EXPECT_FALSE(claim.entry.kept) << "as the new owner wants it";
  EXPECT_EQ(ledger.claim(ours, false).verdict, Verdict::wait);
  EXPECT_FALSE(ledger.created("s", dead, {"late"}, std::nullopt));
  EXPECT_TRUE(ledger.created("s", ours.owner, {"box"}, std::nullopt));
}

TEST_F(LedgerTest, AnOwnerThatDiedIsFollowed) {
  ChildProcess<Outcome> owner([&](const auto& report) {
    Ledger ledger(file_);
    for (const bool kept : {false, true}) {
      const LedgerEntry entry = wanted(kept ? "kept" : "s", kept);
      (void)ledger.claim(entry, false);
      (void)ledger.created(entry.sid, entry.owner, {"box"}, std::nullopt);
    }
    report({});
    ::pause();
  });
  (void)owner.report();
  Ledger ledger(file_);
  EXPECT_EQ(ledger.claim(wanted("s"), false).verdict, Verdict::attach);

  owner.kill();
  const LedgerClaim claim = ledger.claim(wanted("s"), false);
  EXPECT_EQ(claim.verdict, Verdict::adopt);
  EXPECT_EQ(claim.entry.sandbox, SandboxId{"box"});
  EXPECT_EQ(ledger.find("s")->owner, ProcessIdentity::current());
  EXPECT_EQ(ledger.claim(wanted("s"), false).verdict, Verdict::attach) << "ours already";

  EXPECT_EQ(ledger.claim(wanted("kept"), false).verdict, Verdict::attach);
  EXPECT_EQ(ledger.find("kept")->owner.pid, owner.pid()) << "nobody need adopt what is kept";
}

TEST_F(LedgerTest, AnOwnerThatCannotBeSeenIsWaitedForOnlySoLong) {
  Ledger ledger(file_);
  LedgerEntry theirs = wanted("s");
  theirs.owner = of_another_machine();
  (void)ledger.claim(theirs, false);
  LedgerEntry ours = wanted("s");
  ours.created = theirs.created + kIntentLifetime - 1ns;
  EXPECT_EQ(ledger.claim(ours, false).verdict, Verdict::wait);
  ours.created += 1ns;
  EXPECT_EQ(ledger.claim(ours, false).verdict, Verdict::recover);
  // The hour starts again with each owner.
  theirs.owner.host = "a third one";
  theirs.created = ours.created + 1s;
  EXPECT_EQ(ledger.claim(theirs, false).verdict, Verdict::wait);

  LedgerEntry finished = wanted("t");
  finished.owner = of_another_machine();
  (void)ledger.claim(finished, false);
  (void)ledger.created("t", finished.owner, {"box"}, std::nullopt);
  ours.sid = "t";
  EXPECT_EQ(ledger.claim(ours, false).verdict, Verdict::attach) << "what exists can be looked at instead";
}

TEST_F(LedgerTest, ManyThreadsWithOneLedgerAndWithSeveral) {
  Ledger shared(file_);
  constexpr int kThreads = 4;
  constexpr int kRounds = 20;
  std::atomic<int> creates = 0;
  std::atomic<int> others = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::optional<Ledger> own;
      if (t % 2 == 0) own.emplace(file_);
      Ledger& ledger = own ? *own : shared;
      for (int i = 0; i < kRounds; ++i) {
        const std::string sid = "s" + std::to_string(i);
        const Verdict verdict = ledger.claim(wanted(sid), i % 7 == 0).verdict;
        ++(verdict == Verdict::create ? creates : others);
        if (verdict == Verdict::create) {
          EXPECT_TRUE(ledger.created(sid, ProcessIdentity::current(), {sid}, std::nullopt));
        }
        EXPECT_TRUE(ledger.find(sid));
        (void)ledger.list();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(creates, kRounds);
  EXPECT_EQ(others, kRounds * (kThreads - 1));
  EXPECT_EQ(shared.list().size(), static_cast<std::size_t>(kRounds));
}

TEST_F(LedgerTest, WhatAKilledProcessWroteIsThere) {
  ChildProcess<Outcome> child([&](const auto& report) {
    Ledger ledger(file_);
    // More than the log holds before it is moved into the file.
    for (int i = 0; i < 300; ++i) (void)ledger.claim(wanted("s" + std::to_string(i)), false);
    report({});
    ::pause();
  });
  (void)child.report();
  child.kill();
  Ledger ledger(file_);
  EXPECT_EQ(ledger.list().size(), 300U);
  EXPECT_LT(fs::file_size(file_.string() + "-wal"), 250U * 4200U) << "the log stays short";
}

TEST_F(LedgerTest, IsForItsOwnerOnly) {
  const mode_t old = ::umask(0);
  Ledger ledger(file_);
  (void)ledger.claim(wanted("s"), false);
  ::umask(old);
  EXPECT_EQ(mode(file_.parent_path()), 0700U);
  for (const fs::directory_entry& entry : fs::directory_iterator(file_.parent_path())) {
    EXPECT_EQ(mode(entry.path()), 0600U) << entry.path();
  }
}

TEST_F(LedgerTest, WorksWithoutAWriteAheadLog) {
  (void)opening();
  run_sql(file_, "PRAGMA journal_mode = DELETE");
  ASSERT_FALSE(fs::exists(file_.string() + "-wal"));
  Ledger one(file_);
  Ledger other(file_);
  EXPECT_EQ(one.claim(wanted("t"), true).verdict, Verdict::create);
  EXPECT_EQ(other.claim(wanted("t"), false).verdict, Verdict::wait);
  EXPECT_FALSE(fs::exists(file_.string() + "-wal"));
}

TEST_F(LedgerTest, WhatIsNoLedgerIsRefusedAndLeftAlone) {
  fs::create_directory(file_.parent_path());
  std::string damaged(8192, 'x');
  std::memcpy(damaged.data(), "SQLite format 3", 16);
  for (const std::string& text :
       {std::string("some notes of mine"), std::string(), std::string(5000, '\0'), damaged}) {
    std::ofstream(file_, std::ios::trunc) << text;
    const Outcome outcome = opening();
    EXPECT_EQ(outcome.code, ErrorCode::conflict);
    EXPECT_THAT(outcome.message(), AllOf(HasSubstr(file_.string()), HasSubstr("move it")));
    EXPECT_EQ(content(file_), text);
  }
  fs::remove(file_);
  run_sql(file_, "CREATE TABLE entries (sid); PRAGMA user_version = 1");
  const std::string before = content(file_);
  EXPECT_EQ(opening().code, ErrorCode::conflict) << "another program's database";
  EXPECT_EQ(content(file_), before);
}

TEST_F(LedgerTest, ADamagedLedgerIsReportedNotRepaired) {
  {
    Ledger ledger(file_);
    for (int i = 0; i < 500; ++i) (void)ledger.claim(wanted("s" + std::to_string(i)), false);
  }
  run_sql(file_, "PRAGMA wal_checkpoint(TRUNCATE)");
  std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(fs::file_size(file_) - 4096, '\xff');
  file.close();
  const Outcome outcome = opening();
  EXPECT_EQ(outcome.code, ErrorCode::conflict);
  EXPECT_THAT(outcome.message(), HasSubstr(file_.string()));
}

TEST_F(LedgerTest, ANewerFormatIsRefused) {
  (void)opening();
  run_sql(file_, "PRAGMA user_version = 7");
  const Outcome outcome = opening();
  EXPECT_EQ(outcome.code, ErrorCode::unsupported);
  EXPECT_THAT(outcome.message(), AllOf(HasSubstr("newer Sandkey"), HasSubstr(file_.string())));
}

TEST_F(LedgerTest, TheFirstFormatIsTakenOver) {
  (void)opening();
  run_sql(file_, "ALTER TABLE entries DROP COLUMN profile; PRAGMA user_version = 1");
  {
    Ledger ledger(file_);
    const auto entry = ledger.find("s");
    ASSERT_TRUE(entry.has_value());
    EXPECT_EQ(entry->provider, "local");
    EXPECT_EQ(entry->profile, "");
  }
  EXPECT_EQ(Ledger(file_).list().size(), 1U) << "and only once";
}

TEST_F(LedgerTest, ASessionBelongsToOneAccount) {
  Ledger ledger(file_);
  LedgerEntry work = wanted("s");
  work.profile = "work";
  EXPECT_EQ(ledger.claim(work, false).verdict, Verdict::create);
  EXPECT_EQ(ledger.find("s")->profile, "work");
  const Outcome other = outcome_of([&] { return ledger.claim(wanted("s"), false).verdict; });
  EXPECT_EQ(other.code, ErrorCode::conflict);
  EXPECT_THAT(other.message(), AllOf(HasSubstr("without a profile"), HasSubstr("of the profile 'work'")));
}

TEST_F(LedgerTest, ALogWithoutItsFileIsNotTakenForTheNewOnes) {
  (void)opening();
  fs::remove(file_);
  ASSERT_TRUE(fs::exists(file_.string() + "-wal"));
  const Outcome outcome = opening();
  EXPECT_EQ(outcome.code, ErrorCode::conflict);
  EXPECT_THAT(outcome.message(), HasSubstr(file_.string() + "-wal"));
  fs::remove(file_.string() + "-wal");
  EXPECT_EQ(opening().verdict, Verdict::create);
}

TEST_F(LedgerTest, SomebodyWhoHoldsItForeverIsNotWaitedForForever) {
  Ledger ledger(file_, 50ms);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file_.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(ledger.list().size(), 0U) << "reading needs no turn";
  const Outcome outcome = outcome_of([&] { return ledger.claim(wanted("s"), false).verdict; });
  EXPECT_EQ(outcome.code, ErrorCode::unavailable);
  EXPECT_THAT(outcome.message(), HasSubstr("another process"));
  sqlite3_close(database);
  EXPECT_EQ(ledger.claim(wanted("s"), false).verdict, Verdict::create);
}

TEST_F(LedgerTest, ALedgerRemovedWhileInUseIsNotWrittenTo) {
  Ledger ledger(file_);
  (void)ledger.claim(wanted("s"), false);
  fs::remove(file_);
  const Outcome outcome = outcome_of([&] { return ledger.claim(wanted("t"), false).verdict; });
  EXPECT_EQ(outcome.code, ErrorCode::unavailable);
  EXPECT_THAT(outcome.message(), HasSubstr(file_.string()));
}

// From now on what this process mounts is seen by nobody else; false where that is not allowed.
bool leave_mount_namespace() {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) return false;
  if (user != 0) {
    // Who has no number in there can make no files.
    std::ofstream("/proc/self/uid_map") << user << ' ' << user << " 1";
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/gid_map") << group << ' ' << group << " 1";
  }
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

TEST_F(LedgerTest, AFullDiskIsSaid) {
  fs::create_directory(file_.parent_path());
  // Full from the start, and full after some entries.
  for (const bool from_the_start : {true, false}) {
    ChildProcess<Outcome> child([&](const auto& report) {
      Outcome outcome;
      const std::string folder = file_.parent_path();
      if (!leave_mount_namespace() || ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=256k") != 0) {
        std::strcpy(outcome.text, "not allowed");
      } else if (from_the_start) {
        std::ofstream(file_.parent_path() / "filler") << std::string(1 << 20, 'x');
        outcome = opening();
      } else {
        outcome = outcome_of([&] {
          Ledger ledger(file_);
          for (int i = 0;; ++i) (void)ledger.claim(wanted("s" + std::to_string(i)), false);
          return Verdict::create;
        });
      }
      report(outcome);
    });
    const Outcome outcome = child.report();
    if (outcome.message() == "not allowed") GTEST_SKIP() << "no mount namespaces here";
    EXPECT_EQ(outcome.code, ErrorCode::capacity_unavailable) << outcome.message();
    EXPECT_THAT(outcome.message(), AllOf(HasSubstr(file_.string()), HasSubstr("the disk is full")));
  }
}

TEST_F(LedgerTest, AReadOnlyFileSystemIsSaid) {
  (void)opening();
  for (const bool exists : {true, false}) {
    if (!exists) fs::remove_all(file_.parent_path());
    if (!exists) fs::create_directory(file_.parent_path());
    ChildProcess<Outcome> child([&](const auto& report) {
      Outcome outcome;
      const std::string path = file_.parent_path();
      const char* folder = path.c_str();
      if (leave_mount_namespace() && ::mount(folder, folder, nullptr, MS_BIND, nullptr) == 0 &&
          ::mount("none", folder, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0) {
        outcome = opening();
      } else {
        std::strcpy(outcome.text, "not allowed");
      }
      report(outcome);
    });
    const Outcome outcome = child.report();
    if (outcome.message() == "not allowed") GTEST_SKIP() << "no mount namespaces here";
    EXPECT_EQ(outcome.code, ErrorCode::permission_denied) << outcome.message();
    EXPECT_THAT(outcome.message(), AllOf(HasSubstr(file_.string()), HasSubstr("set SANDKEY_STATE_DIR")));
  }
}

TEST_F(LedgerTest, AFolderWeMayNotWriteIsSaid) {
  fs::create_directory(file_.parent_path());
  for (const bool exists : {false, true}) {
    if (exists) (void)opening();
    ::chmod(file_.parent_path().c_str(), 0555);
    ::chmod(dir_.c_str(), 0755);
    ChildProcess<Outcome> child([&](const auto& report) {
      if (::geteuid() == 0 && ::setresuid(12345, 12345, 12345) != 0) ::_exit(97);
      report(opening());
    });
    const Outcome outcome = child.report();
    ::chmod(file_.parent_path().c_str(), 0700);
    // Who may read and write the file but not its folder cannot use its log, except when it is there already.
    if (exists && ::geteuid() != 0) continue;
    EXPECT_EQ(outcome.code, ErrorCode::permission_denied) << outcome.message();
    EXPECT_THAT(outcome.message(), AllOf(HasSubstr(file_.string()), HasSubstr("set SANDKEY_STATE_DIR")));
  }
}

}  // namespace
}  // namespace sandkey
