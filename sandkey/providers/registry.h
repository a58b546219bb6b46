// The providers this build knows, and the way to a runtime by name.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/config/openhands_config.h"
#include "sandkey/providers/provider_entry.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

class EventStream;

// In the order in which they were added.
[[nodiscard]] std::span<const ProviderEntry> providers() noexcept;
// Throws Error(invalid_argument) naming the known ones.
[[nodiscard]] const ProviderEntry& find_provider(std::string_view name);

// All fields of [core] in config.toml that a provider declares, for the loader.
[[nodiscard]] std::vector<ConfigField> provider_fields();

// The provider that config.runtime names, authenticated.
[[nodiscard]] std::shared_ptr<Provider> make_provider(Engine& engine, const OpenHandsConfig& config);
asio::awaitable<std::shared_ptr<Provider>> async_make_provider(Engine& engine, OpenHandsConfig config);

// A runtime on it, not connected yet. Arguments as of ActionExecutionClient. The blocking form must not be
// called on an engine thread; the other never blocks one.
[[nodiscard]] std::unique_ptr<ActionExecutionClient> make_runtime(
    Engine& engine, const OpenHandsConfig& config, std::shared_ptr<EventStream> event_stream = nullptr,
    std::string sid = "default", RuntimeOptions options = {});
asio::awaitable<std::unique_ptr<ActionExecutionClient>> async_make_runtime(
    Engine& engine, OpenHandsConfig config, std::shared_ptr<EventStream> event_stream = nullptr,
    std::string sid = "default", RuntimeOptions options = {});

}  // namespace sandkey
