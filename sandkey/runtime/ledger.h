// What was created for whom: written down before the request leaves, so that nothing paid is ever forgotten,
// and any process finds a session's sandbox.
//
// One SQLite file per user, shared by all of that user's processes.
#pragma once

#include "sandkey/runtime/process_identity.h"
#include "sandkey/runtime/provider.h"

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandkey {

struct LedgerEntry {
  std::string sid = {};
  std::string provider = {};
  std::string profile = {};  // whose account it is in; empty: that which is found without a profile
  // None: its creation is under way, or was when its owner died.
  std::optional<SandboxId> sandbox = std::nullopt;
  ProcessIdentity owner = {};  // who created it, or adopted it
  bool kept = false;
  std::chrono::system_clock::time_point created = {};  // when it was first intended
  std::optional<std::chrono::system_clock::time_point> lease_end = std::nullopt;
};

// No creation takes that long; if one does, created() refuses it once somebody else has recovered the
// session.
inline constexpr std::chrono::hours kIntentLifetime{1};

// What a process that wants a session's sandbox is to do.
struct LedgerClaim {
  enum class Verdict {
    create,   // ours: the intent is written down, create it
    recover,  // ours: an earlier owner died before it told the id; look for it on the provider, then create
    adopt,    // ours: it exists, is not kept, and its owner died; we end it now
    attach,   // it exists and is somebody else's or kept
    // Somebody else is creating it: ask again. An owner that may be alive, but cannot be asked (on another
    // machine, in another container), is taken for dead when its intent is kIntentLifetime old.
    wait
  } verdict = Verdict::create;
  LedgerEntry entry = {};
};

// Thread-safe; every call may wait for other processes and for the disk, so never on an engine thread. Throws
// Error naming the file: permission_denied, capacity_unavailable (the disk is full), unavailable (another
// process holds it for too long, or the disk fails), unsupported (written by a newer Sandkey), conflict
// (damaged, or no ledger at all). What is in its way it neither deletes nor overwrites.
class Ledger {
 public:
  // Makes the file (0600), and its folder (0700), if missing. `patience`: how long a call waits for other
  // processes' turns, which take milliseconds.
  explicit Ledger(std::filesystem::path file, std::chrono::milliseconds patience = std::chrono::seconds(10));
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  [[nodiscard]] const std::filesystem::path& file() const noexcept;

  // `wanted`: sid, provider, profile, owner, kept and created. Atomic between processes: of several that
  // claim a free sid at once, one is told to create. To create, recover or adopt makes the claimer the owner,
  // and to create or recover makes the entry as kept as wanted; nothing else of an entry that exists changes.
  // One whose sandbox is `gone` counts as none. Throws Error(conflict) when the sid belongs to another
  // provider or profile.
  //
  // `durable`: on the disk when this returns, whatever happens to the machine (and so are created() and
  // renewed() of this entry); otherwise whatever happens to the process.
  LedgerClaim claim(const LedgerEntry& wanted, bool durable,
                    const std::optional<SandboxId>& gone = std::nullopt);
  // The creation that claim() gave to this owner succeeded; or it found a sandbox, which is not its to end:
  // `kept` then. Without that the entry is as kept as was wanted. False: it is not this owner's any more.
  bool created(const std::string& sid, const ProcessIdentity& owner, const SandboxId& sandbox,
               std::optional<std::chrono::system_clock::time_point> lease_end,
               std::optional<bool> kept = std::nullopt);
  void renewed(const std::string& sid, const SandboxId& sandbox,
               std::optional<std::chrono::system_clock::time_point> lease_end);
  // The sandbox has ended.
  void forget(const std::string& sid, const SandboxId& sandbox);
  // The creation failed, and left nothing.
  void abandon(const std::string& sid, const ProcessIdentity& owner);
  // The creation failed, and nobody can tell what it left: whoever claims the session next is to recover it.
  void release(const std::string& sid, const ProcessIdentity& owner);

  [[nodiscard]] std::optional<LedgerEntry> find(const std::string& sid);
  [[nodiscard]] std::vector<LedgerEntry> list();  // oldest first

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The ledger of this user: ledger.db in the state folder. Throws as its constructor and
// require_state_folder() do.
[[nodiscard]] std::shared_ptr<Ledger> open_user_ledger(Engine& engine);

}  // namespace sandkey
