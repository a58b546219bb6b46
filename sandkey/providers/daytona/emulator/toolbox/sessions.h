// /process/session: shells that stay, and the commands that run in them one after the other.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/emulator/machine/processes.h"
#include "sandkey/net/http_server.h"
#include "sandkey/net/websocket.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"
#include "sandkey/providers/daytona/emulator/toolbox/session_log.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::daytona_toolbox {

struct SessionCommand {
  std::string id = {};
  std::string text = {};
  bool async = false;
  bool echo_input = true;
  std::string log = {};
  std::optional<int> exit_code = std::nullopt;
  std::array<bool, 2> ended{};  // of stdout and stderr: all that it wrote itself is in the log
  [[nodiscard]] bool over() const noexcept { return exit_code && ended[0] && ended[1]; }
};

// What a session's shell writes, put into the logs of its commands. The shell says on both outputs where a
// command ends, by a word that only it knows: `word:INDEX:STATUS`, without a status on stderr.
class SessionOutput {
 public:
  static constexpr std::size_t kMaxLog = std::size_t{64} * 1024 * 1024;
  static constexpr std::size_t kMaxLine = std::size_t{1024} * 1024;  // a longer one becomes two

  explicit SessionOutput(std::string word) : word_(std::move(word)) {}

  void add(std::shared_ptr<SessionCommand> command) { commands_.push_back(std::move(command)); }
  [[nodiscard]] const std::vector<std::shared_ptr<SessionCommand>>& commands() const noexcept {
    return commands_;
  }
  [[nodiscard]] const std::string& word() const noexcept { return word_; }

  // Channel 0 is stdout, 1 is stderr.
  void feed(std::size_t channel, std::string_view bytes);
  // The shell has ended: nothing comes any more, and what has not ended never will.
  void finish();

 private:
  void take_line(std::size_t channel, std::string_view line);
  void end_command(std::size_t channel, std::string_view marker);
  void append(std::size_t channel, std::string_view line);

  std::string word_;
  std::vector<std::shared_ptr<SessionCommand>> commands_;
  std::array<std::string, 2> partial_;        // lines that are not complete
  std::array<std::size_t, 2> next_to_end_{};  // the command whose lines come now
};

// Throws ToolboxError. On one thread; the view and the table must outlive it.
class Sessions {
 public:
  Sessions(MachineView& view, machine::ProcessTable& processes);

  asio::awaitable<void> create(net::HttpExchange& exchange);
  asio::awaitable<void> list(net::HttpExchange& exchange);
  asio::awaitable<void> get(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> remove(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> execute(net::HttpExchange& exchange, std::string id);
  asio::awaitable<void> command(net::HttpExchange& exchange, std::string id, std::string command);
  asio::awaitable<void> logs(net::HttpExchange& exchange, std::string id, std::string command);
  asio::awaitable<void> input(net::HttpExchange& exchange, std::string id, std::string command);
  asio::awaitable<void> entrypoint(net::HttpExchange& exchange);
  asio::awaitable<void> entrypoint_logs(net::HttpExchange& exchange);

  // For when the sandbox is gone.
  void cancel() { tasks_.cancel(); }
  asio::awaitable<void> join() { return tasks_.join(); }

 private:
  struct Session;
  using SessionPtr = std::shared_ptr<Session>;
  using CommandPtr = std::shared_ptr<SessionCommand>;

  [[nodiscard]] SessionPtr require(const std::string& id) const;
  [[nodiscard]] static CommandPtr require(const Session& session, const std::string& command);
  asio::awaitable<void> start(SessionPtr session);
  asio::awaitable<void> type(SessionPtr session, std::string text);
  asio::awaitable<CommandPtr> begin(SessionPtr session, std::string text, bool async, bool echo_input);
  static asio::awaitable<void> pump(SessionPtr session);
  asio::awaitable<void> end_shell(SessionPtr session);
  asio::awaitable<void> send_logs(net::HttpExchange& exchange, SessionPtr session, CommandPtr command,
                                  bool merge);
  asio::awaitable<void> follow_by_http(net::HttpExchange& exchange, SessionPtr session, CommandPtr command);
  asio::awaitable<void> follow_by_websocket(net::HttpExchange& exchange, SessionPtr session,
                                            CommandPtr command, bool follow, bool merge);
  static asio::awaitable<void> tell(net::WebSocket& socket, SessionPtr session, CommandPtr command,
                                    bool follow, LogShape shape);
  [[nodiscard]] std::string folder_of(const Session& session) const;

  MachineView& view_;
  machine::ProcessTable& processes_;
  std::map<std::string, SessionPtr, std::less<>> sessions_;
  SessionPtr entrypoint_;
  TaskGroup tasks_;
};

}  // namespace sandkey::daytona_toolbox
