// Runloop as the registry knows it.
#pragma once

#include "sandkey/providers/provider_entry.h"
#include "sandkey/providers/runloop/account.h"
#include "sandkey/providers/runloop/credential_spec.h"

namespace sandkey::runloop {

inline constexpr ProviderEntry kEntry{
    .name = "runloop",
    .summary = "Runloop: https://runloop.ai",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate}};

}  // namespace sandkey::runloop
