#include "sandkey/agent/files/file_actions.h"

#include "sandkey/agent/files/binary_detection.h"
#include "sandkey/agent/files/file_io.h"
#include "sandkey/agent/files/python_text.h"
#include "sandkey/agent/files/text_encoding.h"
#include "sandkey/base/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <utility>

namespace sandkey::agent::files {
namespace {

constexpr std::size_t kChunk = 64 * 1024;
constexpr unsigned kNewFileMode = 0664;

FileResult failure(FileStatus status, std::string text, const std::string& path) {
  return {status, std::move(text), path};
}

FileResult system_failure(int error_number, const std::string& path) {
  return failure(FileStatus::system_error, os_error_text(error_number, path), path);
}

bool has_nul(const std::string& path) {
  return path.find('\0') != std::string::npos;
}

// Reading
// ----------------------------------------------------------------------------------------------------------

enum class Scan { complete, not_utf8, failed };

// Passes the file on as pieces of lines, the line endings as "\n" of their own, until `sink` returns false.
Scan scan_lines(int fd, const std::function<bool(std::string_view)>& sink) {
  std::string buffer;
  bool after_cr = false;
  for (;;) {
    const std::size_t carried = buffer.size();
    buffer.resize(carried + kChunk);
    ssize_t n = -1;
    do {
      n = ::read(fd, buffer.data() + carried, kChunk);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return Scan::failed;
    buffer.resize(carried + static_cast<std::size_t>(n));
    const std::size_t tail = n == 0 ? 0 : utf8::incomplete_tail(buffer);
    std::string_view text(buffer.data(), buffer.size() - tail);
    if (!utf8::is_valid(text)) return Scan::not_utf8;
    while (!text.empty()) {
      if (std::exchange(after_cr, false) && text.front() == '\n') {
        text.remove_prefix(1);
        continue;
      }
      const std::size_t length = std::min(text.find_first_of("\r\n"), text.size());
      if (length > 0 && !sink(text.substr(0, length))) return Scan::complete;
      text.remove_prefix(length);
      if (text.empty()) break;
      after_cr = text.front() == '\r';
      text.remove_prefix(1);
      if (!sink("\n")) return Scan::complete;
    }
    if (n == 0) return Scan::complete;
    buffer.erase(0, buffer.size() - tail);
  }
}

struct LineRange {
  long long begin, end;
};

// Which of `count` lines a request for [start, end) gets.
LineRange lines_to_read(long long start, long long end, long long count) {
  start = std::clamp(start, 0LL, count);
  if (end == -1) return {start, count};
  end = std::min(std::max(end, 0LL), count);
  const long long begin = std::max(0LL, std::min(start, count - 2));
  return {begin, std::min(std::max(begin + 1, end), count)};
}

// Twice through the file instead of once through memory: the range depends on how many lines there are, and a
// malformed byte anywhere refuses the whole file.
FileResult read_text(int fd, const ReadRequest& request, const std::string& path) {
  const auto failed = [&](Scan scan) {
    if (scan == Scan::failed) return system_failure(errno, path);
    return failure(FileStatus::error, "File could not be decoded as utf-8: " + path + ".", path);
  };
  long long count = 0;
  bool in_line = false;
  const Scan first = scan_lines(fd, [&](std::string_view piece) {
    in_line = piece != "\n";
    if (!in_line) ++count;
    return true;
  });
  if (first != Scan::complete) return failed(first);
  if (in_line) ++count;

  const LineRange range = lines_to_read(request.start, request.end, count);
  if (range.begin >= range.end) return {FileStatus::ok, {}, path};
  if (::lseek(fd, 0, SEEK_SET) != 0) return system_failure(errno, path);
  std::string content;
  bool is_too_large = false;
  long long line = 0;
  const Scan second = scan_lines(fd, [&](std::string_view piece) {
    if (line >= range.begin) content += piece;
    if (piece == "\n") ++line;
    is_too_large = content.size() > kMaxReadBytes;
    return line < range.end && !is_too_large;
  });
  if (second != Scan::complete) return failed(second);
  if (is_too_large) {
    return failure(FileStatus::error,
                   "File is too large to read at once: " + path + ". The limit is " +
                       std::to_string(kMaxReadBytes / 1024 / 1024) + "MB; read a range of its lines.",
                   path);
  }
  return {FileStatus::ok, std::move(content), path};
}

// The media type of what is returned as a data URL. Empty: it is text.
std::string_view media_type(const std::string& path) {
  struct Row {
    std::string_view suffix, type, unnamed;  // `unnamed`: of a file that is only a suffix, such as "/x/.jpg"
  };
  static constexpr std::array<Row, 9> kRows = {{
      {".png", "image/png", "image/png"},
      {".jpg", "image/jpeg", "image/png"},
      {".jpeg", "image/jpeg", "image/png"},
      {".bmp", "image/bmp", "image/png"},
      {".gif", "image/gif", "image/png"},
      {".pdf", "application/pdf", "application/pdf"},
      {".mp4", "video/mp4", "video/mp4"},
      {".webm", "video/webm", "video/mp4"},
      {".ogg", "audio/ogg", "video/mp4"},
  }};
  const std::string lower = to_lower_ascii(path);
  for (const Row& row : kRows) {
    if (lower.ends_with(row.suffix)) return suffix(path).empty() ? row.unnamed : row.type;
  }
  return {};
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = (group << 8U) | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= n ? kAlphabet[(group >> (18U - 6U * k)) & 0x3FU] : '=';
  }
  return out;
}

FileResult read_media(int fd, std::string_view type, const std::string& path) {
  const FileBytes file = read_bytes(fd, kMaxReadBytes);
  if (file.error_number != 0) return system_failure(file.error_number, path);
  if (file.is_larger) {
    return failure(FileStatus::error,
                   "File is too large to read: " + path + ". The limit is " +
                       std::to_string(kMaxReadBytes / 1024 / 1024) + "MB; download it instead.",
                   path);
  }
  return {FileStatus::ok, "data:" + std::string(type) + ";base64," + base64(file.bytes), path};
}

// Writing
// ----------------------------------------------------------------------------------------------------------

// 0, or errno with `path` cut to the directory that could not be made.
int make_directories(std::string& path) {
  for (std::size_t at = 1;; ++at) {
    at = path.find('/', at);
    const std::string part = path.substr(0, at);
    const bool is_last = at == std::string::npos;
    if (::mkdir(part.c_str(), 0777) != 0) {
      const int error = errno;
      // One that is there but no directory is noticed at the next.
      if (error != EEXIST || (is_last && !look_at(part).is_directory)) {
        path = part;
        return error;
      }
    }
    if (is_last) return 0;
  }
}

// Offsets of what original[:start] keeps at the top and original[end:] at the bottom.
struct ByteRange {
  std::size_t begin, end;
};

ByteRange bytes_of_lines(std::string_view text, long long start, long long end) {
  long long count = 0;
  for (std::size_t at = 0; at < text.size(); at = next_line(text, at)) ++count;
  const auto offset_of = [&](long long line) {
    if (line < 0) line = std::max(0LL, line + count);
    std::size_t at = 0;
    for (; line > 0 && at < text.size(); --line) at = next_line(text, at);
    return at;
  };
  return {start == 0 ? 0 : offset_of(start), end == -1 ? text.size() : offset_of(end)};
}

FileResult permissions_failure(int error_number, const std::string& path) {
  return failure(FileStatus::error,
                 "File " + path + " written, but failed to change ownership and permissions: " +
                     os_error_text(error_number, path),
                 path);
}

FileResult write_new(int fd, const WriteRequest& request, const std::string& path) {
  if (const int error = replace_contents(fd, request.content + "\n")) {
    remove_new_file(fd, path);
    return system_failure(error, path);
  }
  if (::fchmod(fd, kNewFileMode) != 0) return permissions_failure(errno, path);
  if (request.owner && ::fchown(fd, *request.owner, *request.owner) != 0)
    return permissions_failure(errno, path);
  return {FileStatus::ok, {}, path};
}

FileResult write_existing(int fd, const WriteRequest& request, const std::string& path) {
  struct stat before {};
  if (::fstat(fd, &before) != 0) return system_failure(errno, path);
  if (!S_ISREG(before.st_mode)) {
    return failure(FileStatus::error, "Not a regular file: " + path + ". You can only write to files", path);
  }
  const auto not_utf8 = [&] {
    return failure(FileStatus::error, "File could not be decoded as utf-8: " + path, path);
  };
  std::string bytes;
  if (request.start == 0 && request.end == -1) {
    const Scan scan = scan_lines(fd, [](std::string_view) { return true; });
    if (scan == Scan::failed) return system_failure(errno, path);
    if (scan == Scan::not_utf8) return not_utf8();
    bytes = request.content + "\n";
  } else {
    const FileBytes old = read_bytes(fd, kMaxRangeWriteBytes);
    if (old.error_number != 0) return system_failure(old.error_number, path);
    if (old.is_larger) {
      return failure(FileStatus::error,
                     "File is too large to replace lines in: " + path + ". The limit is " +
                         std::to_string(kMaxRangeWriteBytes / 1024 / 1024) + "MB.",
                     path);
    }
    const std::string_view text = old.bytes;
    if (!utf8::is_valid(text)) return not_utf8();
    const ByteRange range = bytes_of_lines(text, request.start, request.end);
    const std::string_view newline = usual_newline(text);
    bytes = text.substr(0, range.begin);
    // A last line without an ending gets one rather than be glued to the new lines.
    if (!bytes.empty() && bytes.back() != '\n' && bytes.back() != '\r') bytes += newline;
    append_lines(bytes, with_newlines(request.content + "\n", newline));
    append_lines(bytes, text.substr(range.end));
  }
  if (const int error = replace_contents(fd, bytes)) return system_failure(error, path);
  // Writing takes the set-user-ID bits away; the owner cannot have changed.
  struct stat after {};
  if (::fstat(fd, &after) == 0 && after.st_mode != before.st_mode &&
      ::fchmod(fd, before.st_mode & 07777U) != 0) {
    return permissions_failure(errno, path);
  }
  return {FileStatus::ok, {}, path};
}

// Listing
// ----------------------------------------------------------------------------------------------------------

// str.lower() for the scripts that names of files commonly have: Latin, Greek and Cyrillic.
char32_t lower(char32_t c) noexcept {
  if ((c >= U'A' && c <= U'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7)) return c + 0x20;
  if ((c >= 0x100 && c <= 0x137 && c != 0x130 && c != 0x131) || (c >= 0x14A && c <= 0x177)) return c | 1U;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return (c & 1U) != 0 ? c + 1 : c;
  if (c >= 0x391 && c <= 0x3AB && c != 0x3A2) return c + 0x20;
  if (c >= 0x410 && c <= 0x42F) return c + 0x20;
  if (c >= 0x400 && c <= 0x40F) return c + 0x50;
  return c;
}

std::string lower(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const utf8::Decoded step = utf8::decode(text);
    utf8::append(out, lower(step.code_point));
    text.remove_prefix(step.length);
  }
  return out;
}

}  // namespace

FileResult read_file(const ReadRequest& request) {
  const std::string path = join_path(request.working_dir, request.path);
  if (has_nul(path)) return failure(FileStatus::system_error, "embedded null byte", path);
  // The reference looks relative to its own directory, where it finds nothing.
  if (request.path.ends_with(".pyc") || (is_absolute(request.path) && is_binary_file(request.path))) {
    return failure(FileStatus::error, "ERROR_BINARY_FILE", path);
  }
  const UniqueFd fd = open_file(path, O_RDONLY);
  if (!fd) {
    if (errno != ENOENT) return system_failure(errno, path);
    return failure(
        FileStatus::error,
        "File not found: " + path + ". Your current working directory is " + request.working_dir + ".", path);
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return system_failure(errno, path);
  if (S_ISDIR(info.st_mode)) {
    return failure(FileStatus::error, "Path is a directory: " + path + ". You can only read files", path);
  }
  if (!S_ISREG(info.st_mode)) {
    return failure(FileStatus::error, "Not a regular file: " + path + ". You can only read files", path);
  }
  const std::string_view type = media_type(path);
  return type.empty() ? read_text(fd.get(), request, path) : read_media(fd.get(), type, path);
}

FileResult write_file(const WriteRequest& request) {
  const std::string path = join_path(request.working_dir, request.path);
  if (has_nul(path)) return failure(FileStatus::system_error, "embedded null byte", path);
  std::string parent = path.substr(0, std::max<std::size_t>(1, path.rfind('/')));
  if (!look_at(parent).exists) {
    if (const int error = make_directories(parent)) return system_failure(error, parent);
  }
  const bool exists = look_at(path).exists;
  const UniqueFd fd = exists ? open_file(path, O_RDWR) : open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
  if (!fd) {
    if (errno == ENOENT) return failure(FileStatus::error, "File not found: " + path, path);
    if (errno == EISDIR) {
      return failure(FileStatus::error, "Path is a directory: " + path + ". You can only write to files",
                     path);
    }
    return system_failure(errno, path);
  }
  return exists ? write_existing(fd.get(), request, path) : write_new(fd.get(), request, path);
}

std::vector<std::string> list_files(const std::optional<std::string>& path, const std::string& initial_dir) {
  const std::string directory = path ? join_path(initial_dir, *path) : initial_dir;
  if (has_nul(directory)) return {};
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), &::closedir);
  if (!stream) return {};
  using Entry = std::pair<std::string, std::string>;  // in lower case, to sort by; as it is
  std::vector<Entry> directories;
  std::vector<Entry> others;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat info {};
    if (::fstatat(::dirfd(stream.get()), entry->d_name, &info, 0) != 0) continue;
    std::string shown = utf8::sanitize(name);
    std::string key = lower(shown);
    if (S_ISDIR(info.st_mode)) {
      directories.emplace_back(key + "/", shown + "/");
    } else {
      others.emplace_back(std::move(key), std::move(shown));
    }
    if (directories.size() + others.size() == kMaxListedFiles) break;
  }
  std::sort(directories.begin(), directories.end());
  std::sort(others.begin(), others.end());
  std::vector<std::string> out;
  out.reserve(directories.size() + others.size());
  for (std::vector<Entry>* group : {&directories, &others}) {
    for (Entry& entry : *group) out.push_back(std::move(entry.second));
  }
  return out;
}

}  // namespace sandkey::agent::files
