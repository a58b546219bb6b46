// The versions of files that `undo_edit` goes back to.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <string_view>

namespace sandkey::agent::files {

// The oldest versions are forgotten first when a limit is passed. A single version larger than
// kMaxHistoryBytes is not kept, nor are those of the same file before it.
inline constexpr std::size_t kMaxVersionsPerFile = 10;
inline constexpr std::size_t kMaxVersions = 1000;                    // of all files together
inline constexpr std::size_t kMaxHistoryBytes = 32UL * 1024 * 1024;  // of all files together

class EditHistory {
 public:
  void push(std::string path, std::string bytes);
  // The latest version of that file, or null. Valid until the next push or pop.
  [[nodiscard]] const std::string* latest(std::string_view path) const noexcept;
  void pop(std::string_view path);

 private:
  struct Version {
    std::string path;
    std::string bytes;
  };
  [[nodiscard]] static std::size_t cost(const Version& version) noexcept {
    return version.path.size() + version.bytes.size();
  }
  void forget(std::list<Version>::const_iterator version);
  [[nodiscard]] std::list<Version>::const_iterator find_latest(std::string_view path) const noexcept;

  std::list<Version> versions_;  // oldest first
  std::size_t bytes_ = 0;
};

}  // namespace sandkey::agent::files
