#include "sandkey/providers/daytona/emulator/toolbox/ptys.h"

#include "sandkey/base/error.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/ascii.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"
#include "sandkey/providers/daytona/emulator/toolbox/ids.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <deque>
#include <exception>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace sandkey::daytona_toolbox {
namespace {

using net::HttpExchange;
using net::WebSocket;

constexpr std::uint16_t kGood = 1000;
constexpr std::uint16_t kPolicy = 1008;
constexpr std::uint16_t kFailed = 1011;
constexpr const char* kExitControl = "X-Daytona-Pty-Exit-Control";
constexpr const char* kVariables = "X-Daytona-Pty-Envs";
constexpr const char* kVersion = "X-Daytona-SDK-Version";

std::string control(std::string_view status, json::object more = {}) {
  json::object message;
  message["type"] = "control";
  message["status"] = status;
  for (auto& [name, value] : more) message[name] = std::move(value);
  return write_json(message);
}

bool offers_exit_control(const HttpExchange& exchange) {
  const std::vector<std::string> offers = net::offered_subprotocols(exchange);
  return std::ranges::any_of(
      offers, [](const std::string& offer) { return same_ignoring_case(offer, kExitControl); });
}

Variables offered_variables(const HttpExchange& exchange) {
  for (const std::string& offer : net::offered_subprotocols(exchange)) {
    if (is_token(offer, kVariables)) return parse_pty_variables(offer.substr(offer.find('~') + 1));
  }
  return {};
}

// One of those offered must come back, or some clients give up.
std::string chosen_subprotocol(const HttpExchange& exchange) {
  std::string chosen;
  for (const std::string& offer : net::offered_subprotocols(exchange)) {
    if (same_ignoring_case(offer, kExitControl)) return offer;
    if (chosen.empty() && (is_token(offer, kVersion) || is_token(offer, kVariables))) chosen = offer;
  }
  return chosen;
}

unsigned size_of(const std::optional<std::uint32_t>& wanted, unsigned otherwise, const char* name) {
  if (!wanted || *wanted == 0) return otherwise;
  if (*wanted > Ptys::kMaxSize)
    throw bad_request(std::string("invalid value for ") + name + " - must be at most 1000");
  return *wanted;
}

std::optional<std::uint32_t> number_query(const HttpExchange& exchange, const char* name) {
  const std::optional<std::string> text = exchange.query(name);
  if (!text || text->empty()) return std::nullopt;
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size())
    throw bad_request(std::string("invalid value for ") + name);
  return value;
}

ToolboxError ended() {
  return {410, "SESSION_ENDED", "PTY session has ended"};
}

}  // namespace

json::object pty_exit(int exit_code) {
  json::object told;
  told["exitCode"] = exit_code;
  if (exit_code == 0) return told;
  const int signal = exit_code - 128;
  if (exit_code == 130) {
    told["exitReason"] = "Ctrl+C";
  } else if (exit_code == 137) {
    told["exitReason"] = "SIGKILL";
  } else if (exit_code == 143) {
    told["exitReason"] = "SIGTERM";
  } else if (signal > 0 && signal < 65) {
    told["exitReason"] = "signal " + std::to_string(signal);
  } else {
    told["exitReason"] = "non-zero exit";
  }
  return told;
}

Variables parse_pty_variables(std::string_view encoded) {
  Variables variables;
  try {
    const json::value value = parse_json(base64url_decode(encoded), "the variables");
    if (!value.is_object()) return {};
    for (const auto& [name, each] : value.get_object()) {
      if (each.is_string() && is_variable_name(name)) variables.emplace(name, each.get_string());
    }
  } catch (const Error&) {  // are none
  }
  return variables;
}

struct Ptys::Client {
  std::deque<std::string> queue = {};
  bool slow = false;  // there was more than it may leave waiting
};

struct Ptys::Pty {
  explicit Pty(const asio::any_io_executor& executor) : changed(executor), starting(executor) {}

  Wanted wanted;
  std::chrono::system_clock::time_point created;
  std::shared_ptr<machine::Process> shell;  // once it was started
  std::vector<Client*> clients;
  std::optional<int> exit_code;
  AsyncEvent changed;  // output, the end, or a client that left
  Turnstile starting;

  [[nodiscard]] bool active() const { return shell && !exit_code; }
  [[nodiscard]] json::object describe() const {
    json::object envs;
    for (const auto& [name, value] : wanted.variables) envs[name] = value;
    json::object info;
    info["id"] = wanted.id;
    info["cwd"] = wanted.cwd;
    info["envs"] = std::move(envs);
    info["cols"] = wanted.columns;
    info["rows"] = wanted.rows;
    info["createdAt"] = go_time(created);
    info["active"] = active();
    info["lazyStart"] = wanted.lazy;
    return info;
  }
  void publish(const std::string& bytes) {
    for (Client* client : clients) {
      if (client->queue.size() >= kMaxQueued) client->slow = true;
      if (!client->slow) client->queue.push_back(bytes);
    }
    changed.notify_all();
  }
};

Ptys::Ptys(MachineView& view, machine::ProcessTable& processes)
    : view_(view), processes_(processes), tasks_(view.engine(), view.executor()) {}

// ---- Their lives

Ptys::PtyPtr Ptys::make(Wanted wanted) {
  if (ptys_.contains(wanted.id)) throw conflict("PTY session with ID '" + wanted.id + "' already exists");
  check_variable_names(wanted.variables);
  wanted.cwd = wanted.cwd.empty() ? view_.workdir() : view_.resolve(wanted.cwd);
  wanted.variables.emplace("TERM", "xterm-256color");
  auto pty = std::make_shared<Pty>(view_.executor());
  pty->created = view_.engine().system_now();
  pty->wanted = std::move(wanted);
  ptys_[pty->wanted.id] = pty;
  return pty;
}

asio::awaitable<void> Ptys::pump(PtyPtr pty) {
  machine::Process& shell = *pty->shell;
  machine::Process::Subscriber subscriber(shell);
  while (true) {
    if (const auto written = subscriber.take()) {
      pty->publish(written->bytes);
    } else if (shell.over()) {
      break;
    } else {
      (void)co_await shell.changed().wait();
    }
  }
  pty->exit_code = shell.end() ? shell.end()->exit_code : 137;  // its sandbox went first
  const auto found = ptys_.find(pty->wanted.id);
  if (found != ptys_.end() && found->second == pty) ptys_.erase(found);
  pty->changed.notify_all();
}

asio::awaitable<void> Ptys::start(PtyPtr pty) {
  const Turnstile::Pass pass = co_await pty->starting.enter();
  if (pty->shell) co_return;
  ExecCommand command;
  const std::vector<std::string> shell{view_.shell(), "-i", "-l"};
  command.argv = view_.with_environment(pty->wanted.variables, shell);
  command.cwd = pty->wanted.cwd;
  command.terminal = std::make_pair(pty->wanted.rows, pty->wanted.columns);
  command.linger = std::chrono::seconds(0);  // it is ours to follow, and goes with its sandbox
  pty->shell = std::make_shared<machine::Process>(view_.executor(), view_.agent().exec(command), true, true);
  tasks_.spawn(pump(pty));
  bool failed = false;
  try {
    co_await processes_.start(pty->shell, kNoDeadline);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::permission_denied &&
        error.code() != ErrorCode::invalid_argument) {
      throw;
    }
    failed = true;
  }
  if (failed) throw internal_error("failed to start PTY session");
}

asio::awaitable<void> Ptys::create(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  Wanted wanted;
  wanted.id = body.required("id");
  wanted.cwd = body.text("cwd").value_or("");
  wanted.variables = body.variables("envs");
  wanted.columns = size_of(body.number("cols"), wanted.columns, "cols");
  wanted.rows = size_of(body.number("rows"), wanted.rows, "rows");
  wanted.lazy = body.flag("lazyStart");
  const PtyPtr pty = make(std::move(wanted));
  if (!pty->wanted.lazy) co_await start(pty);
  json::object answer;
  answer["sessionId"] = pty->wanted.id;
  co_await reply_json(exchange, std::move(answer), 201);
}

asio::awaitable<void> Ptys::list(HttpExchange& exchange) {
  json::array sessions;
  for (const auto& [id, pty] : ptys_) sessions.push_back(pty->describe());
  json::object answer;
  answer["sessions"] = std::move(sessions);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Ptys::get(HttpExchange& exchange, std::string id) {
  const auto found = ptys_.find(id);
  if (found == ptys_.end()) throw not_found("PTY session not found");
  json::object info = found->second->describe();
  co_await reply_json(exchange, std::move(info));
}

asio::awaitable<void> Ptys::remove(HttpExchange& exchange, std::string id) {
  const auto found = ptys_.find(id);
  if (found == ptys_.end()) throw not_found("PTY session not found");
  const PtyPtr pty = found->second;
  ptys_.erase(found);
  if (pty->active()) {
    try {
      co_await pty->shell->stream().kill();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::conflict) throw;  // it has ended
    }
  }
  json::object answer;
  answer["message"] = "PTY session deleted";
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Ptys::resize(HttpExchange& exchange, std::string id) {
  const Body body = co_await read_json_body(exchange);
  const unsigned columns = size_of(body.number("cols"), 0, "cols");
  const unsigned rows = size_of(body.number("rows"), 0, "rows");
  if (columns == 0 || rows == 0) throw bad_request("cols and rows must be between 1 and 1000");
  const auto found = ptys_.find(id);
  if (found == ptys_.end()) throw ended();
  const PtyPtr pty = found->second;
  if (pty->exit_code) throw ended();
  pty->wanted.columns = columns;
  pty->wanted.rows = rows;
  if (pty->shell) co_await pty->shell->stream().resize(rows, columns);
  json::object info = pty->describe();
  co_await reply_json(exchange, std::move(info));
}

// ---- Connections

asio::awaitable<std::unique_ptr<WebSocket>> Ptys::accept(HttpExchange& exchange) {
  net::WebSocketOptions options;
  options.subprotocol = chosen_subprotocol(exchange);
  options.max_message = kMaxMessage;
  co_return co_await net::accept_websocket(exchange, view_.executor(), std::move(options));
}

asio::awaitable<void> Ptys::connect(HttpExchange& exchange, std::string id) {
  const std::unique_ptr<WebSocket> socket = co_await accept(exchange);
  if (!socket) co_return;
  const auto found = ptys_.find(id);
  if (found == ptys_.end()) {
    std::string problem = "PTY session not found";
    co_await refuse(*socket, std::move(problem));
    co_return;
  }
  const PtyPtr pty = found->second;
  co_await serve(*socket, pty, offers_exit_control(exchange));
}

asio::awaitable<void> Ptys::refuse(WebSocket& socket, std::string problem) {
  json::object more;
  more["error"] = "Failed to connect to PTY session: " + problem;
  std::string message = control("error", std::move(more));
  (void)co_await socket.send_text(std::move(message));
  co_await socket.close(kPolicy, std::move(problem));
}

// What is wrong with the request is told as in create(), and what happens later as in connect().
asio::awaitable<void> Ptys::create_and_connect(HttpExchange& exchange) {
  Wanted wanted;
  wanted.id = required_query(exchange, "id");
  wanted.cwd = exchange.query("cwd").value_or("");
  wanted.variables = offered_variables(exchange);
  wanted.columns = size_of(number_query(exchange, "cols"), wanted.columns, "cols");
  wanted.rows = size_of(number_query(exchange, "rows"), wanted.rows, "rows");
  if (!net::asks_for_websocket(exchange)) throw bad_request("websocket upgrade required");
  const PtyPtr pty = make(std::move(wanted));
  co_await connect(exchange, pty->wanted.id);
}

asio::awaitable<void> Ptys::feed(WebSocket& socket, PtyPtr pty) {
  while (true) {
    const std::optional<net::WebSocketFrame> message = co_await socket.receive();
    if (!message) break;
    if (pty->exit_code) continue;
    try {
      (void)co_await pty->shell->stream().write(std::as_bytes(std::span(message->data)));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::conflict) throw;  // it has ended
    }
  }
  pty->changed.notify_all();
}

asio::awaitable<void> Ptys::tell(WebSocket& socket, PtyPtr pty, Client& client, bool tells_exit) {
  std::string connected = control("connected");
  bool alive = co_await socket.send_text(std::move(connected));
  while (alive && !socket.over() && !client.slow) {
    if (!client.queue.empty()) {
      std::string bytes = std::move(client.queue.front());
      client.queue.pop_front();
      alive = co_await socket.send_binary(std::move(bytes));
    } else if (pty->exit_code) {
      break;
    } else {
      (void)co_await pty->changed.wait();
    }
  }
  if (client.slow) {
    std::string reason = "slow consumer";
    co_await socket.close(kPolicy, std::move(reason));
    co_return;
  }
  if (!pty->exit_code) {
    std::string none;
    co_await socket.close(kGood, std::move(none));
    co_return;
  }
  const json::object told = pty_exit(*pty->exit_code);
  std::string exited = control("exited", told);
  if (tells_exit) (void)co_await socket.send_text(std::move(exited));
  std::string reason = write_json(told);
  co_await socket.close(*pty->exit_code == 0 ? kGood : kFailed, std::move(reason));
}

asio::awaitable<void> Ptys::serve(WebSocket& socket, PtyPtr pty, bool tells_exit) {
  Client client;
  struct Attached {
    Attached(Pty& to, Client& who) : pty(to), client(who) { pty.clients.push_back(&client); }
    ~Attached() { std::erase(pty.clients, &client); }
    Attached(const Attached&) = delete;
    Attached& operator=(const Attached&) = delete;
    Pty& pty;
    Client& client;
  };
  const Attached attached(*pty, client);  // before the start, to miss nothing
  std::string problem;
  try {
    co_await start(pty);
  } catch (const ToolboxError& error) {
    problem = error.what();
  }
  if (!problem.empty()) {
    co_await refuse(socket, std::move(problem));
    co_return;
  }
  TaskGroup tasks(view_.engine(), view_.executor());
  tasks.spawn(feed(socket, pty));
  co_await tasks.run(tell(socket, pty, client, tells_exit));
}

}  // namespace sandkey::daytona_toolbox
