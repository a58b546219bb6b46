// E2B's key, and the file its command line keeps one in.
#pragma once

#include "sandkey/credentials/credential_spec.h"

namespace sandkey::e2b {

[[nodiscard]] const CredentialSpec& credential_spec();

// ~/.e2b/config.json as the E2B CLI writes it: version 2, version 1 and the one before versions.
[[nodiscard]] Offer parse_cli_file(std::string_view bytes, const Environment& environment,
                                   std::chrono::system_clock::time_point now);

}  // namespace sandkey::e2b
