// The programs that belong to Sandkey, found from wherever this process was started.
#pragma once

#include "sandkey/base/engine.h"

#include <filesystem>
#include <string_view>

namespace sandkey {

// The path of `name` ("sandkey-agent"): in the folder $SANDKEY_PROGRAM_DIR, if that is set; else beside our
// own executable or in ../libexec/sandkey of it; else where Sandkey was installed. Throws Error(unsupported)
// naming where it looked.
[[nodiscard]] std::filesystem::path find_own_program(const Engine& engine, std::string_view name);

// The same for a file that only needs to be read ("sandkey-agent.gz").
[[nodiscard]] std::filesystem::path find_own_file(const Engine& engine, std::string_view name);

}  // namespace sandkey
