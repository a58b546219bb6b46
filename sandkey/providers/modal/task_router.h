// One sandbox through the worker that runs it: commands, their input and output.
//
// A command's id is ours, its output is read from an offset on and its input written at one. So every request
// may be sent again after a broken connection, and nothing is done, read or written twice.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/net/single_flight.h"
#include "sandkey/providers/modal/control_plane.h"
#include "sandkey/runtime/cloud_agent.h"

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::modal {

// Where the worker is, and what it lets us in with.
struct RouterAccess {
  std::string url = {};
  Secret token = {};
};
// Asks Modal for one. Holds what it needs.
using AccessSource = std::function<asio::awaitable<std::shared_ptr<const RouterAccess>>()>;

struct RouterCommand {
  std::vector<std::string> argv = {};
  std::map<std::string, std::string> environment = {};
  std::optional<std::string> input = std::nullopt;  // none: it is given none and no end of it
  std::string operation = {};                       // begins the message of an error
};

class TaskRouter : public std::enable_shared_from_this<TaskRouter> {
 public:
  // The most that is kept of a command's outputs together.
  static constexpr std::size_t kMaxOutput = std::size_t{16} << 20;

  // `first`: an access that is at hand.
  TaskRouter(std::shared_ptr<ControlPlane> control, std::string task_id,
             std::shared_ptr<const RouterAccess> first, AccessSource source);

  // Runs the command to its end. Throws Error(not_found) where the sandbox is gone, and Error(unavailable)
  // where nobody answers; an exit code is never an error. A signal's is 128 and its number.
  asio::awaitable<ShellResult> run(RouterCommand command, Deadline deadline);

 private:
  // A way to the worker that is open.
  struct Way {
    std::shared_ptr<const RouterAccess> access;
    GrpcChannel channel;
  };
  using SharedWay = std::shared_ptr<const Way>;
  struct Running;

  asio::awaitable<SharedWay> way(Deadline deadline, SharedWay refused = nullptr);
  static asio::awaitable<SharedWay> opened(std::shared_ptr<TaskRouter> self, SharedWay before);
  [[nodiscard]] Endpoint address_of(const std::string& url) const;

  asio::awaitable<json::object> call(GrpcCall call, std::string operation, Deadline deadline);
  asio::awaitable<void> follow(std::shared_ptr<Running> running, int descriptor, std::string* output,
                               Deadline deadline);
  asio::awaitable<void> feed(std::shared_ptr<Running> running, std::string input, Deadline deadline);
  asio::awaitable<int> exit_code(std::shared_ptr<Running> running, Deadline deadline);

  [[nodiscard]] Error error(const std::string& operation, const GrpcStatus& status, const Way* way) const;

  Engine& engine_;
  const std::shared_ptr<ControlPlane> control_;
  const std::string task_id_;
  const AccessSource source_;
  SingleFlight<SharedWay> opening_;

  std::mutex mutex_;
  std::shared_ptr<const RouterAccess> first_;  // guarded by mutex_, like the way
  SharedWay way_;
};

}  // namespace sandkey::modal
