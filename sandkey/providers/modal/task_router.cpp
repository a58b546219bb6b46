#include "sandkey/providers/modal/task_router.h"

#include "sandkey/base/error.h"
#include "sandkey/credentials/redactor.h"

#include <boost/asio/this_coro.hpp>
#include <boost/json/array.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <utility>

namespace sandkey::modal {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kService = "/modal.task_command_router.TaskCommandRouter/";

constexpr std::size_t kInputPiece = std::size_t{1} << 20;
constexpr std::chrono::seconds kLongestWait = 60s;  // of one request for the exit code
constexpr int kAttempts = 11;
constexpr std::chrono::milliseconds kFirstPause = 10ms;
constexpr std::chrono::milliseconds kLongestPause = 1s;

constexpr int kPipe = 1;  // where an output goes: to whoever reads it

bool may_pass(GrpcCode code) {
  switch (code) {
    case GrpcCode::deadline_exceeded:
    case GrpcCode::unavailable:
    case GrpcCode::cancelled:
    case GrpcCode::internal:
    case GrpcCode::unknown:
      return true;
    default:
      return false;
  }
}

// Of failures that follow upon one another.
class Patience {
 public:
  Patience(Engine& engine, Deadline deadline) : engine_(engine), deadline_(deadline) {}

  void begin_anew() { failures_ = 0; }
  // How long to wait before the next attempt; nothing if there is to be none.
  std::optional<std::chrono::milliseconds> next(GrpcCode code) {
    if (!may_pass(code) || ++failures_ >= kAttempts) return std::nullopt;
    const auto pause = std::min(kFirstPause * (1 << (failures_ - 1)), kLongestPause);
    if (engine_.in(pause) >= deadline_) return std::nullopt;
    return pause;
  }

 private:
  Engine& engine_;
  const Deadline deadline_;
  int failures_ = 0;
};

}  // namespace

struct TaskRouter::Running {
  std::string id;
  std::string operation;
};

TaskRouter::TaskRouter(std::shared_ptr<ControlPlane> control, std::string task_id,
                       std::shared_ptr<const RouterAccess> first, AccessSource source)
    : engine_(control->engine()),
      control_(std::move(control)),
      task_id_(std::move(task_id)),
      source_(std::move(source)),
      opening_(engine_),
      first_(std::move(first)) {}

asio::awaitable<ShellResult> TaskRouter::run(RouterCommand command, Deadline deadline) {
  const auto running = std::make_shared<Running>(Running{random_uuid(engine_), command.operation});
  json::array argv;
  for (const std::string& argument : command.argv) argv.emplace_back(argument);
  json::object environment;
  for (const auto& [name, value] : command.environment) environment[name] = value;
  GrpcCall start{.method = "TaskExecStart",
                 .request = {{"task_id", task_id_},
                             {"exec_id", running->id},
                             {"command_args", std::move(argv)},
                             {"stdout_config", kPipe},
                             {"stderr_config", kPipe},
                             {"env", std::move(environment)}}};
  if (deadline != kNoDeadline) {
    // Should we be gone by then, it would go on, and its sandbox would never be idle.
    const auto left = std::chrono::ceil<std::chrono::seconds>(deadline - engine_.steady_now());
    start.request["timeout_secs"] = std::max<std::int64_t>(left.count(), 1);
  }
  (void)co_await call(std::move(start), running->operation, deadline);

  ShellResult result;
  bool has_ended = false;
  {
    // All at once, as what nobody reads may keep the command from reading; and none without the others, as it
    // may then never end.
    TaskGroup parts(engine_, co_await asio::this_coro::executor);
    const auto part = [&parts](asio::awaitable<void> task) -> asio::awaitable<void> {
      std::exception_ptr failure;
      try {
        co_await std::move(task);
      } catch (...) {
        failure = std::current_exception();
      }
      if (!failure) co_return;
      parts.cancel();
      std::rethrow_exception(failure);
    };
    const auto ended = [&]() -> asio::awaitable<void> {
      result.exit_code = co_await exit_code(running, deadline);
      has_ended = true;
    };
    parts.spawn(part(follow(running, 0, &result.output, deadline)));
    parts.spawn(part(follow(running, 1, &result.error_output, deadline)));
    if (command.input) parts.spawn(part(feed(running, std::move(*command.input), deadline)));
    parts.spawn(part(ended()));
    const auto all_begun = []() -> asio::awaitable<void> { co_return; };
    co_await parts.run(all_begun());
  }
  if (!has_ended) throw Error(ErrorCode::cancelled, running->operation + ": cancelled");
  co_return result;
}

// ---- the way there

asio::awaitable<TaskRouter::SharedWay> TaskRouter::way(Deadline deadline, SharedWay refused) {
  {
    const std::lock_guard lock(mutex_);
    if (way_ && way_ != refused) co_return way_;
  }
  const std::function<asio::awaitable<SharedWay>()> open = [self = shared_from_this(), refused] {
    return opened(self, refused);
  };
  co_return co_await engine_.with_deadline(opening_.join(open), deadline,
                                           "finding the worker of a sandbox of modal");
}

asio::awaitable<TaskRouter::SharedWay> TaskRouter::opened(std::shared_ptr<TaskRouter> self,
                                                          SharedWay before) {
  std::shared_ptr<const RouterAccess> access;
  {
    const std::lock_guard lock(self->mutex_);
    access = std::exchange(self->first_, nullptr);
  }
  if (!access || before) access = co_await self->source_();
  std::shared_ptr<Way> found;
  if (before && before->access->url == access->url) {
    found = std::make_shared<Way>(Way{access, before->channel});
  } else {
    Endpoint address = self->address_of(access->url);
    GrpcDestination destination = modal_destination();
    GrpcChannel channel =
        co_await GrpcChannel::open(self->engine_, std::move(address), std::move(destination));
    found = std::make_shared<Way>(Way{access, std::move(channel)});
  }
  const std::lock_guard lock(self->mutex_);
  self->way_ = found;
  co_return found;
}

// The token goes there, so only encrypted; unless all of Modal is on this machine, and then in the clear.
Endpoint TaskRouter::address_of(const std::string& url) const {
  Endpoint address = Endpoint::parse(url, "the address of a worker of modal");
  const Endpoint& server = control_->server();
  if (!server.is_https() && server.is_loopback() && address.is_loopback()) {
    return Endpoint::parse(fmt::format("http://{}:{}", address.host(), address.port()), "the address");
  }
  if (address.is_https()) return address;
  throw Error(ErrorCode::protocol,
              "finding the worker of a sandbox of modal: its address is not encrypted, and the API's is");
}

// ---- requests

asio::awaitable<json::object> TaskRouter::call(GrpcCall call, std::string operation, Deadline deadline) {
  Patience patience(engine_, deadline);
  SharedWay used = co_await way(deadline);
  bool renewed = false;
  const Deadline end = std::min(call.deadline, deadline);
  for (;;) {
    GrpcCall sent{.method = std::string(kService) + call.method,
                  .request = call.request,
                  .data = call.data,
                  .headers = {},
                  .deadline = end};
    sent.headers.emplace_back("authorization", Secret("Bearer " + std::string(used->access->token.expose())));
    GrpcReply reply = co_await used->channel.unary(std::move(sent));
    control_->hear(reply.status);
    const GrpcCode code = reply.status.code;
    if (reply.status.ok()) co_return std::move(reply.message.fields);
    if (code == GrpcCode::unauthenticated && !renewed) {
      renewed = true;
      used = co_await way(deadline, used);
      continue;
    }
    const auto pause = patience.next(code);
    if (!pause) throw_error(error(operation, reply.status, used.get()));
    co_await engine_.sleep_for(*pause);
  }
}

asio::awaitable<void> TaskRouter::follow(std::shared_ptr<Running> running, int descriptor,
                                         std::string* output, Deadline deadline) {
  Patience patience(engine_, deadline);
  SharedWay used = co_await way(deadline);
  bool renewed = false;
  for (;;) {
    GrpcCall read{.method = std::string(kService) + "TaskExecStdioRead",
                  .request = {{"task_id", task_id_},
                              {"exec_id", running->id},
                              {"offset", output->size()},
                              {"file_descriptor", descriptor}},
                  .data = {},
                  .headers = {},
                  .deadline = deadline};
    read.headers.emplace_back("authorization", Secret("Bearer " + std::string(used->access->token.expose())));
    GrpcStream replies = used->channel.stream(read);
    bool came = false;
    for (;;) {
      const std::optional<GrpcMessage> piece = co_await replies.next();
      if (!piece) break;
      came = true;
      patience.begin_anew();
      renewed = false;
      if (output->size() + piece->data.size() > kMaxOutput) {
        throw Error(ErrorCode::protocol, running->operation + ": its output is endless");
      }
      *output += piece->data;
    }
    const GrpcStatus& status = replies.status();
    if (status.ok()) co_return;
    if (status.code == GrpcCode::unauthenticated && !renewed) {
      renewed = true;
      used = co_await way(deadline, used);
      continue;
    }
    // An answer of gRPC's that lost its end.
    const bool was_cut = came && status.code == GrpcCode::malformed;
    const auto pause = patience.next(was_cut ? GrpcCode::unavailable : status.code);
    if (!pause) throw_error(error(running->operation, status, used.get()));
    co_await engine_.sleep_for(*pause);
  }
}

asio::awaitable<void> TaskRouter::feed(std::shared_ptr<Running> running, std::string input,
                                       Deadline deadline) {
  std::size_t offset = 0;
  for (bool last = false; !last;) {
    std::string piece = input.substr(offset, kInputPiece);
    last = offset + piece.size() == input.size();
    const std::size_t size = piece.size();
    GrpcCall write{
        .method = "TaskExecStdinWrite",
        .request = {{"task_id", task_id_}, {"exec_id", running->id}, {"offset", offset}, {"eof", last}},
        .data = std::move(piece)};
    try {
      (void)co_await call(std::move(write), running->operation, deadline);
    } catch (const Error& error) {
      // It has ended without reading all; its exit code says how.
      if (error.code() != ErrorCode::conflict) throw;
      last = true;
    }
    offset += size;
  }
}

asio::awaitable<int> TaskRouter::exit_code(std::shared_ptr<Running> running, Deadline deadline) {
  for (;;) {
    const Deadline end = std::min(deadline, engine_.in(kLongestWait));
    GrpcCall wait{.method = "TaskExecWait",
                  .request = {{"task_id", task_id_}, {"exec_id", running->id}},
                  .data = {},
                  .headers = {},
                  .deadline = end};
    json::object reply;
    try {
      reply = co_await call(std::move(wait), running->operation, end);
    } catch (const Error& error) {
      const bool not_yet = error.code() == ErrorCode::deadline_exceeded && engine_.steady_now() < deadline;
      if (!not_yet) throw;
      continue;
    }
    constexpr int kBySignal = 128;
    if (const auto code = find_integer(reply, "code")) co_return static_cast<int>(*code);
    if (const auto signal = find_integer(reply, "signal")) co_return kBySignal + static_cast<int>(*signal);
    throw Error(ErrorCode::protocol, running->operation + ": it ended with neither a code nor a signal");
  }
}

Error TaskRouter::error(const std::string& operation, const GrpcStatus& status, const Way* way) const {
  ErrorCode code = error_code_of(status);
  std::string_view what = "the sandbox's worker failed to answer";
  if (code == ErrorCode::not_found) what = "the sandbox's worker does not know it (any more)";
  if (code == ErrorCode::conflict) what = "the command has ended";
  if (code == ErrorCode::deadline_exceeded) what = "the sandbox's worker did not answer in time";
  if (code == ErrorCode::unauthenticated || code == ErrorCode::permission_denied) {
    // It is no token of the account's: Modal gave it, and gives another the next time.
    code = ErrorCode::unavailable;
    what = "the sandbox's worker does not take the token that Modal gave for it";
  }
  Redactor redactor;
  redactor.add(way->access->token);
  std::string text = fmt::format("{}: {}; {}", operation, what, to_string(status.code));
  const std::string said = control_->quoted(redactor.redact(status.message));
  if (!said.empty()) text += fmt::format(", it says \"{}\"", said);
  return Error(code, text,
               {.provider = "modal",
                .operation = operation,
                .phase = {},
                .request_id = {},
                .processed = processed_of(status)});
}

}  // namespace sandkey::modal
