// Daytona as the registry knows it.
#pragma once

#include "sandkey/providers/daytona/account.h"
#include "sandkey/providers/daytona/credential_spec.h"
#include "sandkey/providers/provider_entry.h"

namespace sandkey::daytona {

inline constexpr ProviderEntry kEntry{
    .name = "daytona",
    .summary = "Daytona: https://www.daytona.io",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate}};

}  // namespace sandkey::daytona
