#include "sandkey/providers/e2b/emulator/envd/process_service.h"

#include "sandkey/base/error.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <type_traits>
#include <utility>

namespace sandkey::e2b_envd {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::milliseconds kDying{250};
constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string describe(const ProcessSelector& selector) {
  return selector.selector_case() == ProcessSelector::kTag
             ? "process with tag " + selector.tag() + " not found"
             : "process with pid " + std::to_string(selector.pid()) + " not found";
}

// A process without a clean environment would inherit the agent's; a shell that becomes it, as in envd, makes
// a program that is not there an end with status 127 instead of a failure to start.
std::vector<std::string> wrapped(const ProcessConfig& config, const Variables& environment) {
  std::vector<std::string> argv{"/usr/bin/env", "-i"};
  for (const auto& [name, value] : environment) argv.push_back(name + "=" + value);
  argv.insert(argv.end(), {"/bin/sh", "-c", "exec \"${@}\"", "--", config.cmd()});
  argv.insert(argv.end(), config.args().begin(), config.args().end());
  return argv;
}

struct InputTurn {
  explicit InputTurn(Process& owner) : process(owner) { process.input_busy = true; }
  ~InputTurn() {
    process.input_busy = false;
    process.changed().notify_all();
  }
  InputTurn(const InputTurn&) = delete;
  InputTurn& operator=(const InputTurn&) = delete;
  Process& process;
};

// The way to the cloud and back is longer than a killed process takes to end, and clients are used to that:
// they look for it at once, and do not find it any more.
asio::awaitable<void> wait_for_end(Process& process) {
  const auto soon = std::chrono::steady_clock::now() + kDying;
  while (!process.over() && std::chrono::steady_clock::now() < soon)
    (void)co_await process.changed().wait_until(soon);
}

// Response is a StartResponse or a ConnectResponse; a process that was started here is killed at the
// deadline.
template <typename Response>
asio::awaitable<void> tell(RpcCall& call, Process& process, Process::Subscriber& subscriber,
                           Deadline deadline) {
  const std::chrono::seconds keepalive = call.keepalive();
  Response response;
  response.mutable_event()->mutable_start()->set_pid(static_cast<unsigned>(process.pid()));
  bool alive = co_await call.send(response);
  auto next_keepalive = std::chrono::steady_clock::now() + keepalive;
  while (alive) {
    if (std::chrono::steady_clock::now() >= deadline) {
      if constexpr (std::is_same_v<Response, StartResponse>) co_await wait_for_end(process);
      throw RpcError(RpcCode::deadline_exceeded, "context deadline exceeded");
    }
    if (auto output = subscriber.take()) {
      *response.mutable_event() = process.event_of(std::move(*output));
      next_keepalive = std::chrono::steady_clock::now() + keepalive;
    } else if (process.end()) {
      *response.mutable_event()->mutable_end() = end_event(*process.end());
      alive = co_await call.send(response);
      if (alive) co_await call.finish();
      co_return;
    } else if (process.failure()) {
      std::rethrow_exception(process.failure());
    } else if (std::chrono::steady_clock::now() >= next_keepalive) {
      response.mutable_event()->mutable_keepalive();
      next_keepalive = std::chrono::steady_clock::now() + keepalive;
    } else {
      (void)co_await process.changed().wait_until(std::min(deadline, next_keepalive));
      continue;
    }
    alive = co_await call.send(response);
  }
}

}  // namespace

ProcessService::ProcessService(asio::any_io_executor executor, AgentClient& agent,
                               machine::ProcessTable& processes, const Variables& variables,
                               std::string workdir)
    : executor_(std::move(executor)),
      agent_(agent),
      processes_(processes),
      variables_(variables),
      workdir_(std::move(workdir)) {}

std::shared_ptr<Process> ProcessService::require_running(const ProcessSelector& selector) {
  std::shared_ptr<Process> process = find(processes_, selector);
  if (!process || process->over()) throw RpcError(RpcCode::not_found, describe(selector));
  return process;
}

asio::awaitable<ListResponse> ProcessService::list(Account, ListRequest) {
  ListResponse response;
  for (const std::shared_ptr<Process>& process : running(processes_)) {
    ProcessInfo& info = *response.add_processes();
    *info.mutable_config() = process->config();
    info.set_pid(static_cast<unsigned>(process->pid()));
    if (process->request().has_tag()) info.set_tag(process->request().tag());
  }
  co_return response;
}

asio::awaitable<ExecCommand> ProcessService::command_of(const StartRequest& request, const Account& account) {
  const ProcessConfig& config = request.process();
  ExecCommand command;
  try {
    command.cwd = resolve_path(config.cwd(), account, workdir_);
  } catch (const PathError& error) {
    throw RpcError(RpcCode::invalid_argument, error.what());
  }
  const RemoteStat folder = co_await agent_.stat(command.cwd, agent_.engine().in(kPatience));
  if (folder.type == RemoteStat::Type::missing)
    throw RpcError(RpcCode::invalid_argument, "cwd '" + command.cwd + "' does not exist");

  Variables environment{
      {"PATH", kPath}, {"HOME", account.home}, {"USER", account.name}, {"LOGNAME", account.name}};
  for (const auto& [name, value] : variables_) environment[name] = value;
  for (const auto& [name, value] : config.envs()) environment[name] = value;
  command.argv = wrapped(config, environment);
  command.input = !request.has_stdin() || request.stdin();
  command.to_end_of_output = true;
  command.linger = std::chrono::seconds(0);  // it is ours to follow, and goes with its sandbox
  if (request.has_pty()) {
    command.terminal = std::make_pair(request.pty().size().rows(), request.pty().size().cols());
    command.input = true;
  }
  co_return command;
}

asio::awaitable<void> ProcessService::start(RpcCall& call, Account account) {
  StartRequest request;
  co_await call.read(request);
  const Deadline deadline = call.deadline();
  const ExecCommand command = co_await command_of(request, account);
  const std::shared_ptr<Process> process =
      std::make_shared<Process>(executor_, std::move(request), agent_.exec(command));
  Process::Subscriber subscriber(*process);
  std::optional<RpcError> failure;
  try {
    co_await processes_.start(process, deadline);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::permission_denied &&
        error.code() != ErrorCode::invalid_argument) {
      throw;
    }
    failure.emplace(RpcCode::invalid_argument, std::string("error starting process: ") + error.what());
  }
  if (failure) throw *failure;
  co_await tell<StartResponse>(call, *process, subscriber, deadline);
}

asio::awaitable<void> ProcessService::connect(RpcCall& call, Account) {
  ConnectRequest request;
  co_await call.read(request);
  const std::shared_ptr<Process> process = find(processes_, request.process());
  if (!process) throw RpcError(RpcCode::not_found, describe(request.process()));
  Process::Subscriber subscriber(*process);
  co_await tell<ConnectResponse>(call, *process, subscriber, call.deadline());
}

asio::awaitable<UpdateResponse> ProcessService::update(Account, UpdateRequest request) {
  const std::shared_ptr<Process> process = require_running(request.process());
  if (request.has_pty()) {
    if (!process->on_terminal())
      throw RpcError(RpcCode::internal, "error resizing tty: tty not assigned to process");
    const PTY::Size& size = request.pty().size();
    co_await process->stream().resize(size.rows(), size.cols());
  }
  co_return UpdateResponse();
}

asio::awaitable<void> ProcessService::feed(std::shared_ptr<Process> process, ProcessInput input) {
  if (input.input_case() == ProcessInput::INPUT_NOT_SET)
    throw RpcError(RpcCode::unimplemented, "invalid input type <nil>");
  const bool to_terminal = input.input_case() == ProcessInput::kPty;
  if (process->on_terminal() != to_terminal) {
    throw RpcError(RpcCode::internal, to_terminal ? "error writing to tty: tty not assigned to process"
                                                  : "error writing to stdin: tty assigned to process");
  }
  if (!process->input_open)
    throw RpcError(RpcCode::internal, "error writing to stdin: stdin not enabled or closed");
  const std::string& text = to_terminal ? input.pty() : input.stdin();
  while (process->input_busy) (void)co_await process->changed().wait();
  const InputTurn turn(*process);
  const bool taken = co_await process->stream().write(std::as_bytes(std::span(text)));
  if (taken) co_return;
  process->input_open = false;
  throw RpcError(RpcCode::internal,
                 "error writing to stdin of process '" + std::to_string(process->pid()) + "': broken pipe");
}

asio::awaitable<void> ProcessService::stream_input(RpcCall& call, Account) {
  std::shared_ptr<Process> process;
  StreamInputRequest request;
  for (bool more = true; more;) {
    more = co_await call.next(request);
    if (!more) break;
    switch (request.event_case()) {
      case StreamInputRequest::kStart:
        process = require_running(request.start().process());
        break;
      case StreamInputRequest::kData:
        if (!process) throw RpcError(RpcCode::invalid_argument, "data event before the start event");
        co_await feed(process, request.data().input());
        break;
      case StreamInputRequest::kKeepalive:
        break;
      case StreamInputRequest::EVENT_NOT_SET:
        throw RpcError(RpcCode::unimplemented, "invalid event type <nil>");
    }
  }
  StreamInputResponse response;
  co_await call.reply(response);
}

asio::awaitable<SendInputResponse> ProcessService::send_input(Account, SendInputRequest request) {
  std::shared_ptr<Process> process = require_running(request.process());
  co_await feed(std::move(process), request.input());
  co_return SendInputResponse();
}

asio::awaitable<SendSignalResponse> ProcessService::send_signal(Account, SendSignalRequest request) {
  const std::shared_ptr<Process> process = require_running(request.process());
  if (request.signal() != SIGNAL_SIGKILL && request.signal() != SIGNAL_SIGTERM) {
    throw RpcError(RpcCode::unimplemented, "invalid signal: " + Signal_Name(request.signal()));
  }
  const bool kill = request.signal() == SIGNAL_SIGKILL;
  co_await process->stream().signal_alone(kill ? SIGKILL : SIGTERM);
  if (kill) co_await wait_for_end(*process);
  co_return SendSignalResponse();
}

asio::awaitable<CloseStdinResponse> ProcessService::close_stdin(Account, CloseStdinRequest request) {
  const std::shared_ptr<Process> process = require_running(request.process());
  if (process->on_terminal()) {
    throw RpcError(RpcCode::unknown,
                   "error closing stdin: cannot close stdin for PTY process — send Ctrl+D (0x04) instead");
  }
  while (process->input_busy) (void)co_await process->changed().wait();
  if (process->input_open) {
    const InputTurn turn(*process);
    process->input_open = false;
    co_await process->stream().close_input();
  }
  co_return CloseStdinResponse();
}

}  // namespace sandkey::e2b_envd
