#include "sandkey/providers/runloop/emulator/command_routes.h"

#include "sandkey/base/utf8.h"
#include "sandkey/emulator/replies.h"
#include "sandkey/providers/runloop/emulator/hold.h"
#include "sandkey/providers/runloop/emulator/output.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

namespace sandkey::runloop::emulator {
namespace {

namespace emu = sandkey::emulator;

// A stream in which nothing happens ends after this time, and is to be opened again.
constexpr std::chrono::seconds kStreamPatience{60};
constexpr std::string_view kEventStream = "text/event-stream";

asio::awaitable<void> reply(net::HttpExchange& exchange, json::object object) {
  return emu::reply_json(exchange, 200, json::value(std::move(object)));
}

std::size_t last_lines_of(const net::HttpExchange& exchange) {
  return static_cast<std::size_t>(parse_count(exchange.query("last_n"), "last_n", kDefaultLastLines));
}

CommandRequest parse_command(const json::object& body) {
  CommandRequest request;
  request.command = require_text(body, "command");
  if (request.command.find('\0') != std::string::npos) throw invalid("'command' holds a NUL");
  request.shell = parse_text(body, "shell_name").value_or("");
  return request;
}

}  // namespace

std::string_view to_string(ExecutionStatus status) noexcept {
  switch (status) {
    case ExecutionStatus::queued:
      return "queued";
    case ExecutionStatus::running:
      return "running";
    case ExecutionStatus::completed:
      return "completed";
  }
  return "unknown";
}

json::object to_view(const Execution& execution, const std::string& devbox, std::size_t lines) {
  json::object view;
  view["devbox_id"] = devbox;
  view["execution_id"] = execution.request.id;
  view["status"] = to_string(execution.status);
  if (!execution.request.shell.empty()) view["shell_name"] = execution.request.shell;
  if (!execution.over()) return view;
  view["exit_status"] = execution.exit_status;
  const auto show = [&](const Output& output, std::string_view name) {
    const Tail tail = last_lines(output.bytes, lines);
    view[name] = utf8::sanitize(tail.text);
    view[std::string(name) + "_truncated"] = tail.truncated || output.cut;
  };
  show(execution.outputs[0], "stdout");
  show(execution.outputs[1], "stderr");
  return view;
}

CommandRoutes::CommandRoutes(emu::World& world, Fleet& fleet, Api& api) : world_(world), fleet_(fleet) {
  add(api, "POST /v1/devboxes/{id}/execute", kUse, &CommandRoutes::execute);
  add(api, "POST /v1/devboxes/{id}/execute_async", kUse, &CommandRoutes::execute_async);
  add(api, "POST /v1/devboxes/{id}/execute_sync", kUse, &CommandRoutes::execute_sync);
  add(api, "GET /v1/devboxes/{id}/executions/{execution_id}", kLook, &CommandRoutes::get);
  add(api, "POST /v1/devboxes/{id}/executions/{execution_id}/wait_for_status", kLook, &CommandRoutes::wait);
  add(api, "POST /v1/devboxes/{id}/executions/{execution_id}/kill", kUse, &CommandRoutes::kill);
  add(api, "POST /v1/devboxes/{id}/executions/{execution_id}/send_std_in", kUse, &CommandRoutes::send);
  add(api, "GET /v1/devboxes/{id}/executions/{execution_id}/stream_stdout_updates", kLook,
      &CommandRoutes::stream_stdout);
  add(api, "GET /v1/devboxes/{id}/executions/{execution_id}/stream_stderr_updates", kLook,
      &CommandRoutes::stream_stderr);
}

void CommandRoutes::add(Api& api, const char* route, Needs needs, Action action) {
  api.add(route, needs, [this, action](Exchange& exchange, const Account& account, Arguments arguments) {
    return (this->*action)(exchange, account, std::move(arguments));
  });
}

CommandRoutes::Found CommandRoutes::find(const Account& account, const Arguments& arguments) {
  DevboxPtr devbox = fleet_.get(account, arguments[0]);
  ExecutionPtr execution = devbox->executions.find(arguments[1]);
  if (!execution) throw no_such("Execution", arguments[1]);
  fleet_.touch(devbox);
  return {.devbox = std::move(devbox), .execution = std::move(execution)};
}

asio::awaitable<void> CommandRoutes::hold(ExecutionPtr execution, std::chrono::milliseconds time) {
  Hold hold(world_.engine, world_.clock, {execution, &execution->changed}, time);
  while (!execution->over() && !hold.over() && !fleet_.closing()) co_await hold.wait();
}

// ---- Starting

// Waits a while for the end, in the hope that there is no need to ask again.
asio::awaitable<void> CommandRoutes::execute(Exchange& exchange, const Account& account,
                                             Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const std::size_t lines = last_lines_of(exchange);
  CommandRequest request = parse_command(body);
  request.id = require_text(body, "command_id");
  std::chrono::milliseconds time = kMaxExecutionWait;
  if (const auto seconds = find_number(body, "optimistic_timeout")) {
    if (!(*seconds >= 0)) throw invalid("'optimistic_timeout' is no number of seconds");
    time =
        std::min(time, std::chrono::milliseconds(static_cast<std::int64_t>(std::min(*seconds, 1e6) * 1000)));
  }
  const DevboxPtr devbox = fleet_.use(account, arguments[0]);
  const ExecutionPtr execution = devbox->executions.start(std::move(request));
  co_await hold(execution, time);
  co_await reply(exchange, to_view(*execution, devbox->id, lines));
}

asio::awaitable<void> CommandRoutes::execute_async(Exchange& exchange, const Account& account,
                                                   Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  CommandRequest request = parse_command(body);
  request.attach_stdin = parse_flag(body, "attach_stdin").value_or(false);
  const DevboxPtr devbox = fleet_.use(account, arguments[0]);
  const ExecutionPtr execution = devbox->executions.start(std::move(request));
  co_await reply(exchange, to_view(*execution, devbox->id, kDefaultLastLines));
}

asio::awaitable<void> CommandRoutes::execute_sync(Exchange& exchange, const Account& account,
                                                  Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  CommandRequest request = parse_command(body);
  if (parse_flag(body, "attach_stdin").value_or(false))
    throw invalid("'attach_stdin' is for execute_async only");
  const DevboxPtr devbox = fleet_.use(account, arguments[0]);
  const ExecutionPtr execution = devbox->executions.start(std::move(request));
  co_await devbox->executions.wait(execution);
  json::object view;
  view["devbox_id"] = devbox->id;
  view["exit_status"] = execution->exit_status;
  view["stdout"] = utf8::sanitize(execution->outputs[0].bytes);
  view["stderr"] = utf8::sanitize(execution->outputs[1].bytes);
  if (!execution->request.shell.empty()) view["shell_name"] = execution->request.shell;
  co_await reply(exchange, std::move(view));
}

// ---- Looking

asio::awaitable<void> CommandRoutes::get(Exchange& exchange, const Account& account, Arguments arguments) {
  const Found found = find(account, arguments);
  const std::size_t lines = last_lines_of(exchange);
  co_await reply(exchange, to_view(*found.execution, found.devbox->id, lines));
}

asio::awaitable<void> CommandRoutes::wait(Exchange& exchange, const Account& account, Arguments arguments) {
  static const std::set<std::string_view> kStatuses{"queued", "running", "completed"};
  const json::object body = co_await read_object(exchange);
  const Found found = find(account, arguments);
  const std::size_t lines = last_lines_of(exchange);
  const WaitRequest request = parse_wait(body, kStatuses, kMaxExecutionWait);
  const ExecutionPtr execution = found.execution;
  const auto reached = [&] { return request.statuses.contains(to_string(execution->status)); };
  Hold hold(world_.engine, world_.clock, {execution, &execution->changed}, request.timeout);
  while (!reached() && !hold.over() && !fleet_.closing()) co_await hold.wait();
  if (!reached()) throw still_waiting("The execution has not reached any of the statuses");
  co_await reply(exchange, to_view(*execution, found.devbox->id, lines));
}

// ---- Acting on it

asio::awaitable<void> CommandRoutes::kill(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const Found found = find(account, arguments);
  const bool group = parse_flag(body, "kill_process_group").value_or(false);
  co_await found.devbox->executions.kill(found.execution, group);
  co_await reply(exchange, to_view(*found.execution, found.devbox->id, kDefaultLastLines));
}

asio::awaitable<void> CommandRoutes::send(Exchange& exchange, const Account& account, Arguments arguments) {
  const json::object body = co_await read_object(exchange);
  const Found found = find(account, arguments);
  InputRequest input = parse_input(body);
  if (!found.execution->request.attach_stdin) {
    throw wrong_state("The execution was not started with attach_stdin");
  }
  const bool taken = co_await found.devbox->executions.send(found.execution, std::move(input));
  json::object view;
  view["devbox_id"] = found.devbox->id;
  view["execution_id"] = found.execution->request.id;
  view["success"] = taken;
  co_await reply(exchange, std::move(view));
}

asio::awaitable<void> CommandRoutes::stream_stdout(Exchange& exchange, const Account& account,
                                                   Arguments arguments) {
  return stream(exchange, account, std::move(arguments), 0);
}

asio::awaitable<void> CommandRoutes::stream_stderr(Exchange& exchange, const Account& account,
                                                   Arguments arguments) {
  return stream(exchange, account, std::move(arguments), 1);
}

// From that byte on to the end, which is the end of the command. What goes wrong on the way is told in the
// stream, since its status was sent long ago.
asio::awaitable<void> CommandRoutes::stream(Exchange& exchange, const Account& account, Arguments arguments,
                                            std::size_t channel) {
  std::uint64_t offset = parse_count(exchange.query("offset"), "offset", 0);
  const Found found = find(account, arguments);
  const ExecutionPtr execution = found.execution;
  bool alive = co_await exchange.start(200, kEventStream);
  std::optional<Hold> idle;
  while (alive && !exchange.peer_gone()) {
    const bool ended = execution->over();
    const std::optional<Chunk> chunk = next_chunk(execution->outputs.at(channel).bytes, offset, ended);
    if (chunk) {
      offset = chunk->end;
      const std::string event = to_event(*chunk);
      alive = co_await exchange.write(event);
      idle.reset();
    } else if (ended) {
      break;
    } else if (fleet_.closing() || (idle && idle->over())) {
      const std::string event = to_error_event(408, "Nothing was written for a while: open the stream again");
      alive = co_await exchange.write(event);
      break;
    } else {
      if (!idle) {
        idle.emplace(world_.engine, world_.clock, std::shared_ptr<AsyncEvent>(execution, &execution->changed),
                     kStreamPatience);
      }
      co_await idle->wait();
    }
  }
  if (alive) (void)co_await exchange.finish();
}

}  // namespace sandkey::runloop::emulator
