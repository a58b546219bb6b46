#include "sandkey/runtime/ledger.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/runtime/state_folder.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sqlite3.h>
#include <string_view>
#include <system_error>
#include <utility>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using std::chrono::system_clock;

constexpr int kVersion = 2;
constexpr int kApplication = 0x53646b31;  // "Sdk1": tells our database from other programs'
// Who opens the file first reads its log, so that stays short; moving it into the file costs two waits for
// the disk.
constexpr int kLogPages = 200;

constexpr const char* kSchema = R"(
  BEGIN;
  CREATE TABLE entries (
    sid TEXT PRIMARY KEY NOT NULL,
    provider TEXT NOT NULL,
    sandbox TEXT,
    host TEXT NOT NULL,
    machine TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    namespaces TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    created INTEGER NOT NULL,
    lease_end INTEGER,
    durable INTEGER NOT NULL,
    claimed INTEGER NOT NULL,
    profile TEXT NOT NULL DEFAULT ''
  ) STRICT, WITHOUT ROWID;
  PRAGMA application_id = {};
  PRAGMA user_version = {};
  COMMIT;
)";

constexpr const char* kBegin = "BEGIN IMMEDIATE";
constexpr const char* kCommit = "COMMIT";
constexpr const char* kFind = "SELECT * FROM entries WHERE sid = ?";
constexpr const char* kList = "SELECT * FROM entries ORDER BY created, sid";
constexpr const char* kStore =
    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
// From the first version, whose entries are of no profile.
constexpr const char* kUpgrade = "ALTER TABLE entries ADD COLUMN profile TEXT NOT NULL DEFAULT ''";
constexpr const char* kUpgraded = "PRAGMA user_version = 2";
constexpr const char* kErase = "DELETE FROM entries WHERE sid = ?";

// An entry with what only the ledger needs to know of it.
struct Record : LedgerEntry {
  bool durable = false;
  system_clock::time_point claimed = {};  // when its owner became that
};

fs::path beside(const fs::path& file, std::string_view suffix) {
  fs::path path = file;
  path += suffix;
  return path;
}

// `doing`: "opening", "reading", "writing".
std::string context(std::string_view doing, const fs::path& file) {
  return fmt::format("{} the ledger {}: ", doing, file.string());
}

[[noreturn]] void fail_with_errno(std::string_view doing, const fs::path& file, int error_number) {
  const std::string what = context(doing, file) + std::generic_category().message(error_number);
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      throw Error(ErrorCode::capacity_unavailable,
                  context(doing, file) +
                      "the disk is full; free some space, or set SANDKEY_STATE_DIR to a folder elsewhere");
    case EACCES:
    case EPERM:
    case EROFS:
      throw Error(
          ErrorCode::permission_denied,
          what + "; make it and its folder writable for you, or set SANDKEY_STATE_DIR to another folder");
    default:
      throw Error(ErrorCode::unavailable,
                  what + "; see what is wrong there, or set SANDKEY_STATE_DIR to another folder");
  }
}

[[noreturn]] void fail_with_sqlite(std::string_view doing, const fs::path& file, sqlite3* database,
                                   int result) {
  const int error_number = database != nullptr ? sqlite3_system_errno(database) : 0;
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:  // the same, for the log's own locks
      throw Error(ErrorCode::unavailable,
                  context(doing, file) +
                      "another process has held it for too long; try again, or see which by: fuser " +
                      file.string());
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      throw Error(
          ErrorCode::conflict,
          context(doing, file) +
              "it is damaged, or no ledger of Sandkey; move it and the files beside it whose names begin "
              "with its name away to start a new one");
    case SQLITE_FULL:
      fail_with_errno(doing, file, ENOSPC);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      fail_with_errno(doing, file, EACCES);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
      fail_with_errno(doing, file, error_number != 0 ? error_number : EIO);
    default:
      throw Error(ErrorCode::internal,
                  context(doing, file) + sqlite3_errstr(result) + "; this is a defect of Sandkey");
  }
}

struct Closer {
  void operator()(sqlite3* database) const noexcept { (void)sqlite3_close_v2(database); }
  void operator()(sqlite3_stmt* statement) const noexcept { (void)sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, Closer>;

// `named`: the file to name in an error.
Database open_database(const fs::path& file, const fs::path& named) {
  sqlite3* opened = nullptr;
  const int result =
      sqlite3_open_v2(file.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database(opened);
  if (result != SQLITE_OK) fail_with_sqlite("opening", named, opened, sqlite3_extended_errcode(opened));
  (void)sqlite3_extended_result_codes(opened, 1);
  return database;
}

// A write-ahead log needs memory shared by all who use the file, so all must be on one machine.
bool may_be_shared_by_machines(const fs::path& file) {
  struct statfs info {};
  if (::statfs(file.c_str(), &info) != 0) return true;
  constexpr std::array<long, 9> kOfOneMachine{
      EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,       BTRFS_SUPER_MAGIC,    TMPFS_MAGIC, RAMFS_MAGIC,
      F2FS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, 0x2fc12fc1 /* ZFS */, 0xca451a4e /* bcachefs */};
  return std::find(kOfOneMachine.begin(), kOfOneMachine.end(), static_cast<long>(info.f_type)) ==
         kOfOneMachine.end();
}

void synchronise(const fs::path& path, const fs::path& named) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  // Some file systems have no such thing for folders.
  if (!fd || (::fsync(fd.get()) != 0 && errno != EINVAL)) fail_with_errno("making", named, errno);
}

// The file appears complete, private and at once, however many processes make it: nobody ever sees half of
// it. (SQLite alone would make it readable by others.)
void make_file(const fs::path& file) {
  // SQLite would take what is in an orphaned log for changes of the new file.
  for (const char* suffix : {"-wal", "-journal"}) {
    const fs::path orphan = beside(file, suffix);
    if (::access(orphan.c_str(), F_OK) == 0 && ::access(file.c_str(), F_OK) != 0) {
      throw Error(
          ErrorCode::conflict,
          fmt::format("making the ledger {}: {}, a part of it, is there without it; put the ledger back, "
                      "or move that away too",
                      file.string(), orphan.string()));
    }
  }
  std::string temporary = beside(file, ".new-XXXXXX").string();
  if (const UniqueFd made(::mkostemp(temporary.data(), O_CLOEXEC)); !made)
    fail_with_errno("making", file, errno);
  struct Removal {
    const std::string& path;
    ~Removal() {
      for (const char* suffix : {"", "-wal", "-shm", "-journal"}) (void)::unlink((path + suffix).c_str());
    }
  } removal{temporary};
  {
    const Database database = open_database(temporary, file);
    const auto run = [&](const std::string& sql) {
      if (sqlite3_exec(database.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
        fail_with_sqlite("making", file, database.get(), sqlite3_extended_errcode(database.get()));
      }
    };
    run("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY");
    run(fmt::format(fmt::runtime(kSchema), kApplication, kVersion));
    // Where it is refused, the ordinary journal does too.
    if (!may_be_shared_by_machines(temporary)) {
      (void)sqlite3_exec(database.get(), "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr);
    }
  }
  synchronise(temporary, file);
  if (::link(temporary.c_str(), file.c_str()) != 0 && errno != EEXIST) {
    // A file system without hard links.
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, file.c_str(), RENAME_NOREPLACE) != 0 &&
        errno != EEXIST) {
      fail_with_errno("making", file, errno);
    }
  }
  synchronise(file.parent_path(), file);
}

// One run of a prepared statement.
class Query {
 public:
  Query(sqlite3* database, sqlite3_stmt* statement, const fs::path& file)
      : database_(database), statement_(statement), file_(file) {}
  Query(Query&& other) = delete;
  ~Query() {
    (void)sqlite3_reset(statement_);
    (void)sqlite3_clear_bindings(statement_);
  }

  // Before it goes, so that others may follow in its scope.
  void reset() { (void)sqlite3_reset(statement_); }

  // Parameters in order. A text must stay until the query ends.
  Query& with(std::string_view text) {
    (void)sqlite3_bind_text64(statement_, ++parameter_, text.data(), text.size(), nullptr, SQLITE_UTF8);
    return *this;
  }
  Query& with(std::int64_t number) {
    (void)sqlite3_bind_int64(statement_, ++parameter_, number);
    return *this;
  }
  Query& with_null() {
    ++parameter_;  // what is not bound is null
    return *this;
  }

  // Whether there is a (next) row.
  bool next() {
    const int result = sqlite3_step(statement_);
    if (result == SQLITE_ROW) return true;
    if (result != SQLITE_DONE) {
      fail_with_sqlite(sqlite3_stmt_readonly(statement_) != 0 ? "reading" : "writing", file_, database_,
                       result);
    }
    return false;
  }

  // The row's values in order.
  [[nodiscard]] bool is_null() const { return sqlite3_column_type(statement_, column_) == SQLITE_NULL; }
  [[nodiscard]] std::int64_t number() { return sqlite3_column_int64(statement_, column_++); }
  [[nodiscard]] std::string text() {
    const int column = column_++;
    const void* bytes = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return bytes == nullptr ? std::string()
                            : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
  }
  void skip() { ++column_; }
  void rewind() { column_ = 0; }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_;
  const fs::path& file_;
  int parameter_ = 0;
  int column_ = 0;
};

std::int64_t to_number(system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

system_clock::time_point to_time(std::int64_t number) {
  return system_clock::time_point(
      std::chrono::duration_cast<system_clock::duration>(std::chrono::nanoseconds(number)));
}

Record read_record(Query& query) {
  query.rewind();
  Record record;
  record.sid = query.text();
  record.provider = query.text();
  if (query.is_null()) {
    query.skip();
  } else {
    record.sandbox = SandboxId{query.text()};
  }
  record.owner.host = query.text();
  record.owner.machine = query.text();
  record.owner.boot_id = query.text();
  record.owner.namespaces = query.text();
  record.owner.pid = query.number();
  record.owner.start_time = static_cast<std::uint64_t>(query.number());
  record.kept = query.number() != 0;
  record.created = to_time(query.number());
  if (query.is_null()) {
    query.skip();
  } else {
    record.lease_end = to_time(query.number());
  }
  record.durable = query.number() != 0;
  record.claimed = to_time(query.number());
  record.profile = query.text();
  return record;
}

}  // namespace

struct Ledger::Impl {
  Impl(fs::path path, std::chrono::milliseconds patience) : file(std::move(path)) {
    if (!file.is_absolute()) file = fs::absolute(file);
    if (::access(file.c_str(), F_OK) != 0) {
      make_private_folders(file.parent_path());
      make_file(file);
    }
    database = open_database(file, file);
    (void)sqlite3_busy_timeout(database.get(), static_cast<int>(patience.count()));
    check_contents();
    if (sqlite3_db_readonly(database.get(), "main") != 0)
      fail_with_sqlite("opening", file, database.get(), SQLITE_READONLY);
    // What closes last would otherwise move the log into the file, and wait for the disk, every time.
    (void)sqlite3_db_config(database.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    (void)sqlite3_wal_autocheckpoint(database.get(), kLogPages);
  }

  void check_contents() {
    const auto number = [&](const char* sql) {
      Query query = run(sql);
      return query.next() ? query.number() : 0;
    };
    const std::int64_t version = number("PRAGMA user_version");
    if (number("PRAGMA application_id") != kApplication)
      fail_with_sqlite("opening", file, database.get(), SQLITE_NOTADB);
    if (version > kVersion) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("opening the ledger {}: it was written by a newer Sandkey (format {}, this one knows "
                      "up to {}); use that, or set SANDKEY_STATE_DIR to another folder",
                      file.string(), version, kVersion));
    }
    if (version < kVersion) upgrade();
  }

  // The statement is prepared once. `sql` is one of our constants, told apart by its address.
  Query run(const char* sql) {
    auto found = std::find_if(statements.begin(), statements.end(),
                              [&](const auto& known) { return known.first == sql; });
    if (found == statements.end()) {
      sqlite3_stmt* prepared = nullptr;
      const int result =
          sqlite3_prepare_v3(database.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &prepared, nullptr);
      if (result != SQLITE_OK) fail_with_sqlite("opening", file, database.get(), result);
      found = statements.emplace(statements.end(), sql, prepared);
    }
    return Query(database.get(), found->second.get(), file);
  }

  std::optional<Record> find(const std::string& sid) {
    Query query = run(kFind);
    if (!query.with(sid).next()) return std::nullopt;
    return read_record(query);
  }

  void store(const Record& record) {
    Query query = run(kStore);
    query.with(record.sid).with(record.provider);
    if (record.sandbox) {
      query.with(record.sandbox->value);
    } else {
      query.with_null();
    }
    const ProcessIdentity& owner = record.owner;
    query.with(owner.host).with(owner.machine).with(owner.boot_id).with(owner.namespaces).with(owner.pid);
    query.with(static_cast<std::int64_t>(owner.start_time)).with(record.kept ? 1 : 0);
    query.with(to_number(record.created));
    if (record.lease_end) {
      query.with(to_number(*record.lease_end));
    } else {
      query.with_null();
    }
    query.with(record.durable ? 1 : 0).with(to_number(record.claimed)).with(record.profile);
    query.next();
  }

  void erase(const std::string& sid) { run(kErase).with(sid).next(); }

  bool is_durable(const std::string& sid) {
    const std::optional<Record> record = find(sid);
    return record && record->durable;
  }

  // Runs `body` as one transaction, with all other processes kept out.
  template <typename Body>
  auto write(bool durable, Body body) {
    // NORMAL still orders what reaches the disk, so a crash of the machine costs the last entries at most.
    if (synchronous_full != durable) {
      run(durable ? kSynchronousFull : kSynchronousNormal).next();
      synchronous_full = durable;
    }
    run(kBegin).next();
    struct Rollback {
      sqlite3* database;
      ~Rollback() {
        const bool open = sqlite3_get_autocommit(database) == 0;
        if (open) (void)sqlite3_exec(database, "ROLLBACK", nullptr, nullptr, nullptr);
      }
    } rollback{database.get()};
    // SQLite itself would go on writing into a file that nobody can find any more.
    int moved = 0;
    (void)sqlite3_file_control(database.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved != 0) {
      throw Error(
          ErrorCode::unavailable,
          context("writing", file) + "it was moved or removed while in use; put it back, or start again");
    }
    auto result = body();
    run(kCommit).next();
    return result;
  }

  // Another process may have done it meanwhile.
  void upgrade() {
    (void)write(true, [this] {
      Query version = run("PRAGMA user_version");
      const bool old = version.next() && version.number() < kVersion;
      version.reset();
      if (!old) return false;
      run(kUpgrade).next();
      run(kUpgraded).next();
      return true;
    });
  }

  static constexpr const char* kSynchronousFull = "PRAGMA synchronous = FULL";
  static constexpr const char* kSynchronousNormal = "PRAGMA synchronous = NORMAL";

  fs::path file;
  std::mutex mutex;
  Database database;
  std::vector<std::pair<const char*, std::unique_ptr<sqlite3_stmt, Closer>>> statements;
  bool synchronous_full = true;  // SQLite's default
};

Ledger::Ledger(fs::path file, std::chrono::milliseconds patience)
    : impl_(std::make_unique<Impl>(std::move(file), patience)) {}
Ledger::~Ledger() = default;

const fs::path& Ledger::file() const noexcept {
  return impl_->file;
}

LedgerClaim Ledger::claim(const LedgerEntry& wanted, bool durable, const std::optional<SandboxId>& gone) {
  using Verdict = LedgerClaim::Verdict;
  const std::lock_guard lock(impl_->mutex);
  return impl_->write(durable, [&]() -> LedgerClaim {
    std::optional<Record> found = impl_->find(wanted.sid);
    if (found && found->provider != wanted.provider) {
      throw Error(
          ErrorCode::conflict,
          fmt::format(
              "claiming the session '{0}' for a sandbox of '{1}': its sandbox is one of '{2}'; choose "
              "another sid, or remove that one first",
              wanted.sid, wanted.provider, found->provider));
    }
    if (found && found->profile != wanted.profile) {
      const auto named = [](const std::string& profile) {
        return profile.empty() ? "without a profile" : "of the profile '" + profile + "'";
      };
      throw Error(
          ErrorCode::conflict,
          fmt::format("claiming the session '{}' {}: its sandbox is in the account {}; choose another sid, "
                      "or that account (--profile)",
                      wanted.sid, named(wanted.profile), named(found->profile)));
    }
    if (!found || (gone && found->sandbox == gone)) {
      Record record{wanted};
      record.sandbox.reset();
      record.lease_end.reset();
      record.durable = durable;
      record.claimed = wanted.created;
      impl_->store(record);
      return {.verdict = Verdict::create, .entry = record};
    }
    const bool ours = found->owner == wanted.owner;
    if (found->sandbox) {
      if (found->kept || ours || found->owner.may_be_alive())
        return {.verdict = Verdict::attach, .entry = *found};
    } else {
      const bool in_time = wanted.created - found->claimed < kIntentLifetime;
      if (ours || (in_time && found->owner.may_be_alive()))
        return {.verdict = Verdict::wait, .entry = *found};
    }
    found->owner = wanted.owner;
    if (!found->sandbox) found->kept = wanted.kept;  // it was not created so far, and will be as wanted
    found->durable = found->durable || durable;
    found->claimed = wanted.created;
    impl_->store(*found);
    return {.verdict = found->sandbox ? Verdict::adopt : Verdict::recover, .entry = *found};
  });
}

bool Ledger::created(const std::string& sid, const ProcessIdentity& owner, const SandboxId& sandbox,
                     std::optional<system_clock::time_point> lease_end, std::optional<bool> kept) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->write(impl_->is_durable(sid), [&] {
    std::optional<Record> found = impl_->find(sid);
    if (!found || found->owner != owner || (found->sandbox && *found->sandbox != sandbox)) return false;
    found->sandbox = sandbox;
    if (kept) found->kept = *kept;
    found->lease_end = lease_end;
    impl_->store(*found);
    return true;
  });
}

void Ledger::renewed(const std::string& sid, const SandboxId& sandbox,
                     std::optional<system_clock::time_point> lease_end) {
  const std::lock_guard lock(impl_->mutex);
  impl_->write(impl_->is_durable(sid), [&] {
    std::optional<Record> found = impl_->find(sid);
    if (!found || found->sandbox != sandbox) return false;
    found->lease_end = lease_end;
    impl_->store(*found);
    return true;
  });
}

void Ledger::forget(const std::string& sid, const SandboxId& sandbox) {
  const std::lock_guard lock(impl_->mutex);
  impl_->write(false, [&] {
    const std::optional<Record> found = impl_->find(sid);
    if (!found || found->sandbox != sandbox) return false;
    impl_->erase(sid);
    return true;
  });
}

void Ledger::abandon(const std::string& sid, const ProcessIdentity& owner) {
  const std::lock_guard lock(impl_->mutex);
  impl_->write(false, [&] {
    const std::optional<Record> found = impl_->find(sid);
    if (!found || found->sandbox || found->owner != owner) return false;
    impl_->erase(sid);
    return true;
  });
}

void Ledger::release(const std::string& sid, const ProcessIdentity& owner) {
  const std::lock_guard lock(impl_->mutex);
  impl_->write(impl_->is_durable(sid), [&] {
    std::optional<Record> found = impl_->find(sid);
    if (!found || found->sandbox || found->owner != owner) return false;
    found->owner = ProcessIdentity::nobody();
    impl_->store(*found);
    return true;
  });
}

std::optional<LedgerEntry> Ledger::find(const std::string& sid) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->find(sid);
}

std::vector<LedgerEntry> Ledger::list() {
  const std::lock_guard lock(impl_->mutex);
  std::vector<LedgerEntry> entries;
  Query query = impl_->run(kList);
  while (query.next()) entries.push_back(read_record(query));
  return entries;
}

std::shared_ptr<Ledger> open_user_ledger(Engine& engine) {
  return std::make_shared<Ledger>(require_state_folder(engine) / "ledger.db");
}

}  // namespace sandkey
