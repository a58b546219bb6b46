// Runloop's devboxes: making, finding, waiting for and ending them. What stands on the wire of its API is
// here and in devbox_shell.h, and nowhere else on the client's side (reference: Runloop's clients 1.29 to
// 1.32).
//
// Every request that may change something carries an id of its own, the same when it is sent again, by which
// Runloop knows it again (`x-request-id`).
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
#include <vector>

namespace sandkey::runloop {

using Metadata = Labels;

// What a devbox starts from; at most one of them is set, and none is Runloop's own image.
struct Source {
  std::string blueprint_id = {};
  std::string blueprint_name = {};  // the newest of that name
  std::string snapshot_id = {};
};

struct IdleRule {
  std::chrono::seconds time{};
  std::string action = "shutdown";  // or "suspend"
};

// What is unset is as Runloop has it, or the blueprint.
struct LaunchParameters {
  std::string size = {};  // "SMALL"; "CUSTOM_SIZE" for the three after it
  std::optional<double> cpu_cores = std::nullopt;
  std::optional<std::uint64_t> memory_gib = std::nullopt;
  std::optional<std::uint64_t> disk_gib = std::nullopt;
  std::vector<std::uint16_t> ports = {};                          // needed by its older servers only
  std::optional<std::chrono::seconds> keep_alive = std::nullopt;  // without an idle rule: all of its life
  std::optional<IdleRule> after_idle = std::nullopt;              // begins anew with keep_alive()
  std::vector<std::string> launch_commands = {};                  // at every start, and so after a resume
};

struct NewDevbox {
  std::string name = {};
  Source source = {};
  std::map<std::string, std::string> environment = {};
  Metadata metadata = {};
  LaunchParameters launch = {};
};

// The way to all ports of a devbox.
struct Tunnel {
  std::string key;  // stands in its addresses
  Secret token;     // opens it
};

enum class Status { starting, running, suspending, suspended, resuming, failed, shut_down };

struct Devbox {
  std::string id = {};
  Status status = Status::starting;
  std::string status_word = {};  // Runloop's
  std::string why = {};          // of one that has ended, for people: "it ran out of memory"
  std::string image = {};        // what it was started from
  Metadata metadata = {};
  std::optional<std::chrono::system_clock::time_point> created = std::nullopt;
  std::optional<std::chrono::system_clock::time_point> running_since = std::nullopt;
  std::optional<std::chrono::seconds> idle_time = std::nullopt;  // after which it ends
  std::optional<Tunnel> tunnel = std::nullopt;
};
[[nodiscard]] bool has_ended(const Devbox& devbox) noexcept;

// Thread-safe. Errors as of RestAccount::call(); ids that are none, or of no devbox, are `not_found`, though
// Runloop answers those with 400.
class Devboxes {
 public:
  explicit Devboxes(std::shared_ptr<RestAccount> account);

  // What names one request to Runloop, however often it is sent.
  [[nodiscard]] std::string new_request_id() const;

  // With a tunnel that lets nobody in without its token. Not repeated by itself when its answer is lost.
  asio::awaitable<Devbox> create(NewDevbox wanted, std::string request_id, Deadline deadline);
  // All that have not ended and whose metadata has these, oldest first.
  asio::awaitable<std::vector<Devbox>> list(Metadata filter, Deadline deadline);
  // Also one that has ended.
  asio::awaitable<Devbox> get(std::string id, Deadline deadline);
  // Waits until it is what is wanted, running or suspended; Runloop holds the question until then, or for a
  // while. Throws sandbox_dead, saying why, if it ended instead, and deadline_exceeded saying what it was.
  asio::awaitable<Devbox> wait_until(std::string id, Status wanted, Deadline deadline);
  asio::awaitable<Tunnel> enable_tunnel(std::string id, Deadline deadline);
  // Its idle time begins anew.
  asio::awaitable<void> keep_alive(std::string id, Deadline deadline);
  // Both only begin it.
  asio::awaitable<void> suspend(std::string id, Deadline deadline);
  asio::awaitable<void> resume(std::string id, Deadline deadline);
  asio::awaitable<void> shutdown(std::string id, Deadline deadline);

  // What else is asked about one devbox. If it has ended meanwhile: sandbox_dead, saying why.
  asio::awaitable<RestAnswer> call(std::string id, RestCall call);
  [[nodiscard]] Engine& engine() const noexcept { return account_->engine(); }

 private:
  struct Page {
    std::vector<Devbox> devboxes;
    bool more = false;
    std::string last;  // the last one's id
  };
  asio::awaitable<Page> page(std::string status, std::string after, Deadline deadline);
  asio::awaitable<std::vector<Devbox>> in_state(std::string status, Deadline deadline);
  asio::awaitable<RestAnswer> act(std::string id, std::string verb, std::string operation, Deadline deadline);
  asio::awaitable<Devbox> poll(std::string id, Status wanted, std::chrono::seconds hold, Deadline deadline);

  const std::shared_ptr<RestAccount> account_;
};

// Throws sandbox_dead, saying why, for one that has ended while `operation` needed it.
void require_life(const Devbox& devbox, const std::string& operation);

// /v1/devboxes/ID and what follows; throws not_found where that cannot be an id.
[[nodiscard]] std::string devbox_path(const std::string& id, const std::string& rest = "");
// A POST that carries such an id, and so may be sent again.
[[nodiscard]] RestCall mutation(std::string path, std::string operation, std::string request_id,
                                Deadline deadline);

}  // namespace sandkey::runloop
