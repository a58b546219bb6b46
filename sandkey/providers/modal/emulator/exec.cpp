#include "sandkey/providers/modal/emulator/exec.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/grpc.h"

#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace grpc = sandkey::emulator::grpc;

grpc::CallError refused(const std::string& why) {
  return {grpc::Code::failed_precondition, why};
}

}  // namespace

Exec::Exec(asio::any_io_executor executor, std::size_t output_limit)
    : executor_(executor),
      out_(output_limit),
      error_(output_limit),
      changed_(executor),
      input_(std::move(executor)) {}

asio::awaitable<void> Exec::run(std::shared_ptr<Exec> exec) {
  try {
    exec->exit_ = co_await exec->perform();
  } catch (const Error&) {
    exec->failure_ = std::current_exception();
  } catch (const boost::system::system_error&) {  // cancelled: its sandbox ends
    exec->failure_ = std::current_exception();
  }
  exec->out_.end();
  exec->error_.end();
  exec->changed_.notify_all();
}

asio::awaitable<void> Exec::started() {
  while (!started_ && !over()) (void)co_await changed_.wait();
  if (!started_ && failure_) std::rethrow_exception(failure_);
}

void Exec::give_up() {
  if (over()) return;
  failure_ =
      std::make_exception_ptr(Error(ErrorCode::sandbox_dead, "running a command: its sandbox has ended"));
  out_.end();
  error_.end();
  changed_.notify_all();
}

void Exec::mark_started() {
  started_ = true;
  changed_.notify_all();
}

void Exec::put(OutputLog& log, std::string_view bytes) {
  if (bytes.empty()) return;
  log.append(bytes);
  changed_.notify_all();
}

asio::awaitable<void> Exec::write(std::uint64_t offset, std::string data, bool end) {
  const Turnstile::Pass pass = co_await input_.enter();
  if (!data.empty() && offset > written_) {
    throw refused("stdin was written up to " + std::to_string(written_) + ", and this begins at " +
                  std::to_string(offset));
  }
  const std::uint64_t known = data.empty() ? 0 : written_ - offset;
  if (known < data.size()) {
    if (input_closed()) throw refused("stdin is closed");
    std::string rest = data.substr(static_cast<std::size_t>(known));
    const std::size_t size = rest.size();
    const bool taken = co_await feed(std::move(rest));
    if (!taken) throw refused("stdin is closed: the process takes no more");
    written_ += size;
  }
  if (end && !input_closed_) {
    input_closed_ = true;
    if (!over()) co_await close_input();
  }
}

}  // namespace sandkey::modal::emulator
