// Whole files in and out by descriptor, with errno instead of exceptions. Nothing here waits: what is not a
// regular file is recognised before it is read, so that a pipe or a terminal cannot hang the agent.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey::agent::files {

// What stands at a path, symlinks followed.
struct PathState {
  bool exists = false;
  bool is_directory = false;
  bool is_regular = false;
  unsigned long long size = 0;
  int error_number = 0;  // why that cannot be told; 0 if it can, even when nothing is there
};

[[nodiscard]] PathState look_at(const std::string& path);

// Never blocks in opening, never becomes the controlling terminal, is closed on exec. On failure errno is set
// (EINVAL for a path with a zero byte in it).
[[nodiscard]] UniqueFd open_file(const std::string& path, int flags, unsigned mode = 0);

struct FileBytes {
  std::string bytes;
  int error_number = 0;    // ENODEV if it is neither a file nor a directory, EISDIR if a directory
  bool is_larger = false;  // there is more than was asked for
};

// At most `limit` bytes from the beginning.
[[nodiscard]] FileBytes read_bytes(const std::string& path, std::size_t limit);
[[nodiscard]] FileBytes read_bytes(int fd, std::size_t limit);

// Makes `bytes` the contents of the regular file `fd` (opened for reading and writing) and returns errno or
// 0.
//
// In place rather than by a new file renamed over it: inode, owner, mode, attributes, hard links, symlinks
// and bind mounts all stay, and the directory need not be writable. A full disk must not cost the old
// contents, so the part beyond the old end is written first, where nothing is lost by taking it back; only
// then is the old part, whose blocks are there already, overwritten. Where even that fails (a copy-on-write
// file system), the old bytes are put back. A reader at the same moment may see half of each; a crash of the
// machine may leave that.
[[nodiscard]] int replace_contents(int fd, std::string_view bytes);

// Takes away the file just made as `fd`, since it could not be filled, unless something else has its name by
// now.
void remove_new_file(int fd, const std::string& path) noexcept;

}  // namespace sandkey::agent::files
