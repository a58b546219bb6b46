// The plain file actions of the agent: `read`, `write` and `/list_files`. They block, and hold no more in
// memory than the named limits and what the caller passed.
//
//   const FileResult result = read_file({.path = "src/main.c", .working_dir = "/workspace"});
//   // ok: result.text is the content; error: an ErrorObservation's; system_error: HTTP 500
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace sandkey::agent::files {

// Of the text one read returns, or of an image, PDF or video.
inline constexpr std::size_t kMaxReadBytes = 32UL * 1024 * 1024;
// Of a file in which a range of lines is replaced.
inline constexpr std::size_t kMaxRangeWriteBytes = 64UL * 1024 * 1024;
// Entries listed of one directory.
inline constexpr std::size_t kMaxListedFiles = 200'000;

enum class FileStatus {
  ok,
  error,         // the request's fault, shown to whoever asked as an ErrorObservation
  system_error,  // the system said no (permissions, a full disk); the reference answers HTTP 500
};

struct FileResult {
  FileStatus status = FileStatus::ok;
  // ok: the content; else the message, a system error's as "[Errno 13] Permission denied: '/x'".
  std::string text;
  std::string path;  // absolute
};

struct ReadRequest {
  std::string path;         // relative to working_dir
  std::string working_dir;  // of the shell
  long long start = 0;      // first line, from 0
  long long end = -1;       // behind the last line; -1 is the end of the file
};

// Text must be UTF-8; every line ending becomes \n. Images, PDFs and videos become data URLs.
//
// As in the reference, an absolute path to a binary file is refused with ERROR_BINARY_FILE before anything
// else, so data URLs are only made for relative paths; and a range never begins behind the last but one line.
[[nodiscard]] FileResult read_file(const ReadRequest& request);

struct WriteRequest {
  std::string path;
  std::string working_dir;
  std::string content;  // ends with a newline in the file whether it does here or not
  long long start = 0;  // in a file that exists, the lines [start, end) are replaced;
  long long end = -1;   // negative counts from the end, as in a Python slice, but -1 is the end itself
  std::optional<unsigned> owner{};  // user and group of a new file, which gets mode 0664
};

// Makes missing parent directories. A file that exists keeps its owner and mode and must be UTF-8; the lines
// around the range keep their bytes, and new ones get the file's usual line ending. Its contents survive a
// full disk. On success the text is empty.
[[nodiscard]] FileResult write_file(const WriteRequest& request);

// Directories first, with a slash, then files, each without regard to case; hidden ones too, broken symlinks
// not. Empty for whatever is not a readable directory. Relative to (or, without a path, the same as)
// `initial_dir`.
[[nodiscard]] std::vector<std::string> list_files(const std::optional<std::string>& path,
                                                  const std::string& initial_dir);

}  // namespace sandkey::agent::files
