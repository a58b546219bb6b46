#include "sandkey/agent/files/directory_view.h"

#include "sandkey/base/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <system_error>
#include <utility>

namespace sandkey::agent::files {
namespace {

constexpr std::size_t kMaxErrors = 20;  // directories named as unreadable

constexpr std::string_view kTruncated =
    "<response clipped><NOTE>Due to the max output limit, only part of this directory has been shown to you. "
    "You "
    "should use `ls -la` instead to view large directories incrementally.</NOTE>";

struct Identity {
  dev_t device;
  ino_t inode;
  bool operator==(const Identity&) const = default;
};

class Lister {
 public:
  explicit Lister(std::size_t max_characters) : max_characters_(max_characters) {}

  void run(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return fail(path);
    top_ = {info.st_dev, info.st_ino};
    add(path, true);
    descend(path, 1);
  }

  [[nodiscard]] DirectoryView take(const std::string& path) {
    if (!errors_.empty()) return {{}, std::move(errors_)};
    std::string out =
        "Here's the files and directories up to 2 levels deep in " + path + ", excluding hidden items:\n";
    std::size_t left = max_characters_;
    bool is_first = true;
    for (const auto& [entry, is_directory] : entries_) {
      if (!std::exchange(is_first, false)) out += '\n';
      const std::size_t length = utf8::length(entry) + 1;  // with its newline
      if (length > left) {
        out += entry.substr(0, utf8::offset_of(entry, left));
        is_complete_ = false;
        break;
      }
      left -= length;
      out += entry;
      if (is_directory && entry != "/") out += '/';
    }
    if (!is_complete_) out += kTruncated;
    if (hidden_ > 0) {
      out += "\n\n" + std::to_string(hidden_) +
             " hidden files/directories in this directory are excluded. You can use 'ls -la " + path +
             "' to see them.";
    }
    return {std::move(out), {}};
  }

 private:
  void fail(const std::string& path) {
    if (++error_count_ > kMaxErrors) return;
    errors_ += "find: \xE2\x80\x98" + utf8::sanitize(path) +
               "\xE2\x80\x99: " + std::generic_category().message(errno) + "\n";
  }

  // Keeps the first paths that fill the output, and one more to show that there are more.
  void add(const std::string& path, bool is_directory) {
    const auto [place, is_new] = entries_.try_emplace(utf8::sanitize(path), is_directory);
    if (!is_new) return;
    characters_ += utf8::length(place->first) + 1;
    while (entries_.size() > 1) {
      const auto last = std::prev(entries_.end());
      const std::size_t length = utf8::length(last->first) + 1;
      if (characters_ - length <= max_characters_) break;
      characters_ -= length;
      entries_.erase(last);
    }
  }

  void descend(const std::string& path, int depth) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(path.c_str()), &::closedir);
    if (!stream) return fail(path);
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (name.front() == '.') {
        if (depth == 1) ++hidden_;
        continue;
      }
      std::string child = path == "/" ? path : path + "/";
      child += name;
      struct stat info {};
      const bool is_directory =
          ::fstatat(::dirfd(stream.get()), entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
      add(child, is_directory);
      // Two levels leave only the top itself to come back to.
      if (is_directory && depth == 1 && Identity{info.st_dev, info.st_ino} != top_) descend(child, depth + 1);
    }
  }

  std::size_t max_characters_;
  Identity top_{};
  std::map<std::string, bool> entries_;  // path, and whether it is a directory
  std::size_t characters_ = 0;
  std::size_t hidden_ = 0;
  bool is_complete_ = true;
  std::string errors_;
  std::size_t error_count_ = 0;
};

}  // namespace

DirectoryView view_directory(const std::string& path, std::size_t max_characters) {
  Lister lister(max_characters);
  lister.run(path);
  return lister.take(path);
}

}  // namespace sandkey::agent::files
