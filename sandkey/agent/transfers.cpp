#include "sandkey/agent/transfers.h"

#include "sandkey/agent/request_parts.h"
#include "sandkey/base/archive/archive.h"
#include "sandkey/base/blocking_task.h"
#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_server.h"
#include "sandkey/net/multipart.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using net::HttpError;
using net::HttpExchange;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = std::size_t{64} * 1024;

unsigned mode_of(const HttpExchange& exchange, unsigned fallback) {
  const std::optional<std::string> text = exchange.query("mode");
  if (!text) return fallback;
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), mode, 8);
  if (error != std::errc() || end != text->data() + text->size() || mode > 07777) {
    throw HttpError(400, "'mode' must be an octal number up to 7777.");
  }
  return mode & 0777U;
}

// Written as a client of OpenHands may write it, in whatever case.
bool flag_of(const HttpExchange& exchange, std::string_view parameter) {
  std::string text = exchange.query(parameter).value_or("false");
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  for (const std::string_view yes : {"true", "1", "yes", "on", "t", "y"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"false", "0", "no", "off", "f", "n"}) {
    if (text == no) return false;
  }
  throw HttpError(422, "The query parameter '" + std::string(parameter) + "' must be true or false.");
}

off_t to_offset(std::uint64_t value) {
  return static_cast<off_t>(
      std::min<std::uint64_t>(value, static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())));
}

void write_all(int fd, std::string_view bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error(what, errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw system_error("making the folder " + folder.string(), error.value());
}

// A file that replaces `path` once it is whole, and vanishes if that never comes.
class NewFile {
 public:
  explicit NewFile(fs::path path) : path_(std::move(path)) {
    temporary_ = (path_.parent_path() / (".sandkey-upload-XXXXXX")).string();
    fd_.reset(::mkostemp(temporary_.data(), O_CLOEXEC));
    if (!fd_) throw system_error("writing " + path_.string(), errno);
  }
  ~NewFile() { discard(); }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::string_view bytes) { write_all(fd_.get(), bytes, "writing " + path_.string()); }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  void discard() noexcept {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  void commit(unsigned mode) {
    // An existing file keeps its mode and, where we may, its owner.
    struct stat before {};
    if (::stat(path_.c_str(), &before) == 0) {
      if (S_ISDIR(before.st_mode)) throw system_error("writing " + path_.string(), EISDIR);
      mode = before.st_mode & 07777U;
      (void)!::fchown(fd_.get(), before.st_uid, before.st_gid);
    }
    if (::fchmod(fd_.get(), mode) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
      throw system_error("writing " + path_.string(), errno);
    }
    temporary_.clear();
  }

 private:
  fs::path path_;
  std::string temporary_;
  UniqueFd fd_;
};

// The file itself, emptied: it stays the one that others watch, link to or have open.
UniqueFd open_in_place(const std::string& path, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, mode));
  if (!fd) throw system_error("writing " + path, errno);
  return fd;
}

// The `file` field of the form, written to where it belongs as it arrives.
class UploadParser final : public net::MultipartParser {
 public:
  UploadParser(std::string_view boundary, fs::path destination)
      : MultipartParser(boundary), destination_(std::move(destination)) {}

  [[nodiscard]] const std::string& filename() const noexcept { return filename_; }
  [[nodiscard]] NewFile* file() const noexcept { return file_.get(); }

 private:
  void on_part(std::string_view name, std::string_view filename) override {
    wanted_ = name == "file" && !file_;
    if (!wanted_) return;
    // Clients send a name; one that is a path would leave the destination.
    const std::size_t slash = filename.rfind('/');
    filename_ = filename.substr(slash == std::string_view::npos ? 0 : slash + 1);
    if (filename_.empty() || filename_ == "." || filename_ == ".." ||
        filename_.find('\0') != std::string::npos) {
      throw HttpError(400, "The form's file has no usable name.");
    }
    file_ = std::make_unique<NewFile>(destination_ / filename_);
  }
  void on_data(std::string_view bytes) override {
    if (wanted_) file_->write(bytes);
  }
  void on_part_end() override { wanted_ = false; }

  fs::path destination_;
  std::string filename_;
  std::unique_ptr<NewFile> file_;
  bool wanted_ = false;
};

// Sends what the packer writes into a pipe; its back-pressure is the pipe's.
asio::awaitable<void> send_packed(asio::any_io_executor executor, HttpExchange& exchange, fs::path source,
                                  PackOptions options, std::string_view content_type,
                                  std::string disposition) {
  Pipe pipe = make_pipe("making a pipe");
  auto into = std::make_shared<UniqueFd>(std::move(pipe.write));
  BlockingTask packing(executor, [into, source = std::move(source), options] {
    const UniqueFd fd = std::move(*into);  // closed when done, which ends the reader
    pack(fd.get(), source, options);
  });
  asio::posix::stream_descriptor from(executor, pipe.read.release());
  from.native_non_blocking(true);

  std::vector<char> buffer(kPiece);
  // The first piece is awaited before the status is sent: what cannot be read at all is an error, not half a
  // file.
  auto [first_error, n] = co_await from.async_read_some(asio::buffer(buffer), kAsTuple);
  std::optional<HttpError> failure;
  if (first_error) {
    try {
      co_await packing.join();
    } catch (const Error& error) {
      failure.emplace(status_of(error), error.what());
    }
    if (failure) throw *failure;
  }
  const std::array<HttpExchange::Header, 1> headers{{{"Content-Disposition", disposition}}};
  bool alive = co_await exchange.start(200, content_type, std::nullopt, headers);
  while (alive && n > 0) {
    alive = co_await exchange.write({buffer.data(), n});
    if (!alive) break;
    boost::system::error_code error;
    std::tie(error, n) = co_await from.async_read_some(asio::buffer(buffer), kAsTuple);
    if (error) break;
  }
  from.close();
  bool whole = alive;
  try {
    co_await packing.join();
  } catch (const Error&) {
    whole = false;
  }
  if (!whole) {
    exchange.abort();  // a truncated archive must not look like a complete one
    co_return;
  }
  (void)co_await exchange.finish();
}

std::string attachment(const std::string& name) {
  std::string quoted;
  for (const char c : name) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '_' : c;
  }
  return "attachment; filename=\"" + quoted + "\"";
}

fs::path without_trailing_slash(const std::string& path) {
  fs::path clean = fs::path(path).lexically_normal();
  return clean.has_filename() ? clean : clean.parent_path();
}

}  // namespace

asio::awaitable<void> upload_file(asio::any_io_executor executor, HttpExchange& exchange) {
  const std::string destination = absolute_path(exchange, "destination");
  const bool recursive = flag_of(exchange, "recursive");
  const std::string boundary = net::multipart_boundary(exchange.header("content-type"));
  if (boundary.empty()) throw HttpError(422, "The body must be multipart/form-data with a field 'file'.");
  std::optional<HttpError> failure;
  try {
    make_folder(destination);
    UploadParser parser(boundary, destination);
    std::vector<char> buffer(kPiece);
    while (true) {
      const std::size_t n = co_await exchange.read_some(buffer);
      if (n == 0) break;
      parser.feed({buffer.data(), n});
    }
    if (!parser.complete()) throw HttpError(400, "The form ended before its closing boundary.");
    NewFile* file = parser.file();
    if (file == nullptr) throw HttpError(422, "The form has no field 'file'.");
    const bool is_zip = parser.filename().ends_with(".zip");
    if (recursive && !is_zip) throw HttpError(400, "A recursive upload must be a zip file.");
    if (is_zip) {
      const int fd = file->fd();
      BlockingTask unpacking(executor, [fd, destination] {
        extract(fd, destination, {.format = ArchiveFormat::zip, .outward_symlinks = true});
      });
      co_await unpacking.join();
      file->discard();  // before the reply: whoever has that may list the folder
    } else {
      file->commit(0644);
    }
    json::object reply;
    reply["filename"] = parser.filename();
    reply["destination"] = destination;
    reply["recursive"] = recursive;
    co_await exchange.reply(200, write_json(reply));
  } catch (const Error& error) {
    failure.emplace(status_of(error), error.what());
  } catch (const std::invalid_argument& error) {
    failure.emplace(400, std::string("The form is malformed: ") + error.what() + ".");
  }
  if (failure) throw *failure;
}

asio::awaitable<void> download_files(asio::any_io_executor executor, HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  const fs::path source = without_trailing_slash(path);
  const std::string name = source.has_filename() ? source.filename().string() : std::string("root");
  co_await send_packed(std::move(executor), exchange, path, {.format = ArchiveFormat::zip}, "application/zip",
                       attachment(name + ".zip"));
}

asio::awaitable<void> get_tree(asio::any_io_executor executor, HttpExchange& exchange) {
  const fs::path source = without_trailing_slash(absolute_path(exchange, "path"));
  const bool contents = exchange.query("contents").value_or("") == "1";
  co_await send_packed(std::move(executor), exchange, source,
                       {.format = ArchiveFormat::tar, .with_base_name = !contents}, "application/x-tar",
                       attachment(source.filename().string() + ".tar"));
}

asio::awaitable<void> put_tree(asio::any_io_executor executor, HttpExchange& exchange) {
  const std::string destination = absolute_path(exchange, "path");
  Pipe pipe = make_pipe("making a pipe");
  auto from = std::make_shared<UniqueFd>(std::move(pipe.read));
  auto report = std::make_shared<ExtractReport>();
  BlockingTask unpacking(executor, [from, destination, report] {
    const UniqueFd fd = std::move(*from);  // closed when done or failed, which ends the writer
    *report = extract(fd.get(), destination, {.format = ArchiveFormat::tar, .outward_symlinks = true});
  });
  asio::posix::stream_descriptor to(executor, pipe.write.release());
  to.native_non_blocking(true);

  std::optional<HttpError> failure;
  std::vector<char> buffer(kPiece);
  try {
    while (true) {
      const std::size_t n = co_await exchange.read_some(buffer);
      if (n == 0) break;
      const auto [error, written] = co_await asio::async_write(to, asio::buffer(buffer.data(), n), kAsTuple);
      if (error) break;  // the unpacker gave up; it says why
    }
  } catch (const HttpError& error) {
    failure = error;
  }
  to.close();
  try {
    co_await unpacking.join();
  } catch (const Error& error) {
    if (!failure) failure.emplace(status_of(error), error.what());
  }
  if (failure) throw *failure;
  json::object reply;
  reply["files"] = report->files;
  reply["directories"] = report->directories;
  reply["links"] = report->links;
  reply["bytes"] = report->bytes;
  co_await exchange.reply(200, write_json(reply));
}

asio::awaitable<void> get_file(HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  std::optional<Error> failure;
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    failure = system_error("reading " + path, errno);
  } else if (!S_ISREG(info.st_mode)) {
    failure.emplace(ErrorCode::conflict, "reading " + path + ": it is not a regular file");
  }
  if (failure) throw HttpError(status_of(*failure), failure->what());
  const std::uint64_t offset = number(exchange, "offset").value_or(0);
  std::uint64_t left = number(exchange, "length").value_or(std::numeric_limits<std::uint64_t>::max());
  if (offset > 0 && ::lseek(fd.get(), to_offset(offset), SEEK_SET) < 0) {
    throw HttpError(400, "'offset' is beyond what a file can hold.");
  }
  std::array<char, 8> mode{};
  const auto mode_end = std::to_chars(mode.data(), mode.data() + mode.size(), info.st_mode & 0777U, 8).ptr;
  // Chunked, since a file may grow or shrink while it is sent.
  const std::array<HttpExchange::Header, 1> headers{
      {{"X-Sandkey-Mode", std::string_view(mode.data(), static_cast<std::size_t>(mode_end - mode.data()))}}};
  bool alive = co_await exchange.start(200, "application/octet-stream", std::nullopt, headers);
  std::vector<char> buffer(kPiece);
  while (alive && left > 0) {
    const ssize_t n = ::read(fd.get(), buffer.data(), std::min<std::uint64_t>(buffer.size(), left));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) exchange.abort();
    if (n <= 0) break;
    left -= static_cast<std::uint64_t>(n);
    alive = co_await exchange.write({buffer.data(), static_cast<std::size_t>(n)});
  }
  (void)co_await exchange.finish();
}

asio::awaitable<void> put_file(HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  const unsigned mode = mode_of(exchange, 0644);
  const bool in_place = exchange.query("in_place").value_or("") == "1";
  std::optional<HttpError> failure;
  try {
    make_folder(fs::path(path).parent_path());
    std::optional<NewFile> whole;
    UniqueFd existing;
    if (in_place) {
      existing = open_in_place(path, mode);
    } else {
      whole.emplace(fs::path(path));
    }
    const int fd = in_place ? existing.get() : whole->fd();
    std::vector<char> buffer(kPiece);
    std::uint64_t total = 0;
    while (true) {
      const std::size_t n = co_await exchange.read_some(buffer);
      if (n == 0) break;
      write_all(fd, {buffer.data(), n}, "writing " + path);
      total += n;
    }
    if (whole) whole->commit(mode);
    json::object reply;
    reply["path"] = path;
    reply["bytes"] = total;
    co_await exchange.reply(200, write_json(reply));
  } catch (const Error& error) {
    failure.emplace(status_of(error), error.what());
  }
  if (failure) throw *failure;
}

asio::awaitable<void> get_stat(HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  struct stat info {};
  json::object reply;
  if (::stat(path.c_str(), &info) == 0) {
    reply["type"] = S_ISREG(info.st_mode) ? "file" : S_ISDIR(info.st_mode) ? "directory" : "other";
    reply["size"] = static_cast<std::int64_t>(info.st_size);
    reply["mode"] = info.st_mode & 07777U;
  } else if (errno == ENOENT || errno == ENOTDIR) {
    reply["type"] = "missing";
  } else {
    const Error error = system_error("looking at " + path, errno);
    throw HttpError(status_of(error), error.what());
  }
  co_await exchange.reply(200, write_json(reply));
}

}  // namespace sandkey::agent
