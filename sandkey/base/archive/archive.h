// Directory trees as tar or zip streams: how files travel into and out of a sandbox.
//
// Both functions block, work on descriptors and use a fixed amount of memory whatever the size of the files
// (see below for what grows with their number); callers run them on a thread of their own with a pipe at the
// other end. Names are bytes: neither the locale nor UTF-8 validity changes what is written.
#pragma once

#include "sandkey/base/error.h"

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sandkey {

enum class ArchiveFormat {
  tar,  // pax; when read also ustar, GNU, and any of them gzipped
  zip,  // written uncompressed; when read also deflated
};

// Longest name of an entry in bytes, and deepest nesting of directories: what Linux lets others open
// afterwards.
inline constexpr std::size_t kMaxArchiveName = 4096;
inline constexpr std::size_t kMaxArchiveDepth = 1000;

struct PackOptions {
  ArchiveFormat format = ArchiveFormat::tar;
  // Of a directory /a/b holding f: "b/f" instead of "f". A source that is a file is always one entry "b".
  bool with_base_name = false;
};

struct PackReport {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;    // of file contents
  std::uint64_t skipped = 0;  // sockets, fifos, devices, and files that vanished before their turn
};

// Writes `source`, a directory or a file (a symbolic link is followed here, nowhere below), to `out_fd`,
// which may be a pipe. Entries come in sorted order and carry no owner, so equal trees give equal bytes.
// Kept: permissions, symbolic links, empty directories, modification times (tar: to the nanosecond; zip:
// seconds). Hard links become copies. Zip keeps about 100 bytes and the name of each entry in memory until
// the end.
//
// Throws Error when something cannot be read, when a file shrinks while it is read, and when the other end of
// `out_fd` is closed (no SIGPIPE is raised). What was written by then lacks the end every reader looks for,
// so it cannot be mistaken for an archive.
PackReport pack(int out_fd, const std::filesystem::path& source, const PackOptions& options = {});

struct ExtractOptions {
  std::optional<ArchiveFormat> format = std::nullopt;  // nothing: told from the first bytes
  std::uint64_t max_entries = 1'000'000;               // files, links and directories, implied ones included
  std::uint64_t max_total_bytes = std::uint64_t{64} << 30;
  unsigned strip_components =
      0;  // leading directories cut off every name; entries with no more than that are left out
  // Symbolic links are never followed, but whoever reads the result may follow them. False refuses links that
  // lead out of the destination (and those with ".." after a name, which cannot be judged); copies that
  // are to be whole let them in: Python's virtual environments hold links to /usr/bin.
  bool outward_symlinks = false;
};

struct ExtractReport {
  std::uint64_t files = 0;
  std::uint64_t directories = 0;  // those that did not exist before
  std::uint64_t links = 0;
  std::uint64_t bytes = 0;  // of file contents
};

// What extract() throws once it has begun to read: the cause, and how far it came.
class ExtractError final : public Error {
 public:
  ExtractError(const Error& cause, const std::string& message, const ExtractReport& written)
      : Error(cause.code(), message, cause.context()), written_(written) {}

  // Complete entries that are there now; the one that failed is not.
  [[nodiscard]] const ExtractReport& written() const noexcept { return written_; }

 private:
  ExtractReport written_;
};

// Unpacks `in_fd` below `destination`, which is made if it is missing. A tar may come through a pipe and is
// read to its end from the current position. A zip's index is at its end, so it must be a whole seekable
// file: spooling one that arrives by pipe is the caller's business (`invalid_argument` otherwise).
//
// Nothing outside `destination` is written, whatever the archive or the destination holds: absolute names,
// "..", device nodes, fifos, and names that lead through a symbolic link (from the archive or there before)
// are refused with an error that names the entry. Files are written under a temporary name and renamed, so an
// existing file is replaced, never written into, and is whole at any time; existing directories keep their
// mode. The process's umask and user apply; setuid, setgid and sticky bits are dropped. Memory grows by the
// names of the directories made, whose times and modes are set at the end.
ExtractReport extract(int in_fd, const std::filesystem::path& destination,
                      const ExtractOptions& options = {});

}  // namespace sandkey
