#include "sandkey/providers/runloop/emulator/api.h"
#include "sandkey/providers/runloop/emulator/api_error.h"
#include "sandkey/providers/runloop/emulator/api_key.h"
#include "sandkey/providers/runloop/emulator/command_routes.h"
#include "sandkey/providers/runloop/emulator/devbox_routes.h"
#include "sandkey/providers/runloop/emulator/emulator.h"
#include "sandkey/providers/runloop/emulator/file_routes.h"
#include "sandkey/providers/runloop/emulator/fleet.h"
#include "sandkey/providers/runloop/emulator/image_routes.h"
#include "sandkey/providers/runloop/emulator/images.h"
#include "sandkey/providers/runloop/emulator/tunnels.h"

#include <utility>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kBearer = "Bearer ";

class RunloopCloud final : public emu::Cloud {
 public:
  explicit RunloopCloud(emu::World& world)
      : accounts_(
            other_accounts(), [&](std::string_view name) { return make_key(world.engine, name); },
            world.secrets),
        images_(world.engine, world.clock.now()),
        fleet_(world, world.engine.executor(), images_),
        api_(accounts_),
        devbox_routes_(world, fleet_, api_),
        command_routes_(world, fleet_, api_),
        file_routes_(world, fleet_, api_),
        image_routes_(world, images_, fleet_, api_),
        tunnels_(world, world.engine.executor(), fleet_) {}

  const emu::Accounts& accounts() const noexcept override { return accounts_; }

  emu::Variables variables(const emu::Addresses& addresses) const override {
    return {{"RUNLOOP_API_KEY", accounts_.named("valid").key}, {"RUNLOOP_BASE_URL", addresses.http}};
  }

  std::vector<std::string> routes() const override {
    std::vector<std::string> names = api_.routes();
    names.emplace_back(Tunnels::kRoute);
    return names;
  }

  emu::Call route(const net::HttpExchange& exchange) override {
    if (auto call = tunnels_.route(exchange)) return std::move(*call);
    return api_.route(exchange);
  }

  std::string credential(const net::HttpExchange& exchange) const override {
    std::string_view value = exchange.header("authorization");
    if (value.starts_with(kBearer)) value.remove_prefix(kBearer.size());
    return std::string(value);
  }

  std::string error_body(int status, const std::string& message) const override {
    return to_body(ApiError(status, message, "error"));
  }

  std::vector<emu::SandboxRecord> sandboxes() const override {
    std::vector<emu::SandboxRecord> records;
    for (const DevboxPtr& each : fleet_.all()) {
      if (each->over()) continue;
      records.push_back({.id = each->id,
                         .state = std::string(to_string(each->status())),
                         .metadata = each->metadata,
                         .account = each->account,
                         .created = each->created,
                         .ends = each->ends()});
    }
    return records;
  }

  asio::awaitable<bool> fail(std::string id) override { return fleet_.fail(std::move(id)); }
  asio::awaitable<void> close() override { return fleet_.close(); }

 private:
  emu::Accounts accounts_;
  Images images_;
  Fleet fleet_;
  Api api_;
  DevboxRoutes devbox_routes_;
  CommandRoutes command_routes_;
  FileRoutes file_routes_;
  ImageRoutes image_routes_;
  Tunnels tunnels_;
};

}  // namespace

emu::Mask mask() {
  return {.prefixes = {"RUNLOOP_"}, .files = {}, .folders = {}};
}

std::unique_ptr<emu::Cloud> make(emu::World& world) {
  return std::make_unique<RunloopCloud>(world);
}

}  // namespace sandkey::runloop::emulator
