// Paths and permissions as text.
#pragma once

#include "sandkey/runtime/agent_client.h"

#include <string>
#include <string_view>

namespace sandkey::machine {

// The last component, as for a file's name: "/" for the root, "." for nothing.
[[nodiscard]] std::string base_name(std::string_view path);
[[nodiscard]] std::string parent_of(std::string_view path);
// Without "." and "..", and without a '/' at its end; a relative one is within the folder.
[[nodiscard]] std::string absolute_path(std::string_view path, std::string_view folder);

// A mode as Go writes it: "-rw-r--r--", "drwxr-xr-x", "Lrwxrwxrwx", with 'u', 'g' and 't' in front for the
// special bits.
[[nodiscard]] std::string go_permissions(RemoteEntry::Type type, unsigned mode);

}  // namespace sandkey::machine
