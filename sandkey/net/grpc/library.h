// Loads gRPC modules; see module.h.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/grpc/module.h"

#include <string>

namespace sandkey {

// Loads the module the first time; blocks. Thread-safe. Throws Error(unsupported), which ends with
// `how_to_get`, where it is not installed or cannot be used.
[[nodiscard]] const grpc_module::Functions& load_grpc_module(const Engine& engine, const std::string& name,
                                                             const std::string& how_to_get);

}  // namespace sandkey
