// What the contract suite has to be told of a provider; all else it learns from the provider itself.
//
// `inline const contract::Facts kContract` of namespace sandkey::NAME, in sandkey/providers/NAME/contract.h.
#pragma once

#include "sandkey/base/error.h"

#include <string_view>
#include <vector>

namespace sandkey::contract {

// As the emulator's journal and its faults name them: "POST /v2/sandboxes", "ModalClient/SandboxCreateV2".
struct Routes {
  // Prove that a key is accepted, and change nothing: the usual one, then those that may be asked besides.
  std::vector<std::string_view> probes = {};
  std::string_view create = {};  // makes a sandbox
  bool grpc = false;             // statuses are gRPC's, not those of HTTP
};

// One of the emulator's accounts with which something is wrong.
struct BadAccount {
  std::string_view name;  // "revoked"
  ErrorCode code;
};

struct Facts {
  Routes routes = {};                          // none where there is no account
  std::vector<BadAccount> refused = {};        // when a runtime is made
  std::vector<BadAccount> cannot_create = {};  // accepted then, but refused a sandbox by connect()
  // What SandboxIntent::image may say. Empty: there is none besides the default.
  std::string_view image = {};
  std::string_view missing_image = {};
};

}  // namespace sandkey::contract
