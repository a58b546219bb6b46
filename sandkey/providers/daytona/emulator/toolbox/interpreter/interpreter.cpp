#include "sandkey/providers/daytona/emulator/toolbox/interpreter/interpreter.h"

#include "sandkey/base/error.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/events/codec.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"
#include "sandkey/providers/daytona/emulator/toolbox/ids.h"
#include "sandkey/providers/daytona/emulator/toolbox/interpreter/worker_source.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <span>
#include <utility>
#include <vector>

namespace sandkey::daytona_toolbox {
namespace {

using Clock = std::chrono::steady_clock;
using net::HttpExchange;
using net::WebSocket;
using net::WebSocketFrame;

constexpr std::uint16_t kDone = 1000;
constexpr std::uint16_t kGoingAway = 1001;
constexpr std::uint16_t kBadMessage = 1002;
constexpr std::uint16_t kRefused = 1008;
constexpr std::uint16_t kFailed = 1011;
constexpr std::uint16_t kTimedOut = 4008;
constexpr const char* kDefault = "default";
constexpr std::chrono::seconds kPatience{30};  // for a worker to begin, and to end
constexpr std::size_t kMaxEvent = std::size_t{1024} * 1024;

bool is_json_object(std::string_view text) {
  try {
    return parse_json(text, "a message").is_object();
  } catch (const Error&) {
    return false;
  }
}

bool has_ended(const Error& error) {
  return error.code() == ErrorCode::not_found || error.code() == ErrorCode::conflict;
}

}  // namespace

CellRequest parse_cell_request(std::string_view text) {
  const Body body = Body::parse(text);
  CellRequest request;
  request.code = body.required("code");
  request.context = body.text("contextId").value_or("");
  request.variables = body.variables("envs");
  const double seconds = body.any_number("timeout").value_or(
      std::chrono::duration<double>(Interpreter::kDefaultTimeout).count());
  if (seconds < 0) throw bad_request("timeout must not be negative");
  constexpr double kLongest = 1e9;
  if (seconds > 0)
    request.timeout = std::chrono::milliseconds(static_cast<long long>(std::min(seconds, kLongest) * 1000));
  return request;
}

std::optional<json::object> cell_event(std::string_view line) {
  try {
    const json::value value = parse_json(line, "a worker's event");
    if (!value.is_object()) return std::nullopt;
    const json::object& object = value.get_object();
    const std::string_view type = find_string(object, "type").value_or("");
    if (type != "stdout" && type != "stderr" && type != "error" && type != "control") return std::nullopt;
    json::object event;
    event["type"] = type;
    for (const char* const name : {"text", "name", "value", "traceback"})
      event[name] = find_string(object, name).value_or("");
    return event;
  } catch (const Error&) {
    return std::nullopt;
  }
}

// How a connection is to end.
struct Interpreter::Ending {
  explicit Ending(std::uint16_t ending_code, std::string ending_reason = {})
      : code(ending_code), reason(std::move(ending_reason)) {}
  std::uint16_t code;
  std::string reason;
};

struct Interpreter::Context {
  Context(const asio::any_io_executor& executor, std::shared_ptr<machine::Process> process)
      : worker(std::move(process)), output(*worker), cells(executor) {}

  std::string id;
  std::string cwd;
  std::chrono::system_clock::time_point created;
  std::shared_ptr<machine::Process> worker;
  machine::Process::Subscriber output;
  std::string partial;  // of a line
  Turnstile cells;      // one after the other
  std::size_t waiting = 0;

  [[nodiscard]] bool active() const { return !worker->over(); }
  [[nodiscard]] json::object describe() const {
    json::object object;
    object["id"] = id;
    object["cwd"] = cwd;
    object["createdAt"] = go_time(created);
    object["active"] = active();
    object["language"] = "python";
    return object;
  }
  // The next line the worker has written; nothing if there is none yet.
  std::optional<std::string> next_line() {
    while (true) {
      const std::size_t end = partial.find('\n');
      if (end != std::string::npos) {
        std::string line = partial.substr(0, end);
        partial.erase(0, end + 1);
        return line;
      }
      if (partial.size() > kMaxEvent) partial.clear();
      std::optional<machine::Process::Output> written = output.take();
      if (!written) return std::nullopt;
      if (written->channel == 0) partial += written->bytes;
    }
  }
  // Waits for it; nothing at the deadline, or when the worker is no more.
  asio::awaitable<std::optional<std::string>> line_before(Clock::time_point deadline) {
    while (true) {
      std::optional<std::string> line = next_line();
      if (line || worker->over() || Clock::now() >= deadline) co_return line;
      (void)co_await worker->changed().wait_until(deadline);
    }
  }
  asio::awaitable<void> send(const CellRequest& request) {
    json::object envs;
    for (const auto& [name, value] : request.variables) envs[name] = value;
    json::object message;
    message["code"] = request.code;
    message["envs"] = std::move(envs);
    const std::string line = write_json(message) + "\n";
    (void)co_await worker->stream().write(std::as_bytes(std::span(line)));
  }
  // Returns when it is no more, so that nobody takes it for one that lives.
  asio::awaitable<void> kill() {
    co_await signal(SIGKILL);
    const auto limit = Clock::now() + kPatience;
    while (active() && Clock::now() < limit) (void)co_await worker->changed().wait_until(limit);
  }
  asio::awaitable<void> signal(int number) {
    try {
      co_await worker->stream().signal_alone(number);
    } catch (const Error& error) {
      if (!has_ended(error)) throw;
    }
  }
};

// ---- Contexts

asio::awaitable<Interpreter::ContextPtr> Interpreter::make(std::string id, std::string cwd) {
  cwd = cwd.empty() ? view_.workdir() : view_.resolve(cwd);
  ExecCommand command;
  const std::vector<std::string> python{"python3", "-u", "-c", kWorkerSource};
  const Variables none;
  command.argv = view_.with_environment(none, python);
  command.cwd = cwd;
  command.linger = std::chrono::seconds(0);  // it is ours to follow, and goes with its sandbox
  auto worker =
      std::make_shared<machine::Process>(view_.executor(), view_.agent().exec(command), false, true);
  auto context = std::make_shared<Context>(view_.executor(), worker);
  context->id = std::move(id);
  context->cwd = std::move(cwd);
  context->created = view_.engine().system_now();
  std::optional<ToolboxError> failure;
  try {
    co_await processes_.start(worker, kNoDeadline);
    const std::optional<std::string> line = co_await context->line_before(Clock::now() + kPatience);
    if (!line) failure = internal_error("failed to start Python worker");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::permission_denied &&
        error.code() != ErrorCode::invalid_argument) {
      throw;
    }
    failure = bad_request(std::string("failed to start Python worker: ") + error.what());
  }
  if (failure) {
    if (context->active()) co_await context->kill();
    throw *failure;
  }
  contexts_[context->id] = context;
  co_return context;
}

// The default one is made when it is first needed, and again when it has ended.
asio::awaitable<Interpreter::ContextPtr> Interpreter::find(std::string id) {
  const bool standard = id.empty() || id == kDefault;
  const auto found = contexts_.find(standard ? std::string_view(kDefault) : std::string_view(id));
  if (found != contexts_.end() && found->second->active()) co_return found->second;
  if (!standard) {
    throw found == contexts_.end() ? not_found("context not found: " + id)
                                   : bad_request("context is not active: " + id);
  }
  std::string name = kDefault;
  std::string anywhere;
  co_return co_await make(std::move(name), std::move(anywhere));
}

asio::awaitable<void> Interpreter::create(HttpExchange& exchange) {
  const std::string text = co_await exchange.read_body(kMaxBody);
  const Body body = Body::parse(text.empty() ? "{}" : text);
  const std::string language = body.text("language").value_or("");
  if (!language.empty() && language != "python") throw bad_request("unsupported language: " + language);
  std::string cwd = body.text("cwd").value_or("");
  std::string id = random_uuid(view_.engine());
  const ContextPtr context = co_await make(std::move(id), std::move(cwd));
  json::object answer = context->describe();
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Interpreter::list(HttpExchange& exchange) {
  json::array contexts;
  for (const auto& [id, context] : contexts_) {
    if (id != kDefault) contexts.push_back(context->describe());
  }
  json::object answer;
  answer["contexts"] = std::move(contexts);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Interpreter::remove(HttpExchange& exchange, std::string id) {
  if (id == kDefault) throw bad_request("cannot delete default context");
  const auto found = contexts_.find(id);
  if (found == contexts_.end()) throw not_found("context not found: " + id);
  const ContextPtr context = found->second;
  contexts_.erase(found);
  if (context->active()) co_await context->kill();
  json::object answer;
  answer["message"] = "Context deleted successfully";
  co_await reply_json(exchange, std::move(answer));
}

// ---- Cells

asio::awaitable<void> Interpreter::execute(HttpExchange& exchange) {
  net::WebSocketOptions options;
  const std::unique_ptr<WebSocket> socket =
      co_await net::accept_websocket(exchange, view_.executor(), std::move(options));
  if (!socket) co_return;
  std::optional<WebSocketFrame> first = co_await socket->receive();
  if (!first) co_return;
  TaskGroup tasks(view_.engine(), view_.executor());
  tasks.spawn(socket->drain());
  asio::awaitable<void> serving = serve(*socket, std::move(*first));
  co_await tasks.run(std::move(serving));
}

asio::awaitable<void> Interpreter::serve(WebSocket& socket, WebSocketFrame first) {
  Ending ending = co_await answer(socket, std::move(first));
  co_await socket.close(ending.code, std::move(ending.reason));
}

asio::awaitable<Interpreter::Ending> Interpreter::answer(WebSocket& socket, WebSocketFrame first) {
  if (first.kind != WebSocketFrame::Kind::text || !is_json_object(first.data))
    co_return Ending(kBadMessage, "invalid request");
  Ending ending(kDone);
  try {
    CellRequest request = parse_cell_request(first.data);
    ContextPtr context = co_await find(request.context);
    if (context->waiting >= kMaxWaiting) throw bad_request("too many cells are waiting");
    ending = co_await run(socket, std::move(context), std::move(request));
  } catch (const ToolboxError& error) {
    ending.code = error.status() >= 500 ? kFailed : kRefused;
    ending.reason = error.what();
  }
  co_return ending;
}

asio::awaitable<Interpreter::Ending> Interpreter::run(WebSocket& socket, ContextPtr context,
                                                      CellRequest request) {
  struct Waiting {
    explicit Waiting(std::size_t& of) : count(of) { ++count; }
    ~Waiting() { --count; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    std::size_t& count;
  };
  const Waiting waiting(context->waiting);
  const Turnstile::Pass pass = co_await context->cells.enter();
  co_await context->send(request);
  auto deadline = request.timeout ? Clock::now() + *request.timeout : Clock::time_point::max();
  bool interrupted = false;
  bool alive = true;  // whether the client listens; the cell runs on without it
  while (true) {
    const std::optional<std::string> line = co_await context->line_before(deadline);
    if (!line && context->worker->over()) break;
    if (!line && interrupted) {
      co_await context->kill();
      co_return Ending(kTimedOut);
    }
    if (!line) {
      interrupted = true;
      deadline = Clock::now() + kInterruption;
      co_await context->signal(SIGINT);
      continue;
    }
    const std::optional<json::object> event = cell_event(*line);
    if (!event) continue;
    std::string text = write_json(*event);
    if (alive) alive = co_await socket.send_text(std::move(text));
    if (event->at("type") == "control") co_return Ending(interrupted ? kTimedOut : kDone);
  }
  co_return Ending(interrupted ? kTimedOut : kGoingAway, "worker process ended");
}

}  // namespace sandkey::daytona_toolbox
