// Files of the user's that are small by nature: settings and credentials.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>

namespace sandkey {

// What a file of settings may have at most.
inline constexpr std::size_t kMaxSettingsFile = 1 << 20;

struct SmallFile {
  enum class State { read, absent, unusable };
  State state = State::absent;
  std::string text = {};    // read
  std::string reason = {};  // unusable: "cannot be opened (Permission denied)"; never anything of its content
  uid_t owner = 0;          // read
  mode_t mode = 0;          // read: the permission bits
};

enum class Links { follow, refuse };

// Reads a regular file of at most `limit` bytes whole; anything else (a pipe, a folder, a larger file) is
// unusable, and never blocks. A file of which a folder is missing is absent. With Links::refuse a symbolic
// link in its place is unusable.
[[nodiscard]] SmallFile read_small_file(const std::filesystem::path& path,
                                        std::size_t limit = kMaxSettingsFile, Links links = Links::follow);

}  // namespace sandkey
