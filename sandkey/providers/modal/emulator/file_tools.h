// What clients do to files: they run a program that every sandbox has, with one JSON argument. There is no
// such program here; this stands in for it.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/providers/modal/emulator/exec.h"
#include "sandkey/runtime/agent_client.h"

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace sandkey::modal::emulator {

inline constexpr std::string_view kFileTools = "/__modal/.bin/modal-sandbox-fs-tools";

// {"ReadFile": {"path": "/a"}} and the like.
struct FileRequest {
  enum class Kind { read, write, list, stat, make_folder, remove, watch } kind = Kind::read;
  std::string path = {};
  bool deep = false;                  // of make_folder: with parents; of remove and watch: all below
  std::set<std::string> filter = {};  // of watch: what is told; empty: everything
  std::optional<std::chrono::seconds> timeout = std::nullopt;
};
// Nothing for what is none.
[[nodiscard]] std::optional<FileRequest> parse_file_request(std::string_view text);

// "-rw-r--r--"
[[nodiscard]] std::string permissions_of(RemoteEntry::Type type, unsigned mode);
// As list and stat tell of it.
[[nodiscard]] json::object to_json(const RemoteEntry& entry);

class FileTool final : public Exec {
 public:
  FileTool(Engine& engine, asio::any_io_executor executor,
           std::shared_ptr<sandkey::emulator::LocalSandbox> sandbox, std::string argument,
           std::size_t output_limit);

 protected:
  asio::awaitable<ExitStatus> perform() override;
  asio::awaitable<bool> feed(std::string data) override;
  asio::awaitable<void> close_input() override;

 private:
  asio::awaitable<void> run(FileRequest request);
  asio::awaitable<void> read(std::string path);
  asio::awaitable<void> write(std::string path);
  asio::awaitable<void> list(std::string path);
  asio::awaitable<void> stat(std::string path);
  asio::awaitable<void> make_folder(std::string path, bool parents);
  asio::awaitable<void> remove(std::string path, bool recursive);
  asio::awaitable<void> watch(FileRequest request);
  asio::awaitable<void> end_watching(TaskGroup& watching, Deadline deadline);
  static asio::awaitable<void> tell_changes(FileTool& tool, FileRequest request);
  // The entry itself, links not followed; nothing if there is none.
  asio::awaitable<std::optional<RemoteEntry>> look(std::string path);
  asio::awaitable<std::size_t> take_input(std::span<std::byte> buffer);
  [[nodiscard]] AgentClient& agent() { return sandbox_->agent(); }
  [[nodiscard]] Deadline soon() const;

  Engine& engine_;
  std::shared_ptr<sandkey::emulator::LocalSandbox> sandbox_;
  std::string argument_;
  std::size_t output_limit_;
  std::string input_;  // that waits to be taken
  bool input_ended_ = false;
  bool done_ = false;
};

}  // namespace sandkey::modal::emulator
