// The runtime whose sandbox is on this machine.
#pragma once

#include "sandkey/providers/local/provider.h"
#include "sandkey/runtime/action_execution_client.h"

#include <memory>
#include <string>
#include <utility>

namespace sandkey {

class LocalRuntime final : public ActionExecutionClient {
 public:
  // Throws where this machine can make no sandboxes for us; starts nothing before connect().
  LocalRuntime(Engine& engine, const OpenHandsConfig& config, std::shared_ptr<EventStream> event_stream,
               std::string sid = "default", RuntimeOptions options = {})
      : ActionExecutionClient(engine, authenticate(engine, local::kEntry, config), config,
                              std::move(event_stream), std::move(sid),
                              with_user_ledger(engine, std::move(options))) {}
};

}  // namespace sandkey
