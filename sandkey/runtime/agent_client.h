// Speaks to an action execution server: Sandkey's agent, or OpenHands' own.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/events/action.h"
#include "sandkey/events/observation.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/ndjson.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
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

// One entry of a folder, itself and not where it leads.
struct RemoteEntry {
  enum class Type { file, directory, symlink, other } type = Type::other;
  std::string path = {};
  std::uint64_t size = 0;
  unsigned mode = 0;  // permissions
  unsigned uid = 0, gid = 0;
  std::chrono::nanoseconds modified{0};  // since 1970
  // Of a symlink: where it leads, as far as that can be said, and what is there, if anything.
  std::string target = {};
  std::optional<Type> target_type = std::nullopt;
  unsigned target_mode = 0;
  std::map<std::string, std::string> attributes = {};  // those asked for, without their prefix
};

// A command to run beside the persistent shell, with its own input and outputs.
struct ExecCommand {
  std::vector<std::string> argv = {};
  std::map<std::string, std::string> env = {};
  std::string cwd = {};  // empty: the agent's working directory
  bool input = true;     // false: its stdin is /dev/null
  std::optional<std::pair<unsigned, unsigned>> terminal = std::nullopt;  // rows, columns
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;  // then it is killed with all it started
  // It ends when nobody holds its outputs open any more, instead of when the process itself does.
  bool to_end_of_output = false;
  // How long it may run without being followed; unset: the agent's five minutes, zero: for ever.
  std::optional<std::chrono::seconds> linger = std::nullopt;
};

struct ExecResult {
  int exit_code = 0;  // as a shell reports it: 128 + the signal that ended it
  std::optional<int> signal = std::nullopt;
  bool timed_out = false;
};

// Takes output as it comes; the command waits while it runs. Channel 0 is stdout, 1 stderr.
using ExecSink = std::function<asio::awaitable<void>(std::size_t channel, std::span<const std::byte> bytes)>;

class AgentClient;

// What changes in a folder inside.
class AgentWatch {
 public:
  struct Event {
    std::string name;                 // relative to the folder; "." for itself
    std::vector<std::string> events;  // of "create", "rename", "attributes", "write", "remove", in this order
  };

  // The next ones. Throws Error when the watch cannot go on: unavailable when the agent is gone,
  // quota_exceeded when too much changes at once.
  asio::awaitable<Event> next();

 private:
  friend class AgentClient;
  explicit AgentWatch(HttpStream stream) : lines_(source_of(std::move(stream))) {}
  NdjsonReader lines_;
};

// A running command, or a connection to a port inside. Its agent keeps it while a client is away: follow()
// goes on at the byte it had reached over as many connections as it takes.
class AgentStream {
 public:
  [[nodiscard]] const std::string& id() const noexcept { return id_; }

  // Its number inside, once it was started; 0 of a connection, and where the agent does not say.
  [[nodiscard]] int pid() const noexcept { return pid_; }

  // Delivers all output, each byte once, and returns at the end. What the sink throws ends it. One caller at
  // a time; after Error(unavailable) or (deadline_exceeded) the next call goes on where this one was.
  // `on_started` is told as soon as the agent has the stream, from when on the other members may be used.
  asio::awaitable<ExecResult> follow(ExecSink sink, std::function<void()> on_started = {});
  // False when the other end takes no more. Repeated safely when a connection breaks.
  asio::awaitable<bool> write(std::span<const std::byte> bytes);
  asio::awaitable<void> close_input();
  // To what is in its foreground.
  asio::awaitable<void> signal(int number);
  // To the process that was started and none of its children. After SIGTERM and SIGKILL it does not wait for
  // the end of output any more.
  asio::awaitable<void> signal_alone(int number);
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
  int pid_ = 0;
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
  [[nodiscard]] Endpoint endpoint() const { return access()->endpoint; }
  // For an agent that was started anew, perhaps elsewhere; what the old one ran is over.
  void set_access(AgentAccess access);

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

  // The entry and, where it is a folder, so many levels below it, in the order of their names; links are not
  // followed but for the path itself. With `attributes`, the extended ones of that prefix are told.
  asio::awaitable<std::vector<RemoteEntry>> entries(std::string path, unsigned depth, Deadline deadline,
                                                    std::string attributes = {});
  // Parents are made. Error(conflict) if there is something already.
  asio::awaitable<void> make_folder(std::string path, Deadline deadline);
  // As rename(2), also between file systems; parents are made.
  asio::awaitable<void> move(std::string from, std::string to, Deadline deadline);
  // With all below. Nothing there is no error.
  asio::awaitable<void> remove(std::string path, Deadline deadline);
  // Replaces all extended attributes of that prefix ("user.mine.").
  asio::awaitable<void> set_attributes(std::string path, std::string prefix,
                                       std::map<std::string, std::string> attributes, Deadline deadline);
  // Returns when nothing that changes from then on is missed.
  asio::awaitable<AgentWatch> watch(std::string path, bool recursive, Deadline deadline);

  // A file's bytes, as they are read. Throws if it is not a regular file.
  asio::awaitable<HttpStream> open_file(std::string path, std::uint64_t offset = 0,
                                        std::optional<std::uint64_t> length = std::nullopt);
  // Overwrites the file, or makes it and its parents; what breaks off leaves a part of it.
  asio::awaitable<void> write_file(std::string path, HttpBodySource bytes, Deadline deadline);

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
  [[nodiscard]] std::shared_ptr<const AgentAccess> access() const;

  mutable std::mutex access_mutex_;
  std::shared_ptr<const AgentAccess> access_;
  AgentGreeting greeting_;
  SandboxCheck sandbox_check_;
  const std::shared_ptr<HttpClient> http_;  // all agents', and so what it trusts is read once
};

}  // namespace sandkey
