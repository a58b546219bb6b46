// Speaks to an action execution server: Sandkey's agent, or OpenHands' own.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/events/action.h"
#include "sandkey/events/observation.h"
#include "sandkey/net/http_client.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sandkey {

// What an agent says of itself.
struct AgentGreeting {
  std::string version = {};
  int protocol = 0;  // 0: not Sandkey's agent, which limits us to OpenHands' protocol
  std::string working_dir = {};
  bool python = true;
};

// The agent protocol this client was written for.
inline constexpr int kAgentProtocol = 1;

struct RemoteStat {
  enum class Type { missing, file, directory, other } type = Type::missing;
  std::uint64_t size = 0;
  unsigned mode = 0;
};

// A command to run beside the persistent shell, with its own input and outputs.
struct ExecCommand {
  std::vector<std::string> argv = {};
  std::map<std::string, std::string> env = {};
  std::string cwd = {};  // empty: the agent's working directory
  bool input = true;     // false: its stdin is /dev/null
  std::optional<std::pair<unsigned, unsigned>> terminal = std::nullopt;  // rows, columns
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;  // then it is killed with all it started
};

struct ExecResult {
  int exit_code = 0;  // as a shell reports it: 128 + the signal that ended it
  std::optional<int> signal = std::nullopt;
  bool timed_out = false;
};

// Takes output as it comes; the command waits while it runs. Channel 0 is stdout, 1 stderr.
using ExecSink = std::function<asio::awaitable<void>(std::size_t channel, std::span<const std::byte> bytes)>;

class AgentClient;

// A running command, or a connection to a port inside. Its agent keeps it while a client is away: follow()
// goes on at the byte it had reached over as many connections as it takes.
class AgentStream {
 public:
  [[nodiscard]] const std::string& id() const noexcept { return id_; }

  // Delivers all output, each byte once, and returns at the end. Called once; what the sink throws ends it.
  // `on_started` is told as soon as the agent has the stream, from when on the other members may be used.
  asio::awaitable<ExecResult> follow(ExecSink sink, std::function<void()> on_started = {});
  // False when the other end takes no more. Repeated safely when a connection breaks.
  asio::awaitable<bool> write(std::span<const std::byte> bytes);
  asio::awaitable<void> close_input();
  asio::awaitable<void> signal(int number);
  asio::awaitable<void> resize(unsigned rows, unsigned columns);
  // Ends it, whatever it is doing.
  asio::awaitable<void> kill();

 private:
  friend class AgentClient;
  AgentStream(AgentClient& client, std::string id, std::string start_path, std::string start_body);
  asio::awaitable<HttpStream> open();
  asio::awaitable<void> post(std::string verb, QueryParameters query);
  asio::awaitable<bool> send_input(std::span<const std::byte> bytes, bool eof);

  AgentClient& client_;
  std::string id_;
  std::string start_path_;
  std::string start_body_;
  bool started_ = false;
  std::uint64_t received_[2] = {0, 0};
  std::uint64_t acknowledged_[2] = {0, 0};
  std::uint64_t sent_ = 0;
};

// Used on the engine's threads. The engine must outlive it.
class AgentClient {
 public:
  AgentClient(Engine& engine, AgentAccess access);
  ~AgentClient();

  [[nodiscard]] Engine& engine() noexcept { return engine_; }
  [[nodiscard]] const Endpoint& endpoint() const noexcept { return access_.endpoint; }

  // How to learn, when the agent cannot be reached, whether its sandbox still exists: then what cannot
  // succeed any more is Error(sandbox_dead) at once, instead of being tried again. Lives as long as the
  // client.
  using SandboxCheck = std::function<asio::awaitable<bool>()>;
  void set_sandbox_check(SandboxCheck check) { sandbox_check_ = std::move(check); }

  // Whether the agent says it is ready. Throws Error when it says something else or nothing.
  asio::awaitable<void> alive(Deadline deadline);
  // Greets the agent and remembers what it is. Throws Error(unsupported) if the two are too far apart.
  asio::awaitable<AgentGreeting> greet(Deadline deadline);
  [[nodiscard]] const AgentGreeting& greeting() const noexcept { return greeting_; }

  // `key` makes a repeat harmless where the agent is Sandkey's: the action runs once, however often it is
  // sent, so a broken connection is tried again until the deadline. Elsewhere it is sent once.
  asio::awaitable<Observation> execute_action(Action action, std::string key, Deadline deadline);
  asio::awaitable<void> warm_python(Deadline deadline);

  asio::awaitable<std::vector<std::string>> list_files(std::optional<std::string> path, Deadline deadline);
  asio::awaitable<RemoteStat> stat(std::string path, Deadline deadline);

  using Progress = std::function<void(std::uint64_t bytes)>;
  // Single files, byte for byte, with their permissions.
  asio::awaitable<void> put_file(std::filesystem::path from, std::string to, Deadline deadline,
                                 Progress progress = {});
  asio::awaitable<void> get_file(std::string from, std::filesystem::path to, Deadline deadline,
                                 Progress progress = {});
  // The contents of a folder into a folder: modes, symbolic links and empty folders kept.
  asio::awaitable<void> put_tree(std::filesystem::path from, std::string to, Deadline deadline,
                                 Progress progress = {});
  asio::awaitable<void> get_tree(std::string from, std::filesystem::path to, Deadline deadline,
                                 Progress progress = {});

  // OpenHands' own way, for its servers: a form with the file, or a zip of the folder.
  asio::awaitable<void> upload_file(std::filesystem::path from, std::string destination_folder,
                                    bool recursive, Deadline deadline);
  asio::awaitable<void> download_files(std::string path, std::filesystem::path zip_file, Deadline deadline);

  // Nothing is sent before follow(). Throws Error(invalid_argument) for text that is not UTF-8.
  [[nodiscard]] std::unique_ptr<AgentStream> exec(const ExecCommand& command);
  [[nodiscard]] std::unique_ptr<AgentStream> dial(std::uint16_t port);

 private:
  friend class AgentStream;
  [[nodiscard]] HttpRequest request(std::string method, std::string path, QueryParameters query,
                                    std::string operation, Deadline deadline) const;
  // Sends and turns every status but 2xx into an Error.
  asio::awaitable<HttpResponse> call(HttpRequest request);
  // After an error that may mean it: throws Error(sandbox_dead) if the sandbox is known to be gone.
  asio::awaitable<void> require_sandbox(std::string operation);
  [[noreturn]] void fail(int status, const std::string& body, const std::string& operation) const;
  [[nodiscard]] std::string random_id() const;

  Engine& engine_;
  AgentAccess access_;
  AgentGreeting greeting_;
  SandboxCheck sandbox_check_;
  HttpClient http_;
};

}  // namespace sandkey
