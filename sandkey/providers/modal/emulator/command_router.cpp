#include "sandkey/providers/modal/emulator/command_router.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/modal/emulator/file_tools.h"
#include "sandkey/providers/modal/emulator/readiness.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

constexpr const char* kService = "modal.task_command_router.TaskCommandRouter";
constexpr std::size_t kPiece = std::size_t{32} * 1024;
constexpr std::size_t kExecOutput = std::size_t{256} * 1024 * 1024;
constexpr std::chrono::seconds kLongestWait{60};
constexpr std::chrono::seconds kLook{1};  // how often a waiting call looks whether its client is still there
constexpr double kLongestReadiness = 24 * 60 * 60;
constexpr std::string_view kBearer = "Bearer ";

grpc::CallError no_such_exec(const std::string& id) {
  return {grpc::Code::not_found, "Exec " + id + " not found"};
}

std::shared_ptr<Exec> find_exec(const Sandbox& sandbox, const std::string& id) {
  const auto found = sandbox.execs.find(id);
  if (found == sandbox.execs.end()) throw no_such_exec(id);
  return found->second;
}

void require_running(const Sandbox& sandbox) {
  if (running(sandbox) && sandbox.local) return;
  throw grpc::CallError(grpc::Code::not_found, "Task " + sandbox.task_id + " not found");
}

template <typename Response>
void set_exit(Response& response, const ExitStatus& exit) {
  if (exit.signal) {
    response.set_signal(*exit.signal);
  } else {
    response.set_code(exit.code);
  }
}

OutputTo output_to(modal_wire::TaskExecStdoutConfig config) {
  return config == modal_wire::TASK_EXEC_STDOUT_CONFIG_PIPE ? OutputTo::own : OutputTo::nowhere;
}

OutputTo output_to(modal_wire::TaskExecStderrConfig config) {
  if (config == modal_wire::TASK_EXEC_STDERR_CONFIG_STDOUT) return OutputTo::out;
  return config == modal_wire::TASK_EXEC_STDERR_CONFIG_PIPE ? OutputTo::own : OutputTo::nowhere;
}

grpc::CallError to_call_error(const Error& error) {
  if (error.code() == ErrorCode::not_found) return {grpc::Code::not_found, error.what()};
  if (error.code() == ErrorCode::invalid_argument) return {grpc::Code::invalid_argument, error.what()};
  if (error.code() == ErrorCode::sandbox_dead) return {grpc::Code::not_found, "The Sandbox has finished"};
  return {grpc::Code::internal, error.what()};
}

std::optional<std::pair<unsigned, unsigned>> terminal_of(const modal_wire::PTYInfo& info) {
  constexpr unsigned kRows = 24;
  constexpr unsigned kColumns = 80;
  if (!info.enabled()) return std::nullopt;
  return std::pair(info.winsz_rows() == 0 ? kRows : info.winsz_rows(),
                   info.winsz_cols() == 0 ? kColumns : info.winsz_cols());
}

void add_terminal(Variables& variables, const modal_wire::PTYInfo& info) {
  if (!info.enabled()) return;
  if (!info.env_term().empty()) variables["TERM"] = info.env_term();
  if (!info.env_colorterm().empty()) variables["COLORTERM"] = info.env_colorterm();
  if (!info.env_term_program().empty()) variables["TERM_PROGRAM"] = info.env_term_program();
}

}  // namespace

template <typename Request, typename Response>
void CommandRouter::add(const char* method, Action<Request, Response> action) {
  methods_.add<Request>(kService, method,
                        [this, action](Call& call) { return run<Request, Response>(call, action); });
}

template <typename Request>
void CommandRouter::add_stream(const char* method, Stream<Request> stream) {
  methods_.add<Request>(kService, method,
                        [this, stream](Call& call) { return run_stream<Request>(call, stream); });
}

template <typename Request, typename Response>
asio::awaitable<void> CommandRouter::run(Call& call, Action<Request, Response> action) {
  Request request;
  co_await call.read(request);
  const SandboxPtr sandbox = authorize(call, request.task_id());
  const Response response = co_await (this->*action)(sandbox, std::move(request));
  co_await call.reply(response);
}

template <typename Request>
asio::awaitable<void> CommandRouter::run_stream(Call& call, Stream<Request> stream) {
  Request request;
  co_await call.read(request);
  const SandboxPtr sandbox = authorize(call, request.task_id());
  co_await (this->*stream)(call, sandbox, std::move(request));
}

CommandRouter::CommandRouter(Parts parts, grpc::Methods& methods) : parts_(parts), methods_(methods) {
  add("TaskExecStart", &CommandRouter::start);
  add_stream("TaskExecStdioRead", &CommandRouter::read);
  add("TaskExecStdinWrite", &CommandRouter::write);
  methods_.add<modal_wire::TaskExecStdinWriteStreamRequest>(
      kService, "TaskExecStdinWriteStream", [this](Call& call) { return write_stream(call); });
  add("TaskExecStdinStatus", &CommandRouter::input_status);
  add("TaskExecWait", &CommandRouter::wait);
  add("TaskExecPoll", &CommandRouter::poll);
  add_stream("SandboxStdioReadV2", &CommandRouter::read_main);
  add("SandboxStdinWriteV2", &CommandRouter::write_main);
  add("SandboxWaitUntilReady", &CommandRouter::wait_until_ready);
}

SandboxPtr CommandRouter::authorize(const Call& call, const std::string& task_id) const {
  const std::string_view header = call.metadata("authorization");
  if (!header.starts_with(kBearer))
    throw grpc::CallError(grpc::Code::unauthenticated, "The authorization header is missing");
  const auto subject = parts_.router_tokens.subject_of(header.substr(kBearer.size()));
  if (!subject) throw grpc::CallError(grpc::Code::unauthenticated, "The token is invalid or expired");
  if (*subject != task_id)
    throw grpc::CallError(grpc::Code::permission_denied, "The token is for another task");
  SandboxPtr sandbox = parts_.fleet.find_task(task_id);
  if (!sandbox) throw grpc::CallError(grpc::Code::not_found, "Task " + task_id + " not found");
  sandbox->last_used = parts_.world.clock.now();
  return sandbox;
}

// ---- Starting

std::shared_ptr<Exec> CommandRouter::make_exec(const SandboxPtr& sandbox,
                                               const modal_wire::TaskExecStartRequest& request) const {
  const auto& argv = request.command_args();
  if (argv.empty()) throw grpc::CallError(grpc::Code::invalid_argument, "command_args must not be empty");
  const asio::any_io_executor executor = parts_.world.engine.executor();
  if (argv[0] == kFileTools && argv.size() == 2) {
    return std::make_shared<FileTool>(parts_.world.engine, executor, sandbox->local, argv[1], kExecOutput);
  }
  const emu::Account& account = parts_.accounts.named(sandbox->account);
  Command command;
  command.argv.assign(argv.begin(), argv.end());
  command.variables = sandbox->variables;
  add_terminal(command.variables, request.pty_info());
  parts_.secrets.add_to(command.variables, account, request.secret_ids());
  for (const auto& [name, value] : request.env()) command.variables[name] = value;
  parts_.secrets.add_to(command.variables, account, request.secret_sources());
  command.folder = request.workdir().empty() ? sandbox->folder : request.workdir();
  if (request.has_timeout_secs() && request.timeout_secs() > 0)
    command.timeout = std::chrono::seconds(request.timeout_secs());
  command.terminal = terminal_of(request.pty_info());
  command.out = output_to(request.stdout_config());
  command.error = output_to(request.stderr_config());
  command.output_limit = kExecOutput;
  return std::make_shared<Process>(executor, sandbox->local, command);
}

asio::awaitable<modal_wire::TaskExecStartResponse> CommandRouter::start(
    SandboxPtr sandbox, modal_wire::TaskExecStartRequest request) {
  require_running(*sandbox);
  if (request.exec_id().empty())
    throw grpc::CallError(grpc::Code::invalid_argument, "exec_id must not be empty");
  if (request.has_workdir() && !request.workdir().starts_with('/'))
    throw grpc::CallError(grpc::Code::invalid_argument, "workdir must be an absolute path");
  std::string id = request.exec_id();
  const std::function<std::shared_ptr<Exec>()> make = [&] { return make_exec(sandbox, request); };
  std::optional<grpc::CallError> failure;
  try {
    (void)co_await parts_.fleet.start(sandbox, std::move(id), make);
  } catch (const Error& error) {
    failure = to_call_error(error);
  }
  if (failure) {
    sandbox->execs.erase(request.exec_id());
    std::erase(sandbox->exec_order, request.exec_id());
    throw *failure;
  }
  co_return modal_wire::TaskExecStartResponse();
}

// ---- Output

asio::awaitable<void> CommandRouter::read(Call& call, SandboxPtr sandbox,
                                          modal_wire::TaskExecStdioReadRequest request) {
  const std::shared_ptr<Exec> exec = find_exec(*sandbox, request.exec_id());
  const bool is_error = request.file_descriptor() == modal_wire::TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR;
  const OutputLog& log = is_error ? exec->error() : exec->out();
  const Deadline deadline = call.deadline();
  std::uint64_t offset = request.offset();
  modal_wire::TaskExecStdioReadResponse response;
  bool alive = co_await call.start();
  while (alive && !call.gone()) {
    if (offset < log.begin())
      throw grpc::CallError(grpc::Code::data_loss,
                            "The output before " + std::to_string(log.begin()) + " is not kept any more");
    *response.mutable_data() = log.read(offset, kPiece);
    if (!response.data().empty()) {
      offset += response.data().size();
      alive = co_await call.send(response);
    } else if (!running(*sandbox)) {
      throw grpc::CallError(grpc::Code::not_found, "Task " + sandbox->task_id + " not found");
    } else if (log.ended()) {
      co_await call.finish();
      co_return;
    } else if (parts_.world.engine.steady_now() >= deadline) {
      throw grpc::CallError(grpc::Code::deadline_exceeded, "Deadline exceeded");
    } else {
      (void)co_await exec->changed().wait_until(std::min(deadline, parts_.world.engine.in(kLook)));
    }
  }
}

// Of the main process the newest output is kept, and read also after its end.
asio::awaitable<void> CommandRouter::read_main(Call& call, SandboxPtr sandbox,
                                               modal_wire::SandboxStdioReadV2Request request) {
  const std::shared_ptr<Exec> main = sandbox->main;
  const bool is_error = request.file_descriptor() == modal_wire::SANDBOX_STDIO_FILE_DESCRIPTOR_STDERR;
  const Deadline deadline = call.deadline();
  std::uint64_t offset = request.offset();
  modal_wire::SandboxStdioReadV2Response response;
  bool alive = co_await call.start();
  while (alive && !call.gone()) {
    bool over = !running(*sandbox);
    if (main) {
      const OutputLog& log = is_error ? main->error() : main->out();
      offset = std::max(offset, log.begin());
      *response.mutable_data() = log.read(offset, kPiece);
      response.set_starting_offset(offset);
      over = log.ended();
    }
    if (!response.data().empty()) {
      offset += response.data().size();
      alive = co_await call.send(response);
    } else if (over) {
      co_await call.finish();
      co_return;
    } else if (parts_.world.engine.steady_now() >= deadline) {
      throw grpc::CallError(grpc::Code::deadline_exceeded, "Deadline exceeded");
    } else {
      AsyncEvent& changed = main ? main->changed() : sandbox->changed;
      (void)co_await changed.wait_until(std::min(deadline, parts_.world.engine.in(kLook)));
    }
  }
}

// ---- Input

asio::awaitable<modal_wire::TaskExecStdinWriteResponse> CommandRouter::write(
    SandboxPtr sandbox, modal_wire::TaskExecStdinWriteRequest request) {
  const std::shared_ptr<Exec> exec = find_exec(*sandbox, request.exec_id());
  co_await exec->write(request.offset(), std::move(*request.mutable_data()), request.eof());
  co_return modal_wire::TaskExecStdinWriteResponse();
}

// Only its `end` closes the input. It gives way to the next stream, and to whoever asks how far it came.
asio::awaitable<void> CommandRouter::write_stream(Call& call) {
  modal_wire::TaskExecStdinWriteStreamRequest request;
  co_await call.read(request);
  if (!request.has_start())
    throw grpc::CallError(grpc::Code::invalid_argument, "The first message must be the start");
  const SandboxPtr sandbox = authorize(call, request.start().task_id());
  const std::shared_ptr<Exec> exec = find_exec(*sandbox, request.start().exec_id());
  std::uint64_t offset = request.start().offset();
  if (offset != exec->written())
    throw grpc::CallError(grpc::Code::failed_precondition,
                          "stdin was written up to " + std::to_string(exec->written()) +
                              ", and this begins at " + std::to_string(offset));
  const std::uint64_t owner = exec->take_input();
  bool ended = false;
  while (!ended) {
    const bool more = co_await call.next(request);
    if (!more) break;
    if (exec->input_owner() != owner)
      throw grpc::CallError(grpc::Code::aborted, "Another stream writes to stdin now");
    ended = request.has_end();
    std::string data = std::move(*request.mutable_data());
    const std::size_t size = data.size();
    co_await exec->write(offset, std::move(data), ended);
    offset += size;
  }
  const modal_wire::TaskExecStdinWriteStreamResponse response;
  co_await call.reply(response);
}

asio::awaitable<modal_wire::TaskExecStdinStatusResponse> CommandRouter::input_status(
    SandboxPtr sandbox, modal_wire::TaskExecStdinStatusRequest request) {
  const std::shared_ptr<Exec> exec = find_exec(*sandbox, request.exec_id());
  (void)exec->take_input();
  modal_wire::TaskExecStdinStatusResponse response;
  response.set_num_bytes_written(exec->written());
  response.set_closed(exec->input_closed());
  co_return response;
}

asio::awaitable<modal_wire::SandboxStdinWriteV2Response> CommandRouter::write_main(
    SandboxPtr sandbox, modal_wire::SandboxStdinWriteV2Request request) {
  const std::shared_ptr<Exec> main = sandbox->main;
  if (!running(*sandbox) || !main)
    throw grpc::CallError(grpc::Code::failed_precondition, "The main process takes no input");
  co_await main->write(request.offset(), std::move(*request.mutable_data()), request.eof());
  co_return modal_wire::SandboxStdinWriteV2Response();
}

// ---- Ends

asio::awaitable<modal_wire::TaskExecWaitResponse> CommandRouter::wait(
    SandboxPtr sandbox, modal_wire::TaskExecWaitRequest request) {
  const std::shared_ptr<Exec> exec = find_exec(*sandbox, request.exec_id());
  const Deadline deadline = parts_.world.engine.in(kLongestWait);
  bool in_time = true;
  while (in_time && !exec->over()) in_time = co_await exec->changed().wait_until(deadline);
  modal_wire::TaskExecWaitResponse response;
  if (exec->exit()) {
    set_exit(response, *exec->exit());
  } else if (exec->over()) {
    throw grpc::CallError(grpc::Code::not_found, "Task " + sandbox->task_id + " not found");
  } else {
    throw grpc::CallError(grpc::Code::deadline_exceeded, "The command still runs");
  }
  co_return response;
}

asio::awaitable<modal_wire::TaskExecPollResponse> CommandRouter::poll(
    SandboxPtr sandbox, modal_wire::TaskExecPollRequest request) {
  const std::shared_ptr<Exec> exec = find_exec(*sandbox, request.exec_id());
  modal_wire::TaskExecPollResponse response;
  if (exec->exit()) set_exit(response, *exec->exit());
  co_return response;
}

asio::awaitable<modal_wire::SandboxWaitUntilReadyTcrResponse> CommandRouter::wait_until_ready(
    SandboxPtr sandbox, modal_wire::SandboxWaitUntilReadyTcrRequest request) {
  const std::chrono::duration<double> time(std::clamp<double>(request.timeout(), 0, kLongestReadiness));
  const Deadline deadline =
      parts_.world.engine.in(std::chrono::duration_cast<std::chrono::milliseconds>(time));
  modal_wire::SandboxWaitUntilReadyTcrResponse response;
  response.set_ready_at(co_await become_ready(parts_.world, sandbox, deadline));
  co_return response;
}

}  // namespace sandkey::modal::emulator
