// The runtime whose sandbox is at Modal.
#pragma once

#include "sandkey/providers/modal/provider.h"
#include "sandkey/runtime/action_execution_client.h"

#include <memory>
#include <string>
#include <utility>

namespace sandkey {

class ModalRuntime final : public ActionExecutionClient {
 public:
  // Throws AuthenticationError where the token is missing, malformed or refused, and Error(unsupported) where
  // the module with gRPC is not installed; nothing is created before connect().
  ModalRuntime(Engine& engine, const OpenHandsConfig& config, std::shared_ptr<EventStream> event_stream,
               std::string sid = "default", RuntimeOptions options = {})
      : ActionExecutionClient(engine, authenticate(engine, modal::kEntry, config), config,
                              std::move(event_stream), std::move(sid),
                              with_user_ledger(engine, std::move(options))) {}
};

}  // namespace sandkey
