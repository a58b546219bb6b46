#include "sandkey/providers/e2b/emulator/envd/filesystem_service.h"

#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/emulator/machine/file_text.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

constexpr std::chrono::seconds kPatience{60};

FileType file_type(RemoteEntry::Type type) {
  switch (type) {
    case RemoteEntry::Type::file:
      return FILE_TYPE_FILE;
    case RemoteEntry::Type::directory:
      return FILE_TYPE_DIRECTORY;
    case RemoteEntry::Type::symlink:
      return FILE_TYPE_SYMLINK;
    case RemoteEntry::Type::other:
      break;
  }
  return FILE_TYPE_UNSPECIFIED;
}

// What comes from a file system must not be UTF-8; a protobuf string must.
std::string text(const std::string& bytes) {
  return utf8::sanitize(bytes);
}

bool is_folder(const RemoteEntry& entry) {
  return entry.type == RemoteEntry::Type::directory || entry.target_type == RemoteEntry::Type::directory;
}

RpcError not_found(const std::string& what, const std::string& path) {
  return {RpcCode::not_found, what + " not found: lstat " + path + ": no such file or directory"};
}

}  // namespace

EntryInfo entry_info(const RemoteEntry& entry, const Accounts& accounts) {
  const bool link = entry.type == RemoteEntry::Type::symlink;
  EntryInfo info;
  info.set_name(text(machine::base_name(entry.path)));
  info.set_path(text(entry.path));
  if (!link) {
    info.set_type(file_type(entry.type));
    info.set_mode(entry.mode & 0777U);
  } else if (entry.target_type) {
    info.set_type(file_type(*entry.target_type));
    info.set_mode(entry.target_mode & 0777U);
  }
  info.set_size(static_cast<std::int64_t>(entry.size));
  info.set_permissions(machine::go_permissions(entry.type, entry.mode));
  info.set_owner(accounts.owner(entry.uid));
  info.set_group(accounts.group(entry.gid));
  const auto seconds = std::chrono::floor<std::chrono::seconds>(entry.modified);
  info.mutable_modified_time()->set_seconds(seconds.count());
  info.mutable_modified_time()->set_nanos(static_cast<int>((entry.modified - seconds).count()));
  // One that leads nowhere is its own target.
  if (link) info.set_symlink_target(text(entry.target_type ? entry.target : entry.path));
  for (const auto& [name, value] : entry.attributes) (*info.mutable_metadata())[text(name)] = text(value);
  return info;
}

FilesystemService::FilesystemService(Engine& engine, asio::any_io_executor executor, AgentClient& agent,
                                     Accounts& accounts, std::string workdir)
    : engine_(engine),
      executor_(std::move(executor)),
      agent_(agent),
      accounts_(accounts),
      workdir_(std::move(workdir)),
      watchers_(engine) {}

std::string FilesystemService::resolve(const std::string& path, const Account& account) const {
  try {
    return resolve_path(path, account, workdir_);
  } catch (const PathError& error) {
    throw RpcError(RpcCode::invalid_argument, error.what());
  }
}

asio::awaitable<EntryInfo> FilesystemService::look_at(std::string path) {
  try {
    const std::vector<RemoteEntry> entries =
        co_await agent_.entries(path, 0, engine_.in(kPatience), kMetadataPrefix);
    co_return entry_info(entries.front(), accounts_);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
  throw RpcError(RpcCode::not_found, "file not found: lstat " + path + ": no such file or directory");
}

asio::awaitable<StatResponse> FilesystemService::stat(Account account, StatRequest request) {
  StatResponse response;
  *response.mutable_entry() = co_await look_at(resolve(request.path(), account));
  co_return response;
}

asio::awaitable<MakeDirResponse> FilesystemService::make_dir(Account account, MakeDirRequest request) {
  const std::string path = resolve(request.path(), account);
  const RemoteStat before = co_await agent_.stat(path, engine_.in(kPatience));
  if (before.type == RemoteStat::Type::directory)
    throw RpcError(RpcCode::already_exists, "directory already exists: " + path);
  if (before.type != RemoteStat::Type::missing) {
    throw RpcError(RpcCode::invalid_argument, "path already exists but it is not a directory: " + path);
  }
  std::optional<RpcError> failure;
  try {
    co_await agent_.make_folder(path, engine_.in(kPatience));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::unavailable || error.code() == ErrorCode::sandbox_dead) throw;
    failure.emplace(RpcCode::internal, std::string("failed to create directory: ") + error.what());
  }
  if (failure) throw *failure;
  MakeDirResponse response;
  *response.mutable_entry() = co_await look_at(path);
  co_return response;
}

asio::awaitable<MoveResponse> FilesystemService::move(Account account, MoveRequest request) {
  const std::string from = resolve(request.source(), account);
  const std::string to = resolve(request.destination(), account);
  std::optional<RpcError> failure;
  try {
    co_await agent_.move(from, to, engine_.in(kPatience));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::unavailable || error.code() == ErrorCode::sandbox_dead) throw;
    failure.emplace(error.code() == ErrorCode::not_found ? RpcCode::not_found : RpcCode::internal,
                    error.code() == ErrorCode::not_found
                        ? "source file not found: rename " + from + " " + to + ": no such file or directory"
                        : std::string("error renaming: ") + error.what());
  }
  if (failure) throw *failure;
  MoveResponse response;
  *response.mutable_entry() = co_await look_at(to);
  co_return response;
}

asio::awaitable<void> FilesystemService::explain_dead_link(std::string path) {
  bool loop = false;
  try {
    (void)co_await agent_.stat(path, engine_.in(kPatience));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    loop = true;
  }
  if (!loop) throw not_found("path", path);
  throw RpcError(RpcCode::failed_precondition, "cyclic symlink or chain >255 links at \"" + path + "\"");
}

asio::awaitable<ListDirResponse> FilesystemService::list_dir(Account account, ListDirRequest request) {
  const std::string path = resolve(request.path(), account);
  const unsigned depth = std::max(1U, request.depth());
  std::vector<RemoteEntry> entries;
  std::optional<RpcError> failure;
  try {
    entries = co_await agent_.entries(path, depth, engine_.in(kPatience), kMetadataPrefix);
  } catch (const Error& error) {
    const bool too_many = error.code() == ErrorCode::invalid_argument;
    if (error.code() != ErrorCode::not_found && !too_many) throw;
    failure = too_many ? RpcError(RpcCode::resource_exhausted, error.what()) : not_found("path", path);
  }
  if (failure) throw *failure;
  const RemoteEntry& root = entries.front();
  const bool leads_nowhere = root.type == RemoteEntry::Type::symlink && !root.target_type;
  if (leads_nowhere) co_await explain_dead_link(path);
  if (!is_folder(root)) throw RpcError(RpcCode::invalid_argument, "path is not a directory: " + path);
  ListDirResponse response;
  for (std::size_t i = 1; i < entries.size(); ++i)
    *response.add_entries() = entry_info(entries[i], accounts_);
  co_return response;
}

asio::awaitable<RemoveResponse> FilesystemService::remove(Account account, RemoveRequest request) {
  const std::string path = resolve(request.path(), account);
  std::optional<RpcError> failure;
  try {
    co_await agent_.remove(path, engine_.in(kPatience));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::unavailable || error.code() == ErrorCode::sandbox_dead) throw;
    failure.emplace(RpcCode::internal, std::string("error removing file or directory: ") + error.what());
  }
  if (failure) throw *failure;
  co_return RemoveResponse();
}

asio::awaitable<FilesystemEvent> FilesystemService::with_entry(std::string folder, FilesystemEvent event) {
  const bool still_there = event.type() == EVENT_TYPE_CREATE || event.type() == EVENT_TYPE_WRITE ||
                           event.type() == EVENT_TYPE_CHMOD;
  if (!still_there) co_return event;
  try {
    *event.mutable_entry() = co_await look_at(folder + "/" + event.name());
  } catch (const RpcError&) {
    event.clear_entry();  // it went meanwhile
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    event.clear_entry();
  }
  co_return event;
}

asio::awaitable<std::unique_ptr<FolderWatch>> FilesystemService::watch(std::string path, bool recursive,
                                                                       bool include_entry) {
  const RemoteStat info = co_await agent_.stat(path, engine_.in(kPatience));
  if (info.type == RemoteStat::Type::missing) {
    throw RpcError(RpcCode::not_found,
                   "path " + path + " not found: stat " + path + ": no such file or directory");
  }
  if (info.type != RemoteStat::Type::directory)
    throw RpcError(RpcCode::invalid_argument, "path " + path + " not a directory");
  AgentWatch watching = co_await agent_.watch(path, recursive, engine_.in(kPatience));
  FolderWatch::Complete complete = [](FilesystemEvent event) -> asio::awaitable<FilesystemEvent> {
    co_return event;
  };
  if (include_entry) {
    complete = [this, path](FilesystemEvent event) { return with_entry(path, std::move(event)); };
  }
  co_return std::make_unique<FolderWatch>(engine_, executor_, std::move(watching), std::move(complete));
}

asio::awaitable<void> FilesystemService::watch_dir(RpcCall& call, Account account) {
  WatchDirRequest request;
  co_await call.read(request);
  const Deadline deadline = call.deadline();
  const std::unique_ptr<FolderWatch> watching =
      co_await watch(resolve(request.path(), account), request.recursive(), request.include_entry());
  co_await watching->task().run(tell(call, *watching, deadline));
}

asio::awaitable<void> FilesystemService::tell(RpcCall& call, FolderWatch& watch, Deadline deadline) {
  const std::chrono::seconds keepalive = call.keepalive();
  WatchDirResponse response;
  response.mutable_start();
  bool alive = co_await call.send(response);
  auto next_keepalive = std::chrono::steady_clock::now() + keepalive;
  while (alive) {
    if (std::chrono::steady_clock::now() >= deadline)
      throw RpcError(RpcCode::deadline_exceeded, "context deadline exceeded");
    for (FilesystemEvent& event : watch.take()) {
      *response.mutable_filesystem() = std::move(event);
      if (!alive) break;
      alive = co_await call.send(response);
      next_keepalive = std::chrono::steady_clock::now() + keepalive;
    }
    if (alive && std::chrono::steady_clock::now() >= next_keepalive) {
      response.mutable_keepalive();
      alive = co_await call.send(response);
      next_keepalive = std::chrono::steady_clock::now() + keepalive;
    }
    if (alive && !watch.ready())
      (void)co_await watch.changed().wait_until(std::min(deadline, next_keepalive));
  }
  watch.task().cancel();
}

asio::awaitable<CreateWatcherResponse> FilesystemService::create_watcher(Account account,
                                                                         CreateWatcherRequest request) {
  std::unique_ptr<FolderWatch> watching =
      co_await watch(resolve(request.path(), account), request.recursive(), request.include_entry());
  CreateWatcherResponse response;
  response.set_watcher_id(watchers_.add(std::move(watching)));
  co_return response;
}

asio::awaitable<GetWatcherEventsResponse> FilesystemService::get_watcher_events(
    Account, GetWatcherEventsRequest request) {
  FolderWatch* const watching = watchers_.find(request.watcher_id());
  if (watching == nullptr)
    throw RpcError(RpcCode::not_found, "watcher with id " + request.watcher_id() + " not found");
  GetWatcherEventsResponse response;
  for (FilesystemEvent& event : watching->take()) *response.add_events() = std::move(event);
  co_return response;
}

asio::awaitable<RemoveWatcherResponse> FilesystemService::remove_watcher(Account,
                                                                         RemoveWatcherRequest request) {
  if (!watchers_.remove(request.watcher_id()))
    throw RpcError(RpcCode::not_found, "watcher with id " + request.watcher_id() + " not found");
  co_return RemoveWatcherResponse();
}

}  // namespace sandkey::e2b_envd
