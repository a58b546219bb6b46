// Runloop's key, and what devboxes are to be of whoever has it. Its command line keeps no file that is
// documented.
#pragma once

#include "sandkey/credentials/credential_spec.h"

namespace sandkey::runloop {

[[nodiscard]] const CredentialSpec& credential_spec();

}  // namespace sandkey::runloop
