// Modal's pair of token id and secret, and the file its command line keeps them in.
#pragma once

#include "sandkey/credentials/credential_spec.h"

namespace sandkey::modal {

[[nodiscard]] const CredentialSpec& credential_spec();

// ~/.modal.toml: the profile that $MODAL_PROFILE names, else the active one, else "default".
[[nodiscard]] Offer parse_cli_file(std::string_view bytes, const Environment& environment,
                                   std::chrono::system_clock::time_point now);

}  // namespace sandkey::modal
