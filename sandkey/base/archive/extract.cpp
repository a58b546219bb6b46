#include "sandkey/base/archive/archive.h"
#include "sandkey/base/archive/destination.h"
#include "sandkey/base/archive/stream.h"
#include "sandkey/base/archive/tar.h"
#include "sandkey/base/archive/zip.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sandkey {

namespace {

using archive::Components;
using archive::Entry;

constexpr std::string_view kGzipMagic = "\x1f\x8b";

// Zip begins with an entry, or with the end of the index when it is empty.
bool looks_like_zip(std::string_view start) {
  return start.starts_with("PK\3\4") || start.starts_with("PK\5\6");
}

class Extraction {
 public:
  Extraction(int fd, const std::filesystem::path& root, const ExtractOptions& options)
      : options_(options), destination_(root, options), input_(fd) {
    try {
      open(fd);
    } catch (const Error& error) {
      fail(error, {});
    }
  }

  ExtractReport run() {
    for (;;) {
      Entry entry;
      try {
        if (!reader_->next(entry)) break;
      } catch (const Error& error) {
        fail(error, {});
      }
      try {
        extract_entry(entry);
      } catch (const Error& error) {
        fail(error, " " + archive::shown(entry.name));
      }
    }
    destination_.finish();
    return destination_.report();
  }

 private:
  void open(int fd) {
    ArchiveFormat format = ArchiveFormat::tar;
    if (options_.format) {
      format = *options_.format;
    } else if (looks_like_zip(input_.peek(4))) {
      format = ArchiveFormat::zip;
    }
    if (format == ArchiveFormat::zip) {
      reader_ = std::make_unique<archive::ZipReader>(fd);
      return;
    }
    if (input_.peek(2) == kGzipMagic) {
      gunzip_ = std::make_unique<archive::GunzipInput>(input_);
      reader_ = std::make_unique<archive::TarReader>(*gunzip_);
      return;
    }
    const std::string_view block = input_.peek(archive::kTarBlock);
    const bool end_mark =
        block.size() == archive::kTarBlock && block.find_first_not_of('\0') == std::string_view::npos;
    if (!end_mark && !archive::looks_like_tar(block)) {
      throw archive::malformed(block.empty() ? "it is empty" : "it is not a tar, gzipped tar or zip archive");
    }
    reader_ = std::make_unique<archive::TarReader>(input_);
  }

  [[nodiscard]] Components stripped(std::string_view name) const {
    Components components = archive::split(name);
    const std::size_t count = std::min<std::size_t>(options_.strip_components, components.size());
    components.erase(components.begin(), components.begin() + static_cast<std::ptrdiff_t>(count));
    return components;
  }

  void extract_entry(const Entry& entry) {
    const Components name = stripped(entry.name);
    if (entry.kind == Entry::Kind::special) {
      throw archive::extract_error(ErrorCode::invalid_argument, "it is a device node or fifo");
    }
    if (name.empty()) {
      const bool cut_off = options_.strip_components > 0;
      if (cut_off || entry.kind == Entry::Kind::directory) return;  // "./" is the destination itself
      throw archive::extract_error(ErrorCode::invalid_argument, "it has no name");
    }
    switch (entry.kind) {
      case Entry::Kind::directory:
        destination_.directory(name, entry);
        break;
      case Entry::Kind::symlink:
        destination_.symlink(name, entry);
        break;
      case Entry::Kind::hard_link:
        destination_.hard_link(name, stripped(entry.link_target));
        break;
      case Entry::Kind::special:
        break;
      case Entry::Kind::file:
        extract_file(name, entry);
        break;
    }
  }

  void extract_file(const Components& name, const Entry& entry) {
    destination_.begin_file(name, entry);
    destination_.expect(entry.size);
    for (;;) {
      const std::size_t count = reader_->read(buffer_);
      if (count == 0) break;
      destination_.write({buffer_.data(), count});
    }
    destination_.commit_file();
  }

  [[noreturn]] void fail(const Error& error, const std::string& entry) {
    const ExtractReport& report = destination_.report();
    const std::uint64_t written = report.files + report.directories + report.links;
    throw ExtractError(error,
                       "extracting" + (entry.empty() ? " the archive" : entry) + ": " + error.what() + " (" +
                           std::to_string(written) + " entries were written before)",
                       report);
  }

  ExtractOptions options_;
  archive::Destination destination_;
  archive::FdInput input_;
  std::unique_ptr<archive::GunzipInput> gunzip_;
  std::unique_ptr<archive::Reader> reader_;
  std::vector<char> buffer_ = std::vector<char>(archive::kBufferSize);
};

}  // namespace

ExtractReport extract(int in_fd, const std::filesystem::path& destination, const ExtractOptions& options) {
  return Extraction(in_fd, destination, options).run();
}

}  // namespace sandkey
