#include "sandkey/providers/registry.h"

#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"

#include <utility>

namespace sandkey {

const ProviderEntry& find_provider(std::string_view name) {
  std::string known;
  for (const ProviderEntry& entry : providers()) {
    if (entry.name == name) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error(ErrorCode::invalid_argument,
              "choosing a provider: '" + std::string(name) + "' is not known; there are: " + known);
}

std::vector<ConfigField> provider_fields() {
  std::vector<ConfigField> all;
  for (const ProviderEntry& entry : providers()) {
    if (!entry.cloud) continue;
    const std::vector<ConfigField> fields = config_fields(entry.cloud->credential_spec());
    all.insert(all.end(), fields.begin(), fields.end());
  }
  return all;
}

asio::awaitable<std::shared_ptr<Provider>> async_make_provider(Engine& engine, OpenHandsConfig config) {
  const ProviderEntry& entry = find_provider(config.runtime);
  co_return co_await async_authenticate(engine, entry, std::move(config));
}

std::shared_ptr<Provider> make_provider(Engine& engine, const OpenHandsConfig& config) {
  return engine.wait(async_make_provider(engine, config));
}

asio::awaitable<std::unique_ptr<ActionExecutionClient>> async_make_runtime(
    Engine& engine, OpenHandsConfig config, std::shared_ptr<EventStream> event_stream, std::string sid,
    RuntimeOptions options) {
  std::shared_ptr<Provider> provider = co_await async_make_provider(engine, config);
  options = co_await run_blocking([&] { return with_user_ledger(engine, std::move(options)); });
  co_return std::make_unique<ActionExecutionClient>(
      engine, std::move(provider), config, std::move(event_stream), std::move(sid), std::move(options));
}

std::unique_ptr<ActionExecutionClient> make_runtime(Engine& engine, const OpenHandsConfig& config,
                                                    std::shared_ptr<EventStream> event_stream,
                                                    std::string sid, RuntimeOptions options) {
  return engine.wait(
      async_make_runtime(engine, config, std::move(event_stream), std::move(sid), std::move(options)));
}

}  // namespace sandkey
