#include "sandkey/providers/e2b/emulator/api_error.h"
#include "sandkey/providers/e2b/emulator/api_key.h"
#include "sandkey/providers/e2b/emulator/control_plane.h"
#include "sandkey/providers/e2b/emulator/data_plane.h"
#include "sandkey/providers/e2b/emulator/emulator.h"
#include "sandkey/providers/e2b/emulator/fleet.h"
#include "sandkey/providers/e2b/emulator/templates.h"

#include <utility>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;

class E2bCloud final : public emu::Cloud {
 public:
  explicit E2bCloud(emu::World& world)
      : accounts_(
            {std::string(kBanned), std::string(kBlocked), std::string(kNotHex)},
            [&](std::string_view name) { return make_key(world.engine, name); }, world.secrets),
        templates_(world.engine, world.clock.now()),
        fleet_(world, world.engine.executor()),
        control_(world, accounts_, templates_, fleet_),
        data_(world, world.engine.executor(), fleet_) {}

  const emu::Accounts& accounts() const noexcept override { return accounts_; }

  emu::Variables variables(const emu::Addresses& addresses) const override {
    return {{"E2B_API_KEY", accounts_.named("valid").key},
            {"E2B_API_URL", addresses.http},
            {"E2B_SANDBOX_URL", addresses.http},
            {"E2B_DOMAIN", addresses.domain}};
  }

  std::vector<std::string> routes() const override {
    std::vector<std::string> names = control_.routes();
    for (std::string& name : DataPlane::routes()) names.push_back(std::move(name));
    return names;
  }

  emu::Call route(const net::HttpExchange& exchange) override {
    if (auto call = data_.route(exchange)) return std::move(*call);
    return control_.route(exchange);
  }

  std::string credential(const net::HttpExchange& exchange) const override {
    const std::string_view key = exchange.header("x-api-key");
    return std::string(key.empty() ? exchange.header("x-access-token") : key);
  }

  std::string error_body(int status, const std::string& message) const override {
    return to_body(ApiError(status, message));
  }

  std::vector<emu::SandboxRecord> sandboxes() const override {
    std::vector<emu::SandboxRecord> records;
    for (const SandboxPtr& each : fleet_.all()) {
      records.push_back({.id = each->id,
                         .state = std::string(to_string(each->state)),
                         .metadata = each->request.metadata,
                         .account = each->account,
                         .created = each->started,
                         .ends = each->ends});
    }
    return records;
  }

  asio::awaitable<bool> fail(std::string id) override { return fleet_.fail(std::move(id)); }
  asio::awaitable<void> close() override { return fleet_.close(); }

 private:
  emu::Accounts accounts_;
  Templates templates_;
  Fleet fleet_;
  ControlPlane control_;
  DataPlane data_;
};

}  // namespace

emu::Mask mask() {
  return {.prefixes = {"E2B_"}, .files = {}, .folders = {}};
}

std::unique_ptr<emu::Cloud> make(emu::World& world) {
  return std::make_unique<E2bCloud>(world);
}

}  // namespace sandkey::e2b::emulator
