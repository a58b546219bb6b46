// The one place that writes what an archive holds, and cannot be led out of its root. Internal.
#pragma once

#include "sandkey/base/archive/archive.h"
#include "sandkey/base/archive/stream.h"
#include "sandkey/base/unique_fd.h"

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::archive {

using Components = std::vector<std::string>;

// Splits an entry's name, leaving out empty components and ".". Throws for absolute names, "..", NUL bytes
// and names beyond the limits.
[[nodiscard]] Components split(std::string_view name);

// Every directory on the way to an entry is opened by one openat() with O_NOFOLLOW from the one above it, so
// no symbolic link, old or new, is ever followed, however the tree changes meanwhile.
class Destination {
 public:
  Destination(const std::filesystem::path& root, const ExtractOptions& options);
  ~Destination();
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;

  void directory(const Components& name, const Entry& entry);
  void symlink(const Components& name, const Entry& entry);
  void hard_link(const Components& name, const Components& target);
  // A file: begin, its bytes, commit. Until then it has a temporary name, which is removed if commit never
  // comes.
  void begin_file(const Components& name, const Entry& entry);
  // Refuses a file that will not fit before any of it is written.
  void expect(std::uint64_t bytes) const;
  void write(std::string_view bytes);
  void commit_file();
  // Modes and times of the directories made; writing below one would have changed or forbidden them.
  void finish();

  [[nodiscard]] const ExtractReport& report() const noexcept { return report_; }

 private:
  void lend_owner_bits(int directory, const Components& name);

  struct Made {  // or only changed
    Components name;
    mode_t mode;
    timespec mtime;
  };

  // The directory that holds the entry, made if need be; the last one is kept open for its next entry.
  int parent_of(const Components& name);
  UniqueFd open_directory(int parent, const std::string& name, bool make);
  UniqueFd walk(std::span<const std::string> names, bool make);
  void count_entry();
  void check_link(const Components& name, const std::string& target) const;
  // Calls make(name) with fresh names until one does not exist yet; make returns 0 or -1 and errno.
  template <typename Make>
  std::string make_temporary(Make make);
  void rename_over(int directory, const std::string& temporary, const std::string& name);
  void abandon_file() noexcept;

  ExtractOptions options_;
  UniqueFd root_;
  ExtractReport report_;
  std::uint64_t entries_ = 0;
  std::vector<Made> made_;

  Components open_name_;
  UniqueFd open_parent_;

  UniqueFd file_;
  std::string file_temporary_;
  std::string file_name_;
  timespec file_mtime_{};
};

}  // namespace sandkey::archive
