// Daytona's control plane: making, finding and ending sandboxes. What stands on its wire is here, and nowhere
// else on the client's side (reference: Daytona's OpenAPI description, its server 0.190 and its SDKs 0.218).
#pragma once

#include "sandkey/accounts/rest_account.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/runtime/session_labels.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona {

// What one of Daytona's twenty-two states, or one that is newer than this code, is to us.
enum class Stage {
  running,
  changing,     // on its way to another one, by itself
  asleep,       // stopped, archived or paused: it can be started
  recoverable,  // in an error that Daytona can take it out of
  broken,       // in one that it cannot
  gone,
};

struct NewSandbox {
  std::string name = {};        // one at a time in an organization; a second create of it is `conflict`
  std::string snapshot = {};    // empty: the organization's default
  std::string dockerfile = {};  // instead of a snapshot, and needed for sizes
  std::string target = {};      // the region; empty: the organization's default
  std::map<std::string, std::string> environment = {};
  Labels labels = {};
  std::optional<bool> block_network = std::nullopt;
  std::optional<unsigned> memory_gib = std::nullopt;
  std::optional<unsigned> disk_gib = std::nullopt;
  std::chrono::minutes auto_stop{};     // after so long without traffic
  std::chrono::minutes auto_archive{};  // after so long stopped
  std::chrono::minutes auto_delete{};   // after so long stopped; 0: as soon as it stops
};

struct SandboxRecord {
  std::string id = {};
  std::string name = {};
  std::string state = {};  // Daytona's word for it
  Stage stage = Stage::changing;
  std::string error_reason = {};  // as it came
  std::string snapshot = {};
  std::string toolbox_url = {};  // of its region; old servers leave it out
  Labels labels = {};
  std::optional<std::chrono::system_clock::time_point> created = std::nullopt;
  std::optional<std::chrono::system_clock::time_point> last_activity = std::nullopt;
  std::optional<std::chrono::minutes> auto_stop = std::nullopt;  // none: it never stops by itself
};

// Where a port of a sandbox is, and what opens it. The token is the sandbox's, the same for all ports, and
// another one after every start from the disk.
struct Preview {
  std::string url = {};
  Secret token = {};
};

// Thread-safe. Errors as of RestAccount::call(); ids that are none are `not_found`. Where `id` stands, a name
// does as well, unless said otherwise.
class ControlPlane {
 public:
  explicit ControlPlane(std::shared_ptr<RestAccount> account);

  // Not repeated when its answer is lost: look it up by its name.
  asio::awaitable<SandboxRecord> create(NewSandbox wanted, Deadline deadline);
  asio::awaitable<SandboxRecord> get(std::string id, Deadline deadline);
  // All that have these labels, oldest first. Lags behind by seconds: it proves neither that a sandbox is
  // there nor that it is not.
  asio::awaitable<std::vector<SandboxRecord>> list(Labels filter, Deadline deadline);
  // Both return before it is done; `conflict` in a state that does not allow it.
  asio::awaitable<void> start(std::string id, Deadline deadline);
  asio::awaitable<void> recover(std::string id, Deadline deadline);
  asio::awaitable<void> stop(std::string id, Deadline deadline);
  asio::awaitable<void> remove(std::string id, Deadline deadline);

  asio::awaitable<void> set_auto_stop(std::string id, std::chrono::minutes time, Deadline deadline);
  asio::awaitable<void> set_auto_delete(std::string id, std::chrono::minutes time, Deadline deadline);
  // As if there had been traffic just now. By id only.
  asio::awaitable<void> touch(std::string id, Deadline deadline);

  asio::awaitable<Preview> preview(std::string id, std::uint16_t port, Deadline deadline);
  // For sandboxes whose record does not say it. By id only.
  asio::awaitable<std::string> toolbox_url(std::string id, Deadline deadline);

 private:
  asio::awaitable<RestAnswer> act(std::string method, std::string id, std::string what, std::string operation,
                                  Deadline deadline);

  const std::shared_ptr<RestAccount> account_;
};

[[nodiscard]] Stage stage_of(std::string_view state, bool recoverable) noexcept;

}  // namespace sandkey::daytona
