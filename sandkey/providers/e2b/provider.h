// E2B as the registry knows it.
#pragma once

#include "sandkey/providers/e2b/account.h"
#include "sandkey/providers/e2b/credential_spec.h"
#include "sandkey/providers/provider_entry.h"

namespace sandkey::e2b {

inline constexpr ProviderEntry kEntry{
    .name = "e2b",
    .summary = "E2B: https://e2b.dev",
    .cloud = Cloud{.credential_spec = &credential_spec, .authenticate = &authenticate}};

}  // namespace sandkey::e2b
