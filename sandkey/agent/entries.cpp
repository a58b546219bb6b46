#include "sandkey/agent/entries.h"

#include "sandkey/agent/request_parts.h"
#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_server.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using net::HttpError;
using net::HttpExchange;

constexpr std::size_t kMaxAttributes = std::size_t{64} * 1024;  // of one file, as Linux has it

std::string_view type_name(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  return S_ISLNK(mode) ? "symlink" : "other";
}

std::string read_link(const std::string& path) {
  std::error_code error;
  return fs::read_symlink(path, error).string();
}

void describe_target(const std::string& path, json::object& entry) {
  const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr), std::free);
  entry["target"] = resolved ? std::string(resolved.get()) : read_link(path);
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return;
  entry["target_type"] = type_name(info.st_mode);
  entry["target_mode"] = info.st_mode & 07777U;
}

std::vector<std::string> attribute_names(const std::string& path, std::string_view prefix) {
  std::vector<char> names(kMaxAttributes);
  const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
  std::vector<std::string> found;
  for (ssize_t at = 0; at < size;) {
    const std::string name(names.data() + at);
    at += static_cast<ssize_t>(name.size()) + 1;
    if (name.starts_with(prefix)) found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

json::object attributes_of(const std::string& path, std::string_view prefix) {
  json::object found;
  for (const std::string& name : attribute_names(path, prefix)) {
    std::vector<char> value(kMaxAttributes);
    const ssize_t size = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) continue;
    found[name.substr(prefix.size())] = std::string_view(value.data(), static_cast<std::size_t>(size));
  }
  return found;
}

struct Listing {
  std::optional<std::string> attributes;  // their prefix
  json::array entries = {};

  // False if it is gone already.
  bool add(const std::string& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return false;
    if (entries.size() >= kMaxEntries) {
      throw HttpError(413, "There are more than " + std::to_string(kMaxEntries) +
                               " entries; ask for fewer levels at once.");
    }
    json::object entry;
    entry["path"] = path;
    entry["type"] = type_name(info.st_mode);
    entry["size"] = static_cast<std::int64_t>(info.st_size);
    entry["mode"] = info.st_mode & 07777U;
    entry["uid"] = info.st_uid;
    entry["gid"] = info.st_gid;
    entry["modified"] = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
    if (S_ISLNK(info.st_mode)) describe_target(path, entry);
    if (attributes && !S_ISLNK(info.st_mode)) entry["attributes"] = attributes_of(path, *attributes);
    entries.emplace_back(std::move(entry));
    return true;
  }

  void descend(const std::string& folder, std::uint64_t levels) {
    if (levels == 0) return;
    std::vector<std::pair<std::string, bool>> children;  // name, whether a folder
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      std::error_code ignored;
      children.emplace_back(it->path().filename().string(), fs::is_directory(it->symlink_status(ignored)));
    }
    std::sort(children.begin(), children.end());
    for (const auto& [name, is_folder] : children) {
      std::string path = folder == "/" ? std::string() : folder;
      path.append("/").append(name);
      if (add(path) && is_folder) descend(path, levels - 1);
    }
  }
};

void make_parents(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) throw system_error("making the folder " + path.parent_path().string(), error.value());
}

[[noreturn]] void fail(const std::string& doing, int error_number) {
  const Error error = system_error(doing, error_number);
  throw HttpError(status_of(error), error.what());
}

// Between file systems: a copy that becomes the target once it is whole.
void move_by_copy(const fs::path& from, const fs::path& to) {
  const std::string doing = "moving " + from.string() + " to " + to.string();
  std::string folder = (to.parent_path() / ".sandkey-move-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) throw system_error(doing, errno);
  const fs::path copy = fs::path(folder) / "entry";
  std::error_code error;
  fs::copy(from, copy, fs::copy_options::recursive | fs::copy_options::copy_symlinks, error);
  const int failed = error ? error.value() : ::rename(copy.c_str(), to.c_str()) != 0 ? errno : 0;
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  if (failed != 0) throw system_error(doing, failed);
  fs::remove_all(from, error);
  if (error) throw system_error(doing, error.value());
}

void move_path(const std::string& from, const std::string& to) {
  struct stat info {};
  if (::lstat(from.c_str(), &info) != 0) throw system_error("moving " + from, errno);
  make_parents(to);
  if (::rename(from.c_str(), to.c_str()) == 0) return;
  if (errno != EXDEV) throw system_error("moving " + from + " to " + to, errno);
  move_by_copy(from, to);
}

void replace_attributes(const std::string& path, const std::string& prefix, const json::object& attributes) {
  const std::string doing = "setting attributes of " + path;
  for (const std::string& name : attribute_names(path, prefix)) {
    if (!attributes.contains(name.substr(prefix.size())) && ::removexattr(path.c_str(), name.c_str()) != 0) {
      fail(doing, errno);
    }
  }
  for (const auto& [name, value] : attributes) {
    if (!value.is_string()) throw HttpError(422, "The body must be an object of strings.");
    const std::string full = prefix + std::string(name);
    const json::string& text = value.get_string();
    if (::setxattr(path.c_str(), full.c_str(), text.data(), text.size(), 0) != 0) fail(doing, errno);
  }
}

// On a thread of its own; what it throws becomes a status.
asio::awaitable<void> run(std::function<void()> work) {
  std::optional<HttpError> failure;
  try {
    co_await run_to_end(std::move(work));
  } catch (const Error& error) {
    failure.emplace(status_of(error), error.what());
  }
  if (failure) throw *failure;
}

}  // namespace

asio::awaitable<void> list_entries(HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  const std::uint64_t depth = number(exchange, "depth").value_or(0);
  Listing listing{.attributes = exchange.query("attributes")};
  std::function<void()> work = [&listing, &path, depth] {
    if (!listing.add(path)) throw system_error("looking at " + path, errno);
    struct stat info {};
    if (depth > 0 && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) listing.descend(path, depth);
  };
  co_await run(std::move(work));
  json::object reply;
  reply["entries"] = std::move(listing.entries);
  co_await exchange.reply(200, write_json(reply));
}

asio::awaitable<void> make_folder(HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) fail("making the folder " + path, EEXIST);
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("making the folder " + path, error.value());
  co_await exchange.reply(201, "{}");
}

asio::awaitable<void> move_entry(HttpExchange& exchange) {
  const std::string from = absolute_path(exchange, "from");
  const std::string to = absolute_path(exchange, "to");
  std::function<void()> work = [&from, &to] { move_path(from, to); };
  co_await run(std::move(work));
  co_await exchange.reply(200, "{}");
}

asio::awaitable<void> remove_entries(HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  std::uintmax_t removed = 0;
  std::function<void()> work = [&path, &removed] {
    std::error_code error;
    removed = fs::remove_all(path, error);
    if (!error) return;
    removed = 0;
    if (error.value() != ENOENT && error.value() != ENOTDIR)
      throw system_error("removing " + path, error.value());
  };
  co_await run(std::move(work));
  json::object reply;
  reply["removed"] = removed;
  co_await exchange.reply(200, write_json(reply));
}

asio::awaitable<void> set_attributes(HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  const std::string prefix = exchange.query("prefix").value_or("");
  if (prefix.empty()) throw HttpError(422, "The query parameter 'prefix' is missing.");
  const std::string body = co_await exchange.read_body(kMaxAttributes);
  std::optional<HttpError> failure;
  try {
    const json::value attributes = parse_json(body, "The request body");
    if (!attributes.is_object()) throw HttpError(422, "The request body must be a JSON object.");
    replace_attributes(path, prefix, attributes.get_object());
  } catch (const Error& error) {
    failure.emplace(422, error.what());
  }
  if (failure) throw *failure;
  co_await exchange.reply(200, "{}");
}

}  // namespace sandkey::agent
