// Whether this machine can make sandboxes, and a particular one, before anything is started.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/sandbox/sandbox.h"

#include <cstddef>
#include <filesystem>
#include <string>

namespace sandkey::sandbox {

// bubblewrap's path. Throws Error(unsupported) with what to install.
[[nodiscard]] std::string find_bubblewrap(const Engine& engine);

// `proc_sys` is /proc/sys; tests have their own. Throws Error(unsupported).
void require_user_namespaces(const std::filesystem::path& proc_sys = "/proc/sys");

// Makes the folder if it is missing. Throws Error when it is not ours alone, not writable or full, or when
// its path is too long for the sockets of sandboxes whose ids have that size.
void require_private_folder(const std::filesystem::path& folder, std::size_t id_size);

void require_valid(const Spec& spec, const std::filesystem::path& folder);

}  // namespace sandkey::sandbox
