#include "sandkey/agent/mcp/stdio_server.h"

#include "sandkey/agent/process.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/base/utf8.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/serialize.hpp>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

// The newest version known here; a server that knows only older ones answers with its own.
constexpr std::string_view kProtocolVersion = "2025-11-25";
constexpr std::size_t kReadsPerTurn = 16;                      // before others get theirs
constexpr std::size_t kKeptCapacity = std::size_t{64} << 10U;  // of a line's buffer, between lines
// A process whose pipes broke usually has just ended; its exit status says more than a broken pipe.
constexpr std::chrono::seconds kExitGrace{1};

using Buffer = std::array<char, std::size_t{64} << 10U>;

struct Pipe {
  UniqueFd ours;
  UniqueFd theirs;
};

// Our end of it does not block; theirs does, as programs expect.
Pipe output_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) throw system_error("making a pipe for an MCP server", errno);
  Pipe pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  ::fcntl(pipe.ours.get(), F_SETFL, O_NONBLOCK);
  return pipe;
}

// A socket, not a pipe: writing to it when the server is gone is an error instead of a SIGPIPE to the agent.
// Node does the same with all its children.
Pipe input_socket() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    throw system_error("making a socket for an MCP server", errno);
  }
  Pipe pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  ::fcntl(pipe.ours.get(), F_SETFL, O_NONBLOCK);
  ::shutdown(pipe.ours.get(), SHUT_RD);
  return pipe;
}

std::string how_it_ended(const ExitStatus& status) {
  if (status.signal == 0) return "ended with exit code " + std::to_string(status.code);
  return "was killed by signal " + std::to_string(status.signal) + " (" + ::strsignal(status.signal) + ")";
}

std::string in_seconds(std::chrono::milliseconds time) {
  const auto ms = time.count();
  if (ms % 1000 != 0) return std::to_string(ms) + " milliseconds";
  return std::to_string(ms / 1000) + (ms == 1000 ? " second" : " seconds");
}

std::string_view text_of(const json::object& object, std::string_view key) {
  return find_string(object, key).value_or("");
}

}  // namespace

// One run of the server. The handlers of its descriptors keep it alive until they are closed.
struct StdioServer::Process : std::enable_shared_from_this<Process> {
  Process(const asio::any_io_executor& executor_, std::string name_, UniqueFd in, UniqueFd out, UniqueFd err)
      : executor(executor_),
        name(std::move(name_)),
        input(executor_, asio::local::stream_protocol(), in.get()),
        output(executor_, out.get()),
        errors(executor_, err.get()),
        exit_timer(executor_),
        changed(executor_) {
    (void)in.release();
    (void)out.release();
    (void)err.release();
  }

  // ---- To the server

  void send(const json::object& message) {
    if (over || input_closed) return;
    std::string text = json::serialize(message);
    text += '\n';
    if (queued + text.size() > kMaxMcpInput) return fail("does not read its standard input", true);
    queued += text.size();
    queue.push_back(std::move(text));
    write_next();
  }

  void write_next() {
    if (writing || queue.empty() || over) return;
    writing = true;
    asio::async_write(input, asio::buffer(queue.front()),
                      [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                        self->writing = false;
                        if (self->over) return;
                        self->queued -= self->queue.front().size();
                        self->queue.pop_front();
                        if (error) return self->broken("closed its standard input");
                        self->write_next();
                      });
  }

  std::int64_t send_request(std::string_view method, json::object params,
                            const std::shared_ptr<McpCall>& call) {
    const std::int64_t id = next_id++;
    if (call->progress_token) {
      // Our own id as the token: tokens are unique only within one client's session.
      json::value& meta = params["_meta"];
      if (!meta.is_object()) meta = json::object();
      meta.get_object()["progressToken"] = id;
    }
    json::object message;
    message["jsonrpc"] = "2.0";
    message["id"] = id;
    message["method"] = method;
    message["params"] = std::move(params);
    pending.emplace(id, call);
    send(message);
    return id;
  }

  void notify(std::string_view method, json::object params) {
    json::object message;
    message["jsonrpc"] = "2.0";
    message["method"] = method;
    if (!params.empty()) message["params"] = std::move(params);
    send(message);
  }

  // Nobody waits for this answer any more.
  void abandon(std::int64_t id, std::string_view why) {
    if (pending.erase(id) == 0) return;
    json::object params;
    params["requestId"] = id;
    params["reason"] = why;
    notify("notifications/cancelled", std::move(params));
  }

  // ---- From the server

  void watch_output() {
    output.async_wait(asio::posix::descriptor_base::wait_read,
                      [self = shared_from_this()](boost::system::error_code error) {
                        if (error || self->over) return;
                        if (self->read_output(kReadsPerTurn)) return self->watch_output();
                        self->broken("closed its standard output");
                      });
  }

  // False at the end.
  bool read_output(std::size_t reads) {
    Buffer buffer;
    while (reads-- > 0 && !over) {
      const ssize_t n = ::read(output.native_handle(), buffer.data(), buffer.size());
      if (n > 0) {
        take_output({buffer.data(), static_cast<std::size_t>(n)});
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        return false;
      } else if (errno == EAGAIN) {
        return true;
      }
    }
    return true;
  }

  void take_output(std::string_view bytes) {
    while (!bytes.empty() && !over) {
      const std::size_t end = bytes.find('\n');
      const std::string_view piece = bytes.substr(0, end);
      if (line.size() + piece.size() > kMaxMcpLine) {
        return fail("sent a message of more than " + std::to_string(kMaxMcpLine >> 20U) + " MiB", true);
      }
      line += piece;
      if (end == std::string_view::npos) return;
      take_line();
      line.clear();
      if (line.capacity() > kKeptCapacity) line = std::string();
      bytes.remove_prefix(end + 1);
    }
  }

  void take_line() {
    if (line.find_first_not_of(" \t\r") == std::string::npos) return;
    json::value message;
    try {
      message = parse_json(line, "a line of an MCP server");
    } catch (const Error&) {
      return remember(line + "\n");  // something that prints where it must not; it may be an error message
    }
    if (!message.is_object()) return;
    json::object& object = message.get_object();
    if (const auto method = find_string(object, "method")) return take_call(std::string(*method), object);
    const auto id = find_integer(object, "id");
    const auto found = id ? pending.find(*id) : pending.end();
    if (found == pending.end()) return;  // cancelled meanwhile
    const auto call = found->second;
    pending.erase(found);
    call->received += line.size();
    call->settle(std::move(object));
  }

  void take_call(const std::string& method, const json::object& message) {
    if (const json::value* id = find(message, "id")) {
      // Roots, sampling and elicitation were not offered to it, so only ping is left.
      json::object answer;
      answer["jsonrpc"] = "2.0";
      answer["id"] = *id;
      if (method == "ping") {
        answer["result"] = json::object();
      } else {
        answer["error"] = JsonRpcError(rpc::kMethodNotFound, "Method not found").object();
      }
      return send(answer);
    }
    if (method == "notifications/tools/list_changed" && on_tools_changed) return on_tools_changed();
    if (method != "notifications/progress") return;
    const json::value* params = find(message, "params");
    if (params == nullptr || !params->is_object()) return;
    const auto token = find_integer(params->get_object(), "progressToken");
    const auto found = token ? pending.find(*token) : pending.end();
    if (found == pending.end() || !found->second->progress_token || !found->second->on_progress) return;
    json::object theirs = params->get_object();
    theirs["progressToken"] = *found->second->progress_token;
    found->second->on_progress(std::move(theirs));
  }

  void watch_errors() {
    errors.async_wait(asio::posix::descriptor_base::wait_read,
                      [self = shared_from_this()](boost::system::error_code error) {
                        if (!error && self->read_errors(kReadsPerTurn)) self->watch_errors();
                      });
  }

  bool read_errors(std::size_t reads) {
    Buffer buffer;
    while (reads-- > 0 && errors.is_open()) {
      const ssize_t n = ::read(errors.native_handle(), buffer.data(), buffer.size());
      if (n > 0) {
        remember({buffer.data(), static_cast<std::size_t>(n)});
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        return false;
      } else if (errno == EAGAIN) {
        return true;
      }
    }
    return errors.is_open();
  }

  void remember(std::string_view text) {
    if (text.size() > kMcpErrorTail) text.remove_prefix(text.size() - kMcpErrorTail);
    tail += text;
    if (tail.size() > kMcpErrorTail) tail.erase(0, tail.size() - kMcpErrorTail);
  }

  // ---- Its end

  // One of its pipes broke. Waits a moment for its exit status, which tells more.
  void broken(const char* what) {
    if (over || stopping || awaiting_exit) return;  // when stopping, the timer is at work already
    awaiting_exit = true;
    exit_timer.expires_after(kExitGrace);
    exit_timer.async_wait([self = shared_from_this(), what](boost::system::error_code error) {
      if (!error && !self->stopping) self->fail(what, true);  // stop() may have come meanwhile
    });
  }

  void on_exit(ExitStatus status) {
    exit = status;
    if (!over) {
      read_output(kMaxMcpLine / Buffer().size());  // the last answer may still be in the pipe
      fail(how_it_ended(status), true);
    }
    kill_session(pid, SIGKILL);  // now or never: the number may be another session's soon
  }

  // Ends it, with all processes of its session, and everything that waits for it.
  void fail(const std::string& what, bool quote_errors) {
    if (over) return;
    over = true;
    failure = "The MCP server '" + name + "' " + what + ".";
    if (quote_errors) {
      read_errors(kReadsPerTurn);
      std::string words = utf8::sanitize(tail);
      while (!words.empty() && (words.back() == '\n' || words.back() == '\r')) words.pop_back();
      if (!words.empty()) failure += " It said:\n" + words;
    }
    if (!exit) kill_session(pid, SIGKILL);
    boost::system::error_code ignored;
    input.close(ignored);
    output.close(ignored);
    errors.close(ignored);
    exit_timer.cancel();
    for (const auto& [id, call] : std::exchange(pending, {})) call->fail(failure);
    changed.notify_all();
  }

  void stop(std::chrono::milliseconds grace) {
    if (over || stopping) return;
    stopping = true;
    const std::string why = "The MCP server '" + name + "' was removed.";
    for (const auto& [id, call] : std::exchange(pending, {})) call->fail(why);
    input_closed = true;
    boost::system::error_code ignored;
    input.shutdown(asio::socket_base::shutdown_send, ignored);
    exit_timer.expires_after(grace);
    exit_timer.async_wait([self = shared_from_this(), grace](boost::system::error_code error) {
      if (error || self->over) return;
      kill_session(self->pid, SIGTERM);
      self->exit_timer.expires_after(grace);
      self->exit_timer.async_wait([self](boost::system::error_code second_error) {
        if (!second_error) self->fail("was removed", false);
      });
    });
  }

  asio::any_io_executor executor;
  std::string name;
  asio::local::stream_protocol::socket input;
  asio::posix::stream_descriptor output;
  asio::posix::stream_descriptor errors;
  asio::steady_timer exit_timer;
  AsyncEvent changed;  // ready or over
  std::function<void()> on_tools_changed;
  pid_t pid = -1;
  bool ready = false;  // the handshake is done
  bool over = false;   // it ended or was given up; `failure` says why
  bool stopping = false;
  bool input_closed = false;
  bool awaiting_exit = false;
  std::optional<ExitStatus> exit;
  std::string failure;
  std::unordered_map<std::int64_t, std::shared_ptr<McpCall>> pending;
  std::int64_t next_id = 1;
  std::deque<std::string> queue;
  std::size_t queued = 0;
  bool writing = false;
  std::string line;
  std::string tail;
};

StdioServer::StdioServer(asio::any_io_executor executor, ChildReaper& reaper, McpServerConfig config,
                         StdioServerOptions options, std::function<void()> on_tools_changed)
    : executor_(std::move(executor)),
      reaper_(reaper),
      config_(std::move(config)),
      options_(std::move(options)),
      on_tools_changed_(std::move(on_tools_changed)) {}

StdioServer::~StdioServer() {
  kill();
}

void StdioServer::start() {
  if (stopped_)
    throw JsonRpcError(rpc::kServerUnavailable, "The MCP server '" + config_.name + "' was removed.");
  if (process_ && !process_->over) return;

  const auto now = Clock::now();
  while (!starts_.empty() && starts_.front() + kMcpStartWindow <= now) starts_.pop_front();
  if (starts_.size() >= kMaxMcpStarts) {
    const auto wait = std::chrono::ceil<std::chrono::seconds>(starts_.front() + kMcpStartWindow - now);
    throw JsonRpcError(rpc::kServerUnavailable,
                       "The MCP server '" + config_.name + "' was started " + std::to_string(kMaxMcpStarts) +
                           " times within a minute; it may be tried again in " + in_seconds(wait) + "." +
                           (process_ ? " " + process_->failure : std::string()));
  }

  try {
    Pipe in = input_socket();
    Pipe out = output_pipe();
    Pipe err = output_pipe();
    SpawnOptions spawning;
    spawning.argv = {config_.command};
    spawning.argv.insert(spawning.argv.end(), config_.args.begin(), config_.args.end());
    spawning.environment = options_.environment;
    for (const auto& [name, value] : config_.env) set_environment_value(spawning.environment, name, value);
    spawning.working_dir = options_.working_dir;
    spawning.descriptors = {{in.theirs.get(), 0}, {out.theirs.get(), 1}, {err.theirs.get(), 2}};
    auto process = std::make_shared<Process>(executor_, config_.name, std::move(in.ours), std::move(out.ours),
                                             std::move(err.ours));
    process->pid = spawn(spawning);
    reaper_.watch(process->pid, [weak = std::weak_ptr<Process>(process)](ExitStatus status) {
      if (const auto ended = weak.lock()) ended->on_exit(status);
    });
    process->on_tools_changed = on_tools_changed_;
    process_ = std::move(process);
    starts_.push_back(now);
  } catch (const Error& error) {
    throw JsonRpcError(rpc::kServerUnavailable,
                       "The MCP server '" + config_.name + "' cannot be started: " + error.what() + ".");
  }
  process_->watch_output();
  process_->watch_errors();
  // Owned by the process: its end, at the latest kill(), ends the handshake.
  asio::co_spawn(executor_, shake_hands(process_, options_.start_timeout), asio::detached);
}

asio::awaitable<void> StdioServer::shake_hands(std::shared_ptr<Process> process,
                                               std::chrono::milliseconds timeout) {
  json::object info;
  info["name"] = "sandkey-agent";
  info["version"] = SANDKEY_VERSION;
  json::object params;
  params["protocolVersion"] = kProtocolVersion;
  params["capabilities"] = json::object();
  params["clientInfo"] = std::move(info);
  const auto call = std::make_shared<McpCall>(process->executor);
  const auto deadline = Clock::now() + timeout;
  process->send_request("initialize", std::move(params), call);
  while (!call->settled()) {
    const bool woken = co_await call->changed.wait_until(deadline);
    if (!woken && !call->settled()) {
      process->fail("did not answer initialize within " + in_seconds(timeout), true);
    }
  }
  if (call->failure) co_return;
  if (const json::value* error = find(*call->response, "error")) {
    const std::string text(error->is_object() ? text_of(error->get_object(), "message") : "");
    process->fail("refused to initialize: " + (text.empty() ? std::string("no reason given") : text), true);
    co_return;
  }
  process->notify("notifications/initialized", {});
  process->ready = true;
  process->changed.notify_all();
}

asio::awaitable<std::string> StdioServer::wait_started(std::shared_ptr<StdioServer> self,
                                                       Clock::time_point until) {
  const auto process = self->process_;
  if (!process) co_return std::string();
  while (!process->ready && !process->over) {
    const bool woken = co_await process->changed.wait_until(until);
    if (!woken) break;
  }
  co_return process->over ? process->failure : std::string();
}

asio::awaitable<std::shared_ptr<StdioServer::Process>> StdioServer::ready(std::shared_ptr<StdioServer> self,
                                                                          std::shared_ptr<McpCall> call) {
  self->start();
  const auto process = self->process_;
  // Ends at the latest when the handshake gives up.
  while (!process->ready && !process->over) (void)co_await process->changed.wait();
  if (call->cancelled) throw JsonRpcError(rpc::kInternalError, "The request was cancelled.");
  if (process->over) throw JsonRpcError(rpc::kServerUnavailable, process->failure);
  if (process->stopping) {
    throw JsonRpcError(rpc::kServerUnavailable, "The MCP server '" + self->config_.name + "' was removed.");
  }
  co_return process;
}

asio::awaitable<json::value> StdioServer::request(std::shared_ptr<StdioServer> self,
                                                  std::shared_ptr<McpCall> call, std::string method,
                                                  json::object params, Clock::time_point deadline) {
  const auto begun = Clock::now();
  call->response.reset();
  call->failure.reset();
  if (call->cancelled) throw JsonRpcError(rpc::kInternalError, "The request was cancelled.");
  const auto process = co_await ready(self, call);
  const std::int64_t id = process->send_request(method, std::move(params), call);
  while (!call->settled()) {
    const bool woken = co_await call->changed.wait_until(deadline);
    if (!woken && !call->settled()) {
      process->abandon(id, "timed out");
      throw JsonRpcError(rpc::kTimeout,
                         "The MCP server '" + self->config_.name + "' did not answer " + method + " within " +
                             in_seconds(std::chrono::round<std::chrono::seconds>(deadline - begun)) + ".");
    }
  }
  if (call->response) {
    if (const json::value* error = find(*call->response, "error"); error != nullptr && error->is_object()) {
      throw JsonRpcError(error->get_object());
    }
    json::value* result = call->response->if_contains("result");
    if (result == nullptr) {
      throw JsonRpcError(rpc::kInternalError, "The MCP server '" + self->config_.name +
                                                  "' answered neither a result nor an error.");
    }
    co_return std::move(*result);
  }
  if (call->failure) throw JsonRpcError(rpc::kServerUnavailable, *call->failure);
  process->abandon(id, "cancelled by the client");
  throw JsonRpcError(rpc::kInternalError, "The request was cancelled.");
}

void StdioServer::stop() noexcept {
  stopped_ = true;
  if (process_) process_->stop(options_.stop_grace);
}

void StdioServer::kill() noexcept {
  stopped_ = true;
  if (process_) process_->fail("was stopped", false);
}

bool StdioServer::gone() const noexcept {
  return !process_ || process_->over;
}

}  // namespace sandkey::agent
