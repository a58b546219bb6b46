#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/control_plane.h"
#include "sandkey/providers/daytona/emulator/data_plane.h"
#include "sandkey/providers/daytona/emulator/emulator.h"
#include "sandkey/providers/daytona/emulator/fleet.h"
#include "sandkey/providers/daytona/emulator/identity.h"
#include "sandkey/providers/daytona/emulator/knobs.h"
#include "sandkey/providers/daytona/emulator/snapshots.h"
#include "sandkey/providers/daytona/emulator/volumes.h"

#include <utility>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;

class DaytonaCloud final : public emu::Cloud {
 public:
  explicit DaytonaCloud(emu::World& world)
      : clock_(world.clock),
        accounts_(
            other_accounts(), [&](std::string_view name) { return make_key(world.engine, name); },
            world.secrets),
        directory_(world.engine, accounts_, world.clock.now()),
        snapshots_(world.engine, world.clock.now()),
        volumes_(world.engine),
        fleet_(world, world.engine.executor(), knobs_, snapshots_),
        control_(world, knobs_, directory_, snapshots_, volumes_, fleet_),
        data_(world, world.engine.executor(), directory_, fleet_) {}

  // Ports are reached by HTTP: their names are below .localhost, and a client that finds them there need not
  // know our authority too.
  void serve_at(const emu::Addresses& addresses) override {
    const std::string name = addresses.domain.substr(0, addresses.domain.rfind(':'));
    const Places places{.http = addresses.http,
                        .domain = name + addresses.http.substr(addresses.http.rfind(':'))};
    fleet_.serve_at(addresses.http + "/toolbox");
    control_.serve_at(places);
    data_.serve_at(places);
  }

  const emu::Accounts& accounts() const noexcept override { return accounts_; }

  emu::Variables variables(const emu::Addresses& addresses) const override {
    return {{"DAYTONA_API_KEY", accounts_.named("valid").key}, {"DAYTONA_API_URL", addresses.http + "/api"}};
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
    return std::string(bearer_of(exchange));
  }

  std::string error_body(int status, const std::string& message) const override {
    return to_body(ApiError(status, message), "", clock_.now());
  }

  std::vector<emu::SandboxRecord> sandboxes() const override {
    std::vector<emu::SandboxRecord> records;
    for (const SandboxPtr& each : fleet_.all()) {
      records.push_back({.id = each->id,
                         .state = std::string(shown_state(each->state, each->desired)),
                         .metadata = each->request.labels,
                         .account = each->account,
                         .created = each->created,
                         .ends = each->created + std::chrono::minutes(each->request.ttl)});
    }
    return records;
  }

  json::object settings() const override { return to_json(knobs_); }
  void change_settings(const json::object& settings) override {
    knobs_ = changed(knobs_, settings);
    fleet_.lists().set_delay(knobs_.list_delay);
  }

  asio::awaitable<bool> fail(std::string id) override { return fleet_.fail(std::move(id)); }
  asio::awaitable<void> close() override { return fleet_.close(); }

 private:
  emu::Clock& clock_;
  Knobs knobs_;
  emu::Accounts accounts_;
  Directory directory_;
  Snapshots snapshots_;
  Volumes volumes_;
  Fleet fleet_;
  ControlPlane control_;
  DataPlane data_;
};

}  // namespace

emu::Mask mask() {
  return {.prefixes = {"DAYTONA_"}, .files = {}, .folders = {"DAYTONA_CONFIG_DIR"}};
}

std::unique_ptr<emu::Cloud> make(emu::World& world) {
  return std::make_unique<DaytonaCloud>(world);
}

}  // namespace sandkey::daytona::emulator
