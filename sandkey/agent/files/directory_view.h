// What the editor shows of a directory.
#pragma once

#include <cstddef>
#include <string>

namespace sandkey::agent::files {

struct DirectoryView {
  std::string text;
  std::string
      error;  // not empty: a directory that should be shown cannot be read; one line for each, as find's
};

// The sorted paths up to two levels deep without hidden ones, each directory with a slash, symlinks followed
// but never in a circle; and how many hidden entries there are on the first level. Cut off after
// `max_characters` of paths; memory stays within a small multiple of that however large the directory is.
[[nodiscard]] DirectoryView view_directory(const std::string& path, std::size_t max_characters);

}  // namespace sandkey::agent::files
