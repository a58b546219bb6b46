// E2B's control plane: making, finding and ending sandboxes. What stands on its wire is here, and nowhere
// else on the client's side (reference: E2B's OpenAPI description and SDK 2.51).
//
// Servers before the second version of its writes (`/v2/sandboxes`) are spoken to in the first one, which
// differs in its defaults only; everything that matters is said in each request.
#pragma once

#include "sandkey/accounts/rest_account.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/runtime/session_labels.h"

#include <boost/asio/awaitable.hpp>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandkey::e2b {

using Metadata = Labels;

struct NewSandbox {
  std::string template_id = "base";
  std::chrono::seconds timeout{};
  Metadata metadata = {};
  std::map<std::string, std::string> environment = {};
  std::optional<bool> internet = std::nullopt;
};

// What opens a sandbox's data plane.
struct SandboxKeys {
  std::string id = {};
  Secret envd_token = {};
  Secret traffic_token = {};  // for all ports but envd's
  std::string domain = {};    // empty: the account's
};

struct SandboxRecord {
  std::string id = {};
  std::string template_id = {};
  bool paused = false;
  std::optional<std::chrono::system_clock::time_point> started = std::nullopt;
  std::optional<std::chrono::system_clock::time_point> ends = std::nullopt;
  Metadata metadata = {};
};

// Thread-safe. Errors as of RestAccount::call(); ids that are none are `not_found`.
class ControlPlane {
 public:
  explicit ControlPlane(std::shared_ptr<RestAccount> account);

  // Not repeated when its answer is lost; find it by its metadata.
  asio::awaitable<SandboxKeys> create(NewSandbox wanted, Deadline deadline);
  // All whose metadata has these, oldest first.
  asio::awaitable<std::vector<SandboxRecord>> list(Metadata filter, Deadline deadline);
  asio::awaitable<SandboxRecord> get(std::string id, Deadline deadline);
  // Wakes it if it is paused, and then it lives for `timeout`; else its life is not shortened by it.
  asio::awaitable<SandboxKeys> connect(std::string id, std::chrono::seconds timeout, Deadline deadline);
  // From now on it lives this long, be that shorter than before.
  asio::awaitable<void> set_timeout(std::string id, std::chrono::seconds timeout, Deadline deadline);
  asio::awaitable<void> pause(std::string id, Deadline deadline);
  asio::awaitable<void> kill(std::string id, Deadline deadline);

 private:
  asio::awaitable<SandboxKeys> write(RestCall call, std::string path);

  const std::shared_ptr<RestAccount> account_;
  std::atomic<bool> first_version_ = false;  // the server has no second one
};

}  // namespace sandkey::e2b
