// filesystem.Filesystem: what is in a sandbox, changing it, and watching it change.
#pragma once

#include "sandkey/providers/e2b/emulator/envd/accounts.h"
#include "sandkey/providers/e2b/emulator/envd/rpc.h"
#include "sandkey/providers/e2b/emulator/envd/watchers.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <envd.pb.h>
#include <memory>
#include <string>

namespace sandkey::e2b_envd {

// The extended attributes that hold a file's metadata.
inline constexpr const char* kMetadataPrefix = "user.e2b.";

// A symlink has the type and mode of what it leads to, and no type where that is nothing.
[[nodiscard]] EntryInfo entry_info(const RemoteEntry& entry, const Accounts& accounts);

// Throws RpcError. On one thread; everything referred to must outlive it.
class FilesystemService {
 public:
  FilesystemService(Engine& engine, asio::any_io_executor executor, AgentClient& agent, Accounts& accounts,
                    std::string workdir);

  asio::awaitable<StatResponse> stat(Account account, StatRequest request);
  asio::awaitable<MakeDirResponse> make_dir(Account account, MakeDirRequest request);
  asio::awaitable<MoveResponse> move(Account account, MoveRequest request);
  asio::awaitable<ListDirResponse> list_dir(Account account, ListDirRequest request);
  asio::awaitable<RemoveResponse> remove(Account account, RemoveRequest request);
  asio::awaitable<void> watch_dir(RpcCall& call, Account account);
  asio::awaitable<CreateWatcherResponse> create_watcher(Account account, CreateWatcherRequest request);
  asio::awaitable<GetWatcherEventsResponse> get_watcher_events(Account account,
                                                               GetWatcherEventsRequest request);
  asio::awaitable<RemoveWatcherResponse> remove_watcher(Account account, RemoveWatcherRequest request);

  // Ends the watchers.
  asio::awaitable<void> close() { return watchers_.close(); }

 private:
  [[nodiscard]] std::string resolve(const std::string& path, const Account& account) const;
  asio::awaitable<EntryInfo> look_at(std::string path);
  // Always throws.
  asio::awaitable<void> explain_dead_link(std::string path);
  asio::awaitable<std::unique_ptr<FolderWatch>> watch(std::string path, bool recursive, bool include_entry);
  asio::awaitable<void> tell(RpcCall& call, FolderWatch& watch, Deadline deadline);
  asio::awaitable<FilesystemEvent> with_entry(std::string folder, FilesystemEvent event);

  Engine& engine_;
  asio::any_io_executor executor_;
  AgentClient& agent_;
  Accounts& accounts_;
  std::string workdir_;
  Watchers watchers_;
};

}  // namespace sandkey::e2b_envd
