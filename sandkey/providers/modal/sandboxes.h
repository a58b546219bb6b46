// Modal's sandboxes as its control plane has them: apps, images, and what can be done to a sandbox by its id.
//
// Modal has two back ends. An id says which one its sandbox has; what is new goes to the second, or to the
// first where the server knows no other.
#pragma once

#include "sandkey/providers/modal/control_plane.h"
#include "sandkey/providers/modal/task_router.h"
#include "sandkey/runtime/session_labels.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::modal {

// Whether the sandbox of this id has the first back end.
[[nodiscard]] bool is_of_first_back_end(std::string_view id);

struct NewSandbox {
  std::string key = {};  // by which Modal knows a request again that is sent twice
  std::string name = {};
  std::string image_id = {};
  std::vector<std::string> entrypoint = {};
  std::map<std::string, std::string> environment = {};
  Labels labels = {};
  std::uint16_t port = 0;  // to be reached from outside, encrypted
  bool network = true;
  std::optional<std::uint64_t> memory_mib = std::nullopt;
  std::chrono::seconds life{};
  std::chrono::seconds idle_life{};
};

// What is known of one that was made just now, and would have to be asked for otherwise.
struct MadeSandbox {
  std::string id = {};
  std::string task_id = {};
  std::optional<Endpoint> port = std::nullopt;
  std::shared_ptr<const RouterAccess> access = nullptr;
  bool own = true;  // else it was there
};

struct SandboxRecord {
  std::string id = {};
  std::string image_id = {};
  Labels labels = {};
  bool started = false;
  std::optional<std::chrono::system_clock::time_point> created = std::nullopt;
  std::optional<std::chrono::seconds> life = std::nullopt;
};

// How one ended: in our words, for people.
struct SandboxEnd {
  bool wanted = false;  // somebody ended it
  std::string reason = {};
};

struct ConnectToken {
  std::string url = {};
  Secret token = {};
};

// Told what takes time, a line at a time.
using Progress = std::function<void(const std::string& line)>;

class Sandboxes : public std::enable_shared_from_this<Sandboxes> {
 public:
  explicit Sandboxes(std::shared_ptr<ControlPlane> control) : control_(std::move(control)) {}

  // `wanted`: an id ("im-...") or a name at a registry. Returns when it is built.
  asio::awaitable<std::string> image(std::string wanted, Progress progress, Deadline deadline);
  // Somebody may have ended the app or removed an image: they are looked up anew.
  void forget_what_is_known();
  // Never sent twice. A name that is taken is Error(conflict).
  asio::awaitable<MadeSandbox> create(NewSandbox wanted, Deadline deadline);

  asio::awaitable<std::optional<std::string>> find_by_name(std::string name, Deadline deadline);
  // Those that have not ended and have these labels, in no order.
  asio::awaitable<std::vector<SandboxRecord>> list(Labels filter, Deadline deadline);
  // Error(not_found) for one that Modal does not know.
  asio::awaitable<Labels> labels(std::string id, Deadline deadline);
  // Nothing while it lives. Waits up to `patience` for its end.
  asio::awaitable<std::optional<SandboxEnd>> end_of(std::string id, std::chrono::seconds patience,
                                                    Deadline deadline);
  asio::awaitable<void> terminate(std::string id, Deadline deadline);

  // Where the port is that was asked for when it was made. Waits for it.
  asio::awaitable<Endpoint> port(std::string id, std::uint16_t port, Deadline deadline);
  asio::awaitable<ConnectToken> connect_token(std::string id, std::uint16_t port, Deadline deadline);
  // The worker that runs it; waits until there is one. `task_id`, `access`: where they are known.
  asio::awaitable<std::shared_ptr<TaskRouter>> router(std::string id, std::string task_id,
                                                      std::shared_ptr<const RouterAccess> access,
                                                      Deadline deadline);

 private:
  // Nothing if there is none and none is to be made.
  asio::awaitable<std::optional<std::string>> app(bool create, Deadline deadline);
  asio::awaitable<std::string> builder_version(Deadline deadline);
  asio::awaitable<std::string> build(std::string name, Progress progress, Deadline deadline);
  asio::awaitable<std::string> secret(std::map<std::string, std::string> environment, std::string app,
                                      Deadline deadline);
  asio::awaitable<std::string> task_of(std::string id, Deadline deadline);
  // A call that concerns no certain sandbox: to the second back end, if there is one.
  asio::awaitable<json::object> call_newest(ModalCall call);
  // Nothing where there is no such call.
  asio::awaitable<std::optional<json::object>> try_call(ModalCall call);
  static asio::awaitable<std::shared_ptr<const RouterAccess>> access_to(std::shared_ptr<ControlPlane> control,
                                                                        std::string id, std::string task_id);
  [[nodiscard]] static Endpoint address_of(const std::string& url);
  [[nodiscard]] static std::optional<Endpoint> port_in(const json::object& message, std::uint16_t port);

  const std::shared_ptr<ControlPlane> control_;

  std::mutex mutex_;
  // Guarded by mutex_; they hardly change.
  std::optional<std::string> app_;
  std::optional<std::string> builder_version_;
  std::map<std::string, std::string> images_;  // ids, by name
};

}  // namespace sandkey::modal
