// The runtime whose sandbox is at Runloop.
#pragma once

#include "sandkey/providers/runloop/provider.h"
#include "sandkey/runtime/action_execution_client.h"

#include <memory>
#include <string>
#include <utility>

namespace sandkey {

class RunloopRuntime final : public ActionExecutionClient {
 public:
  // Throws AuthenticationError where the key is missing, malformed or refused; nothing is created before
  // connect().
  RunloopRuntime(Engine& engine, const OpenHandsConfig& config, std::shared_ptr<EventStream> event_stream,
                 std::string sid = "default", RuntimeOptions options = {})
      : ActionExecutionClient(engine, authenticate(engine, runloop::kEntry, config), config,
                              std::move(event_stream), std::move(sid),
                              with_user_ledger(engine, std::move(options))) {}
};

}  // namespace sandkey
