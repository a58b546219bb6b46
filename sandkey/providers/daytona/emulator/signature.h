// Signed URLs of files: who has one may read or write one path, without a credential.
#pragma once

#include <string>
#include <string_view>

namespace sandkey::daytona::emulator {

// "v1_" and base64url of the HMAC-SHA256, by the sandbox's signing key, of what the URL asks for. `path` is
// decoded; `expires` is in seconds since 1970, as it stands in the URL; "0" never.
[[nodiscard]] std::string file_signature(std::string_view key, std::string_view method, std::string_view path,
                                         std::string_view expires);

}  // namespace sandkey::daytona::emulator
