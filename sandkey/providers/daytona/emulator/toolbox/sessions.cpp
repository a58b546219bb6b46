#include "sandkey/providers/daytona/emulator/toolbox/sessions.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"
#include "sandkey/providers/daytona/emulator/toolbox/ids.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <span>
#include <utility>

namespace sandkey::daytona_toolbox {
namespace {

using Clock = std::chrono::steady_clock;
using net::HttpExchange;

constexpr std::size_t kFrame = 1024;  // of a log that is followed
constexpr std::size_t kPiece = std::size_t{32} * 1024;
// The daemon reads a log on for so long after its command's end, since children may still write.
constexpr std::chrono::seconds kQuiet{1};
constexpr std::chrono::seconds kLook{1};         // how often it is looked whether a client is still there
constexpr std::chrono::seconds kTermination{5};  // for a shell that is asked to end
constexpr std::chrono::seconds kInputPatience{10};
constexpr std::string_view kCut = "\n[the rest of the log is cut]\n";
constexpr const char* kEntrypoint = "entrypoint";
constexpr const char* kEntrypointCommand = "entrypoint_command";
constexpr const char* kVersionHeader = "x-daytona-sdk-version";

json::object to_object(const SessionCommand& command) {
  json::object object;
  object["id"] = command.id;
  object["command"] = command.text;
  if (command.over()) object["exitCode"] = *command.exit_code;
  return object;
}

ToolboxError session_ended() {
  return {410, "SESSION_ENDED", "session has ended"};
}

bool is_true(const std::optional<std::string>& text) {
  return text && (*text == "true" || *text == "1");
}

// A browser cannot send headers with a WebSocket, but subprotocols.
std::string offered_version(const HttpExchange& exchange) {
  for (const std::string& offer : net::offered_subprotocols(exchange)) {
    if (is_token(offer, "X-Daytona-SDK-Version")) return offer.substr(offer.find('~') + 1);
  }
  return {};
}

LogShape shape_of(const HttpExchange& exchange, const std::string& version) {
  return log_shape(version, exchange.header("x-daytona-split-output") == "true");
}

LogShape shape_of(const HttpExchange& exchange) {
  return shape_of(exchange, std::string(exchange.header(kVersionHeader)));
}

json::object logs_of(const SessionCommand& command, LogShape shape) {
  LogSplitter split = split_log(command.log);
  json::object object;
  object["output"] = shape == LogShape::merged ? split.merged : command.log;
  if (shape == LogShape::split) {
    object["stdout"] = std::move(split.outputs[0]);
    object["stderr"] = std::move(split.outputs[1]);
  }
  return object;
}

}  // namespace

// ---- What a shell writes

void SessionOutput::append(std::size_t channel, std::string_view line) {
  if (commands_.empty()) return;
  // What children write after the end of their command is still that command's, until another one begins.
  SessionCommand& command = *commands_[std::min(next_to_end_[channel], commands_.size() - 1)];
  if (command.log.size() >= kMaxLog) return;
  command.log.append(kMarks[channel]).append(line).append("\n");
  if (command.log.size() >= kMaxLog) command.log.append(kMarks[channel]).append(kCut);
}

void SessionOutput::end_command(std::size_t channel, std::string_view marker) {
  const std::size_t colon = marker.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view index_text = marker.substr(0, colon);
  const std::string_view status_text = marker.substr(colon + 1);
  std::size_t index = 0;
  int status = 0;
  (void)std::from_chars(index_text.data(), index_text.data() + index_text.size(), index);
  (void)std::from_chars(status_text.data(), status_text.data() + status_text.size(), status);
  if (index >= commands_.size()) return;
  SessionCommand& command = *commands_[index];
  if (channel == 0) command.exit_code = status;
  command.ended[channel] = true;
  next_to_end_[channel] = index + 1;
}

void SessionOutput::take_line(std::size_t channel, std::string_view line) {
  const std::string begin = word_ + ":";
  const std::size_t found = line.find(begin);
  if (found == std::string_view::npos) return append(channel, line);
  // The last line of the command's was not terminated.
  if (found > 0) append(channel, line.substr(0, found));
  end_command(channel, line.substr(found + begin.size()));
}

void SessionOutput::feed(std::size_t channel, std::string_view bytes) {
  std::string& partial = partial_[channel];
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::size_t size = std::min({end, bytes.size(), kMaxLine - partial.size()});
    partial += bytes.substr(0, size);
    const bool whole = end == size;
    bytes.remove_prefix(size + (whole ? 1 : 0));
    if (!whole && partial.size() < kMaxLine) return;
    take_line(channel, partial);
    partial.clear();
  }
}

void SessionOutput::finish() {
  for (std::size_t channel = 0; channel < partial_.size(); ++channel) {
    if (!partial_[channel].empty()) take_line(channel, partial_[channel]);
    partial_[channel].clear();
  }
  for (const std::shared_ptr<SessionCommand>& command : commands_) {
    if (command->over()) continue;
    command->exit_code = command->exit_code.value_or(1);
    command->ended = {true, true};
  }
}

// ---- Sessions

struct Sessions::Session {
  Session(asio::any_io_executor executor, std::string session_id, std::string word)
      : id(std::move(session_id)), output(std::move(word)), typing(executor), changed(executor) {}

  std::string id;
  SessionOutput output;
  std::shared_ptr<machine::Process> shell;  // none of the entrypoint
  Turnstile typing;
  AsyncEvent changed;  // a log grew, a command or the shell ended
  bool over = false;   // the shell
};

Sessions::Sessions(MachineView& view, machine::ProcessTable& processes)
    : view_(view), processes_(processes), tasks_(view.engine(), view.executor()) {
  entrypoint_ = std::make_shared<Session>(view.executor(), kEntrypoint, random_hex(view.engine()));
  auto command = std::make_shared<SessionCommand>();
  command->id = kEntrypointCommand;
  command->text = "sleep infinity";
  entrypoint_->output.add(std::move(command));
}

Sessions::SessionPtr Sessions::require(const std::string& id) const {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) throw not_found("session not found");
  return found->second;
}

Sessions::CommandPtr Sessions::require(const Session& session, const std::string& command) {
  for (const CommandPtr& each : session.output.commands()) {
    if (each->id == command) return each;
  }
  throw ToolboxError(404, "PROCESS_NOT_FOUND", "command not found");
}

std::string Sessions::folder_of(const Session& session) const {
  // The id is a client's, and may be anything.
  std::string name;
  for (const char c : session.id)
    name += is_variable_name(std::string(1, c)) || (c >= '0' && c <= '9') ? c : '_';
  return view_.home() + "/.daytona/sessions/" + name + "-" + session.output.word().substr(0, 8);
}

asio::awaitable<void> Sessions::pump(SessionPtr session) {
  machine::Process& shell = *session->shell;
  machine::Process::Subscriber subscriber(shell);
  while (true) {
    if (const auto written = subscriber.take()) {
      session->output.feed(written->channel, written->bytes);
      session->changed.notify_all();
    } else if (shell.over()) {
      break;
    } else {
      (void)co_await shell.changed().wait();
    }
  }
  session->over = true;
  session->output.finish();
  session->changed.notify_all();
}

asio::awaitable<void> Sessions::type(SessionPtr session, std::string text) {
  bool taken = false;
  try {
    taken = co_await session->shell->stream().write(std::as_bytes(std::span(text)));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::conflict) throw;
  }
  if (!taken) throw session_ended();
}

asio::awaitable<void> Sessions::start(SessionPtr session) {
  ExecCommand command;
  const std::vector<std::string> shell{view_.shell()};
  command.argv = view_.with_environment({}, shell);
  command.cwd = view_.workdir();
  command.linger = std::chrono::seconds(0);  // it is ours to follow, and goes with its sandbox
  session->shell =
      std::make_shared<machine::Process>(view_.executor(), view_.agent().exec(command), false, true);
  tasks_.spawn(pump(session));
  co_await processes_.start(session->shell, kNoDeadline);
  // Commands may point their own outputs elsewhere for good; these stay.
  std::string text = "exec 8>&1 9>&2\n";
  co_await type(session, std::move(text));
}

asio::awaitable<void> Sessions::create(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::string id = body.required("sessionId");
  if (id == kEntrypoint) throw bad_request("session id '" + id + "' is reserved");
  if (sessions_.contains(id)) throw conflict("session already exists");
  const auto session = std::make_shared<Session>(view_.executor(), id, random_hex(view_.engine()));
  sessions_.emplace(id, session);
  std::exception_ptr failure;
  try {
    co_await start(session);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    sessions_.erase(id);
    std::rethrow_exception(failure);
  }
  co_await reply_empty(exchange, 201);
}

asio::awaitable<void> Sessions::list(HttpExchange& exchange) {
  json::array all;
  for (const auto& [id, session] : sessions_) {
    json::array commands;
    for (const CommandPtr& each : session->output.commands()) commands.push_back(to_object(*each));
    json::object object;
    object["sessionId"] = id;
    object["commands"] = std::move(commands);
    all.push_back(std::move(object));
  }
  co_await reply_json(exchange, std::move(all));
}

asio::awaitable<void> Sessions::get(HttpExchange& exchange, std::string id) {
  const SessionPtr session = id == kEntrypoint ? entrypoint_ : require(id);
  json::array commands;
  for (const CommandPtr& each : session->output.commands()) commands.push_back(to_object(*each));
  json::object object;
  object["sessionId"] = session->id;
  object["commands"] = std::move(commands);
  co_await reply_json(exchange, std::move(object));
}

asio::awaitable<void> Sessions::entrypoint(HttpExchange& exchange) {
  return get(exchange, kEntrypoint);
}

// Asks first, and then makes sure.
asio::awaitable<void> Sessions::end_shell(SessionPtr session) {
  try {
    co_await session->shell->stream().signal(SIGTERM);
    const auto limit = Clock::now() + kTermination;
    while (!session->over && Clock::now() < limit) (void)co_await session->changed.wait_until(limit);
    if (!session->over) co_await session->shell->stream().kill();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::conflict)
      throw;  // it ended before
  }
}

asio::awaitable<void> Sessions::remove(HttpExchange& exchange, std::string id) {
  if (id == kEntrypoint) throw bad_request("the entrypoint session cannot be deleted");
  const SessionPtr session = require(id);
  sessions_.erase(id);
  if (!session->over) co_await end_shell(session);
  const std::string folder = folder_of(*session);
  co_await view_.agent().remove(folder, view_.soon());
  co_await reply_empty(exchange, 204);
}

// ---- Commands

asio::awaitable<Sessions::CommandPtr> Sessions::begin(SessionPtr session, std::string text, bool async,
                                                      bool echo_input) {
  const auto command = std::make_shared<SessionCommand>();
  command->id = random_uuid(view_.engine());
  command->text = std::move(text);
  command->async = async;
  command->echo_input = echo_input;
  const Turnstile::Pass pass = co_await session->typing.enter();
  if (session->over) throw session_ended();
  const std::string folder = folder_of(*session) + "/" + command->id;
  const auto rest = std::make_shared<std::string>(command->text + "\n");
  HttpBodySource source = [rest](std::span<std::byte> buffer) -> asio::awaitable<std::size_t> {
    const std::size_t size = rest->copy(reinterpret_cast<char*>(buffer.data()), buffer.size());
    rest->erase(0, size);
    co_return size;
  };
  const std::string file = folder + "/cmd.sh";
  co_await view_.agent().write_file(file, std::move(source), view_.soon());
  const std::string script = shell_quoted(file);
  const std::string pipe = shell_quoted(folder + "/input.pipe");
  const std::string marker = session->output.word() + ":" + std::to_string(session->output.commands().size());
  session->output.add(command);
  std::string typed;
  if (async) typed += "/usr/bin/mkfifo -m 600 " + pipe + " 2>/dev/null; ";  // input may have come first
  typed += "{ . " + script + "; } " + (async ? "<>" + pipe : "</dev/null") + " >&8 2>&9; ";
  typed += "printf '" + marker + ":%s\\n' \"$?\" >&8; printf '" + marker + ":\\n' >&9\n";
  co_await type(session, std::move(typed));
  co_return command;
}

asio::awaitable<void> Sessions::execute(HttpExchange& exchange, std::string id) {
  const Body body = co_await read_json_body(exchange);
  const std::string text = body.required("command");
  const bool async = body.flag("runAsync") || body.flag("async");
  const bool echo_input = !body.flag("suppressInputEcho");
  const SessionPtr session = require(id);
  const CommandPtr command = co_await begin(session, text, async, echo_input);
  json::object answer;
  answer["cmdId"] = command->id;
  if (async) {
    co_await reply_json(exchange, std::move(answer), 202);
    co_return;
  }
  while (!command->over() && !exchange.peer_gone())
    (void)co_await session->changed.wait_until(Clock::now() + kLook);
  if (!command->over()) {
    exchange.abort();  // it runs on without its client
    co_return;
  }
  if (session->over) throw session_ended();
  json::object logs = logs_of(*command, shape_of(exchange));
  for (auto& [name, value] : logs) answer[name] = std::move(value);
  answer["exitCode"] = *command->exit_code;
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Sessions::command(HttpExchange& exchange, std::string id, std::string command) {
  const SessionPtr session = id == kEntrypoint ? entrypoint_ : require(id);
  json::object object = to_object(*require(*session, command));
  co_await reply_json(exchange, std::move(object));
}

asio::awaitable<void> Sessions::input(HttpExchange& exchange, std::string id, std::string command_id) {
  const Body body = co_await read_json_body(exchange);
  std::string data = body.required("data");
  const SessionPtr session = require(id);
  if (session->over) throw session_ended();
  const CommandPtr command = require(*session, command_id);
  if (command->over()) {
    throw ToolboxError(410, "COMMAND_ALREADY_COMPLETED",
                       "command has already completed with exit code " + std::to_string(*command->exit_code));
  }
  if (!command->async) throw bad_request("the command takes no input");
  if (!data.ends_with('\n')) data += '\n';
  const std::string pipe = folder_of(*session) + "/" + command->id + "/input.pipe";
  Command feeding;
  // The shell may not have come to the command yet: then this waits where it is opened.
  feeding.argv = {"/bin/sh", "-c",
                  "/usr/bin/mkfifo -m 600 \"$1\" 2>/dev/null; [ -p \"$1\" ] || exit 1; exec cat > \"$1\"",
                  "--", pipe};
  feeding.input = data;
  feeding.timeout = kInputPatience;
  const Outcome fed = co_await view_.run(std::move(feeding));
  if (fed.result.timed_out || fed.result.exit_code != 0) throw internal_error("failed to open input pipe");
  if (command->echo_input) {
    command->log.append(kMarks[0]).append(data);
    session->changed.notify_all();
  }
  co_await reply_empty(exchange, 204);
}

// ---- Logs

asio::awaitable<void> Sessions::logs(HttpExchange& exchange, std::string id, std::string command_id) {
  const SessionPtr session = id == kEntrypoint ? entrypoint_ : require(id);
  const CommandPtr command = require(*session, command_id);
  co_await send_logs(exchange, session, command, id != kEntrypoint);
}

asio::awaitable<void> Sessions::entrypoint_logs(HttpExchange& exchange) {
  const CommandPtr command = require(*entrypoint_, kEntrypointCommand);
  co_await send_logs(exchange, entrypoint_, command, false);
}

asio::awaitable<void> Sessions::send_logs(HttpExchange& exchange, SessionPtr session, CommandPtr command,
                                          bool merge) {
  const bool follow = is_true(exchange.query("follow"));
  if (net::asks_for_websocket(exchange)) {
    co_await follow_by_websocket(exchange, session, command, follow, merge);
    co_return;
  }
  if (follow) {
    co_await follow_by_http(exchange, session, command);
    co_return;
  }
  const LogShape shape = shape_of(exchange);
  if (shape == LogShape::split) {
    json::object logs = logs_of(*command, shape);
    co_await reply_json(exchange, std::move(logs));
    co_return;
  }
  std::string text = command->log;
  if (merge && shape == LogShape::merged) text = split_log(text).merged;
  co_await exchange.reply(200, std::move(text), "text/plain; charset=utf-8");
}

namespace {

// When a follower may stop: its command has ended, and its log is quiet.
class Quiet {
 public:
  // Whether it is over now; a log that grew begins it anew.
  bool over(const SessionCommand& command) {
    if (command.log.size() != size_) since_ = Clock::now();
    size_ = command.log.size();
    return command.over() && Clock::now() >= until();
  }
  [[nodiscard]] Clock::time_point until() const { return since_ + kQuiet; }

 private:
  std::size_t size_ = 0;
  Clock::time_point since_ = Clock::now();
};

// The log's next piece for a follower, who is at `offset`.
std::string next_piece(const SessionCommand& command, std::size_t& offset, std::size_t limit,
                       LogSplitter* merging) {
  std::string piece = command.log.substr(offset, limit);
  offset += piece.size();
  if (merging == nullptr) return piece;
  merging->feed(piece);
  merging->outputs = {};
  return std::exchange(merging->merged, {});
}

// Only to learn that the client has left.
asio::awaitable<void> drain(net::WebSocket& socket, AsyncEvent& changed) {
  co_await socket.drain();
  changed.notify_all();
}

}  // namespace

asio::awaitable<void> Sessions::follow_by_http(HttpExchange& exchange, SessionPtr session,
                                               CommandPtr command) {
  bool alive = co_await exchange.start(200, "application/octet-stream");
  std::size_t offset = 0;
  LogSplitter merging;
  Quiet quiet;
  while (alive && !quiet.over(*command)) {
    const std::string piece = next_piece(*command, offset, kPiece, &merging);
    if (!piece.empty()) {
      alive = co_await exchange.write(std::span<const char>(piece));
    } else if (offset == command->log.size()) {
      const auto soon = Clock::now() + kLook;
      (void)co_await session->changed.wait_until(command->over() ? quiet.until() : soon);
      alive = !exchange.peer_gone();
    }
  }
  if (alive) (void)co_await exchange.finish();
}

asio::awaitable<void> Sessions::tell(net::WebSocket& socket, SessionPtr session, CommandPtr command,
                                     bool follow, LogShape shape) {
  std::size_t offset = 0;
  LogSplitter merging;
  Quiet quiet;
  bool alive = true;
  while (alive && !socket.over()) {
    const bool at_end = offset == command->log.size();
    if (at_end && (!follow || quiet.over(*command))) break;
    if (at_end) {
      const auto limit = command->over() ? quiet.until() : Clock::time_point::max();
      (void)co_await session->changed.wait_until(limit);
      continue;
    }
    std::string piece = next_piece(*command, offset, kFrame, shape == LogShape::merged ? &merging : nullptr);
    if (!piece.empty()) alive = co_await socket.send_binary(std::move(piece));
  }
  std::string no_reason;
  co_await socket.close(1000, std::move(no_reason));
}

asio::awaitable<void> Sessions::follow_by_websocket(HttpExchange& exchange, SessionPtr session,
                                                    CommandPtr command, bool follow, bool merge) {
  const std::string offered = offered_version(exchange);
  const std::string_view header = exchange.header(kVersionHeader);
  LogShape shape = shape_of(exchange, header.empty() ? offered : std::string(header));
  if (!merge) shape = LogShape::marked;
  net::WebSocketOptions options;
  if (!offered.empty()) options.subprotocol = "X-Daytona-SDK-Version~" + offered;
  const std::unique_ptr<net::WebSocket> socket =
      co_await net::accept_websocket(exchange, view_.executor(), std::move(options));
  if (!socket) co_return;
  TaskGroup tasks(view_.engine(), view_.executor());
  tasks.spawn(drain(*socket, session->changed));
  co_await tasks.run(tell(*socket, session, command, follow, shape));
}

}  // namespace sandkey::daytona_toolbox
