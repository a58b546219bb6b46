// Where Sandkey keeps what must outlive a process.
#pragma once

#include "sandkey/base/engine.h"

#include <filesystem>

namespace sandkey {

// $SANDKEY_STATE_DIR, else $XDG_STATE_HOME/sandkey, else $HOME/.local/state/sandkey; absolute. A variable
// that is empty counts as not set. Throws Error(invalid_argument) where the variable is not an absolute path,
// or none of them is set.
[[nodiscard]] std::filesystem::path state_folder(Engine& engine);

// The same, made if missing, and known to be ours, private and writable. Throws Error saying what is wrong
// with it.
[[nodiscard]] std::filesystem::path require_state_folder(Engine& engine);

// Makes what is missing of the path, every folder for its owner only (0700). One that exists stays as it is.
// Throws Error naming the folder that could not be made.
void make_private_folders(const std::filesystem::path& folder);

}  // namespace sandkey
