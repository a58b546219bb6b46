// The cloud's key, and where it may be.
#pragma once

#include "sandkey/credentials/credential_spec.h"

namespace sandkey::example {

[[nodiscard]] const CredentialSpec& credential_spec();

}  // namespace sandkey::example
