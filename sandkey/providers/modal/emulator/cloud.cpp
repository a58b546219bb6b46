#include "sandkey/base/error.h"
#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/access.h"
#include "sandkey/providers/modal/emulator/command_router.h"
#include "sandkey/providers/modal/emulator/control_plane.h"
#include "sandkey/providers/modal/emulator/emulator.h"
#include "sandkey/providers/modal/emulator/fleet.h"
#include "sandkey/providers/modal/emulator/tunnels.h"

#include <boost/json/serialize.hpp>

#include <optional>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

constexpr std::string_view kUnknownMethod = "(unknown)";

class ModalCloud final : public emu::Cloud {
 public:
  explicit ModalCloud(emu::World& world)
      : world_(world),
        accounts_(
            {std::string(kWrongSecret), std::string(kSwapped), std::string(kRestricted),
             std::string(kOldClient), std::string(kRateLimited)},
            [&](std::string_view name) { return make_key(world.engine, name); }, world.secrets),
        auth_tokens_(world.engine, world.clock, world.secrets, "auth token"),
        router_tokens_(world.engine, world.clock, world.secrets, "router token"),
        apps_(world.engine, world.clock),
        secrets_(world.engine, world.clock),
        images_(world.engine),
        tunnels_(world, world.engine.executor()),
        fleet_(world, world.engine.executor(), images_, tunnels_),
        control_(parts(), methods_),
        router_(parts(), methods_) {}

  void serve_at(const emu::Addresses& addresses) override {
    control_.serve_at(addresses);
    tunnels_.serve_at(addresses);
  }

  const emu::Accounts& accounts() const noexcept override { return accounts_; }

  emu::Variables variables(const emu::Addresses& addresses) const override {
    const std::string& key = accounts_.named("valid").key;
    const std::size_t colon = key.find(':');
    return {{"MODAL_TOKEN_ID", key.substr(0, colon)},
            {"MODAL_TOKEN_SECRET", key.substr(colon + 1)},
            {"MODAL_SERVER_URL", addresses.http}};
  }

  std::vector<std::string> routes() const override {
    std::vector<std::string> names = methods_.routes();
    names.emplace_back("tunnel");
    return names;
  }

  emu::Call route(const net::HttpExchange& exchange) override {
    if (auto call = tunnels_.route(exchange)) return std::move(*call);
    const std::optional<grpc::Methods::Match> match = methods_.find(exchange.path());
    const grpc::Methods::Handler* handler = match ? match->handler : nullptr;
    return {.route = match ? match->route : std::string(kUnknownMethod),
            .run = [this, handler](net::HttpExchange& other) { return serve(other, handler); }};
  }

  std::string credential(const net::HttpExchange& exchange) const override {
    const std::string_view id = exchange.header("x-modal-token-id");
    if (id.empty()) return std::string(exchange.header("authorization"));
    return std::string(id) + " " + std::string(exchange.header("x-modal-token-secret"));
  }

  std::string error_body(int status, const std::string& message) const override {
    json::object object;
    object["status"] = status;
    object["message"] = message;
    return json::serialize(object);
  }

  asio::awaitable<void> refuse(net::HttpExchange& exchange, int status, std::string message) const override {
    if (!is_grpc(exchange)) {
      co_await Cloud::refuse(exchange, status, std::move(message));
      co_return;
    }
    grpc::CallError error(grpc::from_http(status), message);
    co_await fail(exchange, std::move(error));
  }

  asio::awaitable<void> fail_call(net::HttpExchange& exchange, emu::CallFailure failure) const override {
    const auto code = static_cast<grpc::Code>(failure.status);
    grpc::CallError error = failure.retry_after ? come_back(code, failure.message, *failure.retry_after)
                                                : grpc::CallError(code, failure.message);
    co_await fail(exchange, std::move(error));
  }

  std::string readable_body(const std::string& route, std::string body) const override {
    return methods_.to_json_lines(route, body);
  }

  json::object settings() const override { return settings_.to_json(); }
  void change_settings(const json::object& wanted) override { settings_.change(wanted); }

  std::vector<emu::SandboxRecord> sandboxes() const override {
    std::vector<emu::SandboxRecord> records;
    for (const SandboxPtr& each : fleet_.all()) {
      records.push_back({.id = each->id,
                         .state = "running",
                         .metadata = each->tags,
                         .account = each->account,
                         .created = each->created,
                         .ends = each->ends});
    }
    return records;
  }

  asio::awaitable<bool> fail(std::string id) override { return fleet_.fail(std::move(id)); }
  asio::awaitable<void> close() override { return fleet_.close(); }

 private:
  Parts parts() {
    return {.world = world_,
            .accounts = accounts_,
            .settings = settings_,
            .auth_tokens = auth_tokens_,
            .router_tokens = router_tokens_,
            .apps = apps_,
            .secrets = secrets_,
            .images = images_,
            .tunnels = tunnels_,
            .fleet = fleet_};
  }

  static bool is_grpc(const net::HttpExchange& exchange) {
    return exchange.header("content-type").starts_with("application/grpc");
  }

  // Several would be separated by commas, so one must have none.
  void add_warning(grpc::Call& call) const {
    if (settings_.warning.empty()) return;
    std::string text = grpc::encode_status_message(settings_.warning);
    for (std::size_t at = 0; (at = text.find(',', at)) != std::string::npos;) text.replace(at, 1, "%2C");
    call.add_trailer("x-modal-warning", std::move(text));
  }

  asio::awaitable<void> fail(net::HttpExchange& exchange, grpc::CallError error) const {
    grpc::Call call(world_.engine, exchange);
    add_warning(call);
    co_await call.fail(std::move(error));
  }

  // A null handler: there is no such method.
  asio::awaitable<void> serve(net::HttpExchange& exchange, const grpc::Methods::Handler* handler) {
    if (!is_grpc(exchange) || exchange.method() != "POST") {
      co_await Cloud::refuse(exchange, 404, "There is nothing here but gRPC.");
      co_return;
    }
    grpc::Call call(world_.engine, exchange);
    add_warning(call);
    std::optional<grpc::CallError> failure;
    try {
      if (handler == nullptr)
        throw grpc::CallError(grpc::Code::unimplemented, "Method not found: " + exchange.path());
      co_await (*handler)(call);
    } catch (const grpc::CallError& error) {
      failure = error;
    } catch (const Error& error) {
      failure.emplace(grpc::Code::internal, std::string("the emulator failed: ") + error.what());
    }
    if (failure) co_await call.fail(*failure);
  }

  emu::World& world_;
  emu::Accounts accounts_;
  Settings settings_;
  Tokens auth_tokens_;
  Tokens router_tokens_;
  Apps apps_;
  Secrets secrets_;
  Images images_;
  Tunnels tunnels_;
  Fleet fleet_;
  grpc::Methods methods_;
  ControlPlane control_;
  CommandRouter router_;
};

}  // namespace

emu::Mask mask() {
  return {.prefixes = {"MODAL_"}, .files = {"MODAL_CONFIG_PATH"}, .folders = {}};
}

std::unique_ptr<emu::Cloud> make(emu::World& world) {
  return std::make_unique<ModalCloud>(world);
}

}  // namespace sandkey::modal::emulator
