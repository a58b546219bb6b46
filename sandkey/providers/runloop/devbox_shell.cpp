#include "sandkey/providers/runloop/devbox_shell.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/providers/runloop/long_poll.h"
#include "sandkey/runtime/shell_quote.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace sandkey::runloop {
namespace {

constexpr char kRunning[] = "running a command in the sandbox of runloop";
// How long Runloop waits for a command before it answers without its end.
constexpr int kHoldSeconds = 25;

// A UUID of version 7, as Runloop wants them for commands.
std::string new_command_id(const Engine& engine) {
  const auto since = engine.system_now().time_since_epoch();
  const auto time =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
  const std::uint64_t a = engine.random();
  const std::uint64_t b = engine.random();
  return fmt::format("{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}", (time >> 16) & 0xffffffff, time & 0xffff,
                     a & 0xfff, 0x8000 | ((a >> 12) & 0x3fff), b & 0xffffffffffff);
}

// Of a command that has ended; nothing of one that runs.
std::optional<ShellResult> read_result(const json::object& execution) {
  if (find_string(execution, "status") != "completed") return std::nullopt;
  ShellResult result;
  result.exit_code = static_cast<int>(find_integer(execution, "exit_status").value_or(0));
  result.output = text_of(execution, "stdout");
  result.error_output = text_of(execution, "stderr");
  return result;
}

// The parts "path" and "file" of RFC 7578. `boundary` is random, and so not in the content.
std::string upload_form(const std::string& boundary, const std::string& path, const std::string& content) {
  return fmt::format(
      "--{0}\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\n{1}\r\n"
      "--{0}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n"
      "Content-Type: application/octet-stream\r\n\r\n{2}\r\n--{0}--\r\n",
      boundary, path, content);
}

}  // namespace

DevboxShell::DevboxShell(Devboxes& devboxes, std::string id) : devboxes_(devboxes), id_(std::move(id)) {}

asio::awaitable<ShellResult> DevboxShell::run(std::string script,
                                              std::map<std::string, std::string> environment,
                                              Deadline deadline) {
  const std::string file = fmt::format(".sandkey-{:016x}", devboxes_.engine().random());
  std::string text;
  for (const auto& [name, value] : environment) text += name + "=" + shell_quote(value) + "\n";
  co_await put(file, text + script, deadline);
  co_return co_await execute(fmt::format("sh ~/{0}; code=$?; rm -f ~/{0}; exit $code", file), deadline);
}

asio::awaitable<ShellResult> DevboxShell::execute(std::string command, Deadline deadline) {
  json::object body;
  body["command"] = command;
  body["command_id"] = new_command_id(devboxes_.engine());
  body["optimistic_timeout"] = kHoldSeconds;
  RestCall call = mutation(devbox_path(id_, "/execute"), kRunning, devboxes_.new_request_id(), deadline);
  call.body = json::value(std::move(body));
  const RestAnswer begun = co_await devboxes_.call(id_, std::move(call));
  const json::object& execution = object_of(begun.body, "runloop", kRunning);
  std::optional<ShellResult> result = read_result(execution);
  if (result) co_return std::move(*result);
  const std::string id = text_of(execution, "execution_id");
  if (id.empty() || id.find('/') != std::string::npos) {
    malformed_answer("runloop", kRunning, "the answer names no execution");
  }
  Ask ask = [&](Question question) -> asio::awaitable<std::string> {
    json::object wanted;
    wanted["statuses"] = json::array{"completed"};
    wanted["timeout_seconds"] = question.hold.count();
    RestCall wait = mutation(devbox_path(id_, "/executions/" + id + "/wait_for_status"), kRunning,
                             devboxes_.new_request_id(), question.deadline);
    wait.body = json::value(std::move(wanted));
    wait.repeatable = false;
    const RestAnswer answer = co_await devboxes_.call(id_, std::move(wait));
    result = read_result(object_of(answer.body, "runloop", kRunning));
    co_return result ? "" : "running";
  };
  co_await long_poll(devboxes_.engine(), kRunning, deadline, std::move(ask));
  co_return std::move(*result);
}

asio::awaitable<void> DevboxShell::put(std::string path, std::string content, Deadline deadline) {
  const Engine& engine = devboxes_.engine();
  const std::string boundary = fmt::format("sandkey-{:016x}{:016x}", engine.random(), engine.random());
  RestCall call = mutation(devbox_path(id_, "/upload_file"), "putting a file into the sandbox of runloop",
                           devboxes_.new_request_id(), deadline);
  call.headers.set("Content-Type", "multipart/form-data; boundary=" + boundary);
  call.bytes = upload_form(boundary, path, content);
  (void)co_await devboxes_.call(id_, std::move(call));
}

asio::awaitable<void> DevboxShell::require_sandbox(Deadline deadline) {
  const Devbox devbox = co_await devboxes_.get(id_, deadline);
  require_life(devbox, "starting the agent in the sandbox of runloop");
}

}  // namespace sandkey::runloop
