// Daytona's key, or token and organization, and the file its command line keeps them in.
#pragma once

#include "sandkey/credentials/credential_spec.h"

namespace sandkey::daytona {

[[nodiscard]] const CredentialSpec& credential_spec();

// config.json of the Daytona CLI: its active profile.
[[nodiscard]] Offer parse_cli_file(std::string_view bytes, const Environment& environment,
                                   std::chrono::system_clock::time_point now);

}  // namespace sandkey::daytona
