#include "sandkey/base/archive/archive.h"
#include "sandkey/base/archive/stream.h"
#include "sandkey/base/archive/tar.h"
#include "sandkey/base/archive/zip.h"
#include "sandkey/base/unique_fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sandkey {

namespace {

using archive::Entry;

Error pack_error(ErrorCode code, const std::string& path, const std::string& what) {
  ErrorContext context;
  context.operation = "pack";
  return Error(code, "packing " + archive::shown(path) + ": " + what, std::move(context));
}

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

std::vector<std::string> sorted_names(int fd, const std::string& path) {
  UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  const std::unique_ptr<DIR, CloseDirectory> directory(own ? ::fdopendir(own.get()) : nullptr);
  if (!directory) throw system_error("listing the directory " + archive::shown(path), errno);
  (void)own.release();  // the stream's now
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* found = ::readdir(directory.get())) {
    const std::string_view name = found->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) throw system_error("listing the directory " + archive::shown(path), errno);
  std::ranges::sort(names);
  return names;
}

std::string read_link(int parent, const std::string& name, const std::string& path) {
  std::string target(archive::kBufferSize, '\0');
  const ssize_t length = ::readlinkat(parent, name.c_str(), target.data(), target.size());
  if (length < 0) throw system_error("reading the symbolic link " + archive::shown(path), errno);
  target.resize(static_cast<std::size_t>(length));
  return target;
}

std::string base_name(const std::filesystem::path& source) {
  std::filesystem::path name = source.filename();
  if (name.empty()) name = source.parent_path().filename();  // "a/b/"
  if (name == "." || name == ".." || name.empty()) {
    std::error_code failure;
    name = std::filesystem::canonical(source, failure).filename();
  }
  return name.native();
}

class Packer {
 public:
  explicit Packer(archive::Writer& writer) : writer_(writer), buffer_(archive::kBufferSize) {}

  // Every name is opened from its directory's descriptor and without following links, so a tree that changes
  // meanwhile cannot lead the walk out of the source.
  void add(int parent, const std::string& name, const std::string& path, std::size_t depth) {
    struct stat status {};
    if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) {
        report_.skipped++;
        return;
      }
      throw system_error("reading " + archive::shown(path), errno);
    }
    if (S_ISLNK(status.st_mode)) {
      Entry entry = describe(status, path, Entry::Kind::symlink);
      entry.link_target = read_link(parent, name, path);
      begin(entry);
    } else if (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode)) {
      // Not blocking: a fifo may have taken the file's place.
      const UniqueFd opened(::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (!opened && errno == ENOENT) {
        report_.skipped++;
        return;
      }
      if (!opened) throw system_error("opening " + archive::shown(path), errno);
      add_opened(opened.get(), path, depth);
    } else {
      report_.skipped++;
    }
  }

  void add_opened(int fd, const std::string& path, std::size_t depth) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) throw system_error("reading " + archive::shown(path), errno);
    if (S_ISDIR(status.st_mode)) {
      if (!path.empty()) begin(describe(status, path, Entry::Kind::directory));
      add_children(fd, path, depth);
    } else if (S_ISREG(status.st_mode)) {
      add_file(fd, status, path);
    } else {
      report_.skipped++;
    }
  }

  [[nodiscard]] const PackReport& report() const noexcept { return report_; }

 private:
  void add_children(int fd, const std::string& path, std::size_t depth) {
    if (depth >= kMaxArchiveDepth) {
      throw pack_error(ErrorCode::invalid_argument, path, "nested too deeply");
    }
    for (const std::string& name : sorted_names(fd, path)) {
      std::string below = path;
      if (!below.empty()) below += '/';
      below += name;
      add(fd, name, below, depth + 1);
    }
  }

  void add_file(int fd, const struct stat& status, const std::string& path) {
    Entry entry = describe(status, path, Entry::Kind::file);
    entry.size = static_cast<std::uint64_t>(status.st_size);
    begin(entry);
    // What is appended meanwhile is left out: the size is already told.
    for (std::uint64_t left = entry.size; left > 0;) {
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer_.size()));
      const std::size_t count =
          archive::read_some(fd, std::span(buffer_).first(want), "reading " + archive::shown(path));
      if (count == 0) {
        throw pack_error(ErrorCode::conflict, path, "the file became shorter while it was read; try again");
      }
      writer_.data({buffer_.data(), count});
      report_.bytes += count;
      left -= count;
    }
  }

  void begin(const Entry& entry) {
    if (entry.name.size() > kMaxArchiveName) {
      throw pack_error(ErrorCode::invalid_argument, entry.name, "the name is too long");
    }
    writer_.begin(entry);
    report_.entries++;
  }

  static Entry describe(const struct stat& status, const std::string& path, Entry::Kind kind) {
    return {.kind = kind,
            .name = path,
            .link_target = {},
            .mode = status.st_mode & 07777U,
            .mtime = status.st_mtim,
            .size = 0};
  }

  archive::Writer& writer_;
  std::vector<char> buffer_;
  PackReport report_;
};

}  // namespace

PackReport pack(int out_fd, const std::filesystem::path& source, const PackOptions& options) {
  const UniqueFd opened(::open(source.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!opened) throw system_error("packing " + archive::shown(source.native()), errno);
  struct stat status {};
  if (::fstat(opened.get(), &status) != 0)
    throw system_error("packing " + archive::shown(source.native()), errno);
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
    throw pack_error(ErrorCode::invalid_argument, source.native(), "it is neither a file nor a directory");
  }
  const archive::SigpipeBlock quiet;
  archive::Output output(out_fd);
  std::unique_ptr<archive::Writer> writer;
  if (options.format == ArchiveFormat::zip) {
    writer = std::make_unique<archive::ZipWriter>(output);
  } else {
    writer = std::make_unique<archive::TarWriter>(output);
  }
  Packer packer(*writer);
  const bool named = options.with_base_name || S_ISREG(status.st_mode);
  packer.add_opened(opened.get(), named ? base_name(source) : std::string{}, 0);
  writer->finish();
  return packer.report();
}

}  // namespace sandkey
