// All sandboxes of the emulated cloud, what may be done to them in which state, and what happens to them by
// itself.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/providers/daytona/emulator/identity.h"
#include "sandkey/providers/daytona/emulator/knobs.h"
#include "sandkey/providers/daytona/emulator/listing.h"
#include "sandkey/providers/daytona/emulator/requests.h"
#include "sandkey/providers/daytona/emulator/sandbox.h"
#include "sandkey/providers/daytona/emulator/snapshots.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sandkey::daytona::emulator {

// Everything throws ApiError as the cloud answers it. What takes time in the cloud goes on after the answer;
// create and start wait for it.
class Fleet {
 public:
  // All must outlive it.
  Fleet(sandkey::emulator::World& world, asio::any_io_executor executor, const Knobs& knobs,
        Snapshots& snapshots);

  // Where toolboxes are reached; told once.
  void serve_at(std::string toolbox_url) { toolbox_url_ = std::move(toolbox_url); }
  [[nodiscard]] const std::string& toolbox_url() const noexcept { return toolbox_url_; }

  // What create answers: the sandbox as it was seen before or after it was waited for.
  asio::awaitable<json::object> create(Caller caller, CreateRequest request);
  asio::awaitable<void> start(SandboxPtr sandbox);
  // The way up from an error; `then_start` or it stays stopped.
  asio::awaitable<void> recover(SandboxPtr sandbox, bool then_start);
  void stop(const SandboxPtr& sandbox);
  void archive(const SandboxPtr& sandbox);
  void resize(const SandboxPtr& sandbox, const SizeChange& change);
  void remove(const SandboxPtr& sandbox);
  // Its files become a snapshot of that name.
  void snapshot(const SandboxPtr& sandbox, std::string name);

  // Something about it is another: lists are told, and what happens by itself is reckoned again.
  void changed(const SandboxPtr& sandbox);
  // It was used.
  void touch(const SandboxPtr& sandbox);
  // From outside, for as long as it lives; `keeps_awake` ones are use all the time.
  class Passing {
   public:
    Passing(Fleet& fleet, SandboxPtr sandbox, net::HttpExchange& exchange, bool keeps_awake);
    ~Passing();
    Passing(const Passing&) = delete;
    Passing& operator=(const Passing&) = delete;

   private:
    Fleet& fleet_;
    SandboxPtr sandbox_;
    net::HttpExchange& exchange_;
    bool keeps_awake_;
  };

  // By id, and by name where that is allowed. Throws ApiError(404) for what that organization does not have.
  [[nodiscard]] SandboxPtr get(const std::string& organization, const std::string& id_or_name) const;
  [[nodiscard]] SandboxPtr get_by_id(const std::string& organization, const std::string& id) const;
  // For traffic, which proves itself in other ways; null if there is none.
  [[nodiscard]] SandboxPtr find(const std::string& id) const noexcept;
  [[nodiscard]] SandboxPtr find_signed(const std::string& token, std::uint16_t port) const;
  [[nodiscard]] std::vector<SandboxPtr> all() const;
  [[nodiscard]] ListIndex& lists() noexcept { return lists_; }

  // Its machine is lost, and it with it. False if there is none of that id.
  asio::awaitable<bool> fail(std::string id);
  // All end.
  asio::awaitable<void> close();

 private:
  using Work = std::function<asio::awaitable<void>()>;

  void require_room(const std::string& organization, const Sizes& wanted) const;
  [[nodiscard]] SandboxPtr make(const Caller& caller, CreateRequest request);
  void begin(const SandboxPtr& sandbox, State desired);
  asio::awaitable<void> perform(SandboxPtr sandbox, Work work, std::chrono::milliseconds at_least = {});
  asio::awaitable<void> finish(SandboxPtr sandbox, Work work);
  asio::awaitable<void> first_boot(SandboxPtr sandbox);
  asio::awaitable<void> boot(SandboxPtr sandbox);
  void add_toolbox(const Sandbox& sandbox, Machine& machine);
  asio::awaitable<void> end(std::shared_ptr<Machine> machine);
  asio::awaitable<void> build(SandboxPtr sandbox);
  asio::awaitable<void> halt(SandboxPtr sandbox);
  asio::awaitable<void> put_away(SandboxPtr sandbox);
  asio::awaitable<void> set_sizes(SandboxPtr sandbox, State back, Sizes sizes);
  asio::awaitable<void> copy(SandboxPtr sandbox, State back, std::string name);
  asio::awaitable<void> destroy(SandboxPtr sandbox);
  void leave(Sandbox& sandbox);
  void renew_token(Sandbox& sandbox);
  [[nodiscard]] Work begin_stop(const SandboxPtr& sandbox);
  [[nodiscard]] Work begin_archive(const SandboxPtr& sandbox);
  [[nodiscard]] Work begin_remove(const SandboxPtr& sandbox);
  asio::awaitable<void> act(std::weak_ptr<Sandbox> weak);
  void schedule(const SandboxPtr& sandbox);
  [[nodiscard]] std::filesystem::path new_folder();

  sandkey::emulator::World& world_;
  asio::any_io_executor executor_;
  const Knobs& knobs_;
  Snapshots& snapshots_;
  std::string toolbox_url_;
  std::map<std::string, SandboxPtr> sandboxes_;
  ListIndex lists_;
  std::size_t folders_ = 0;
  TaskGroup tasks_;
};

}  // namespace sandkey::daytona::emulator
