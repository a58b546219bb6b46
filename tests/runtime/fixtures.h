// What the tests of the client side need around it: a folder, programs, an agent, and servers and proxies
// that misbehave on purpose.
#pragma once

#include "sandkey/base/unique_fd.h"
#include "sandkey/net/url.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/fixed_agent.h"

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sandkey::runtime_test {

// Goes with all that is in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view text);
[[nodiscard]] std::string read_file(const std::string& path);
[[nodiscard]] unsigned mode_of(const std::string& path);

// A program, its standard streams and its end.
struct Spawn {
  std::vector<std::string> argv = {};
  std::map<std::string, std::string> environment = {};  // all of it
  int in = -1;                                          // /dev/null
  int out = -1;                                         // /dev/null
  int err = -1;                                         // /dev/null
  std::string controlling_terminal = {};                // in a session of its own, with this as its terminal
};
class Process {
 public:
  explicit Process(const Spawn& spawn);
  ~Process();  // killed if it still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;
  int wait();  // as a shell gives it: 128 + the signal that ended it

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

[[nodiscard]] bool have_python();

// Path and home of a plain user, whose home is `home`.
[[nodiscard]] std::map<std::string, std::string> plain_environment(const std::string& home);

// The real agent on a Unix socket in a folder of its own, with a home of its own.
class AgentProcess {
 public:
  explicit AgentProcess(std::map<std::string, std::string> more_environment = {},
                        std::vector<std::string> more_arguments = {});
  ~AgentProcess();  // ends it as its owner would
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;

  [[nodiscard]] std::string socket() const { return dir_ / "agent.sock"; }
  [[nodiscard]] std::string address() const { return "unix:" + socket(); }
  [[nodiscard]] std::string home() const { return dir_ / "home"; }
  [[nodiscard]] std::string work() const { return dir_ / "work"; }
  [[nodiscard]] const TempDir& dir() const noexcept { return dir_; }
  void kill();  // without warning

 private:
  TempDir dir_;
  std::unique_ptr<Process> process_;
};

[[nodiscard]] std::shared_ptr<Provider> fixed(const std::string& address, std::string_view key = {});
[[nodiscard]] OpenHandsConfig quick_config();

// Listens on a Unix socket and serves each connection on a thread of its own, until destroyed.
class UnixListener {
 public:
  using Serve = std::function<void(UnixListener&, int fd)>;
  UnixListener(std::string path, Serve serve);
  ~UnixListener();
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string address() const { return "unix:" + path_; }
  // Ends what a serving thread is waiting for when the listener goes.
  void watch(int fd);
  void unwatch(int fd);

 private:
  std::string path_;
  Serve serve_;
  UniqueFd listener_;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  bool stopping_ = false;
  std::thread acceptor_;
};

// Answers requests as told: the whole reply as bytes; empty: breaks the connection; nothing: never answers.
struct ScriptedRequest {
  std::string line;  // "GET /alive HTTP/1.1"
  std::string head;
  std::string body;
};
class ScriptedServer {
 public:
  using Script = std::function<std::optional<std::string>(const ScriptedRequest&)>;
  explicit ScriptedServer(Script script);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  [[nodiscard]] std::string address() const { return listener_->address(); }
  [[nodiscard]] std::vector<ScriptedRequest> requests() const;
  [[nodiscard]] std::size_t count(std::string_view part_of_line) const;

  [[nodiscard]] static std::string reply(int status, std::string_view body,
                                         std::string_view type = "application/json");

 private:
  void serve(UnixListener& listener, int fd);
  TempDir dir_;
  Script script_;
  mutable std::mutex mutex_;
  std::vector<ScriptedRequest> requests_;
  std::unique_ptr<UnixListener> listener_;
};

// Where a proxy breaks the connection, for one request.
struct Cut {
  enum class Where {
    nowhere,
    request,  // after so many bytes of the request; the agent sees no more
    reply,    // after so many bytes of the reply; 0: when it begins to come
    payload   // after so many bytes of the first frame's payload of a stream's reply
  } where = Where::nowhere;
  std::size_t after = 0;
};

// Between a client and the agent.
class CuttingProxy {
 public:
  // Asked with the line of each request.
  using Plan = std::function<Cut(const std::string& request_line)>;
  CuttingProxy(std::string agent_socket, Plan plan);
  ~CuttingProxy();
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;
  [[nodiscard]] std::string address() const { return listener_->address(); }
  [[nodiscard]] int cuts() const noexcept { return cuts_; }
  [[nodiscard]] int requests(std::string_view part_of_line) const;

 private:
  void serve(UnixListener& listener, int fd);
  TempDir dir_;
  std::string agent_socket_;
  Plan plan_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  std::atomic<int> cuts_{0};
  std::unique_ptr<UnixListener> listener_;
};

}  // namespace sandkey::runtime_test
