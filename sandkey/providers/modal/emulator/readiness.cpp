#include "sandkey/providers/modal/emulator/readiness.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/grpc.h"

#include <algorithm>
#include <chrono>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

constexpr std::uint32_t kInterval = 100;
constexpr std::uint32_t kShortestInterval = 10;
constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::seconds kLook{1};
constexpr std::size_t kOutputLimit = 64 * 1024;

asio::awaitable<bool> listens(SandboxPtr sandbox, std::uint16_t port, Deadline deadline) {
  try {
    const std::shared_ptr<emu::LocalSandbox> local = sandbox->local;
    (void)co_await local->dial(port, deadline);
  } catch (const Error&) {
    co_return false;
  }
  co_return true;
}

asio::awaitable<bool> succeeds(emu::World& world, SandboxPtr sandbox) {
  const auto& argv = sandbox->definition.readiness_probe().exec_command().argv();
  Command command;
  command.argv.assign(argv.begin(), argv.end());
  command.variables = sandbox->variables;
  command.folder = sandbox->folder;
  command.output_limit = kOutputLimit;
  const std::shared_ptr<Exec> probe =
      std::make_shared<Process>(world.engine.executor(), sandbox->local, command);
  sandbox->tasks.spawn(Exec::run(probe));
  while (!probe->over() && running(*sandbox))
    (void)co_await probe->changed().wait_until(world.engine.in(kLook));
  co_return probe->exit() && probe->exit()->code == 0 && !probe->exit()->signal;
}

}  // namespace

asio::awaitable<double> become_ready(emu::World& world, SandboxPtr sandbox, Deadline deadline) {
  if (!sandbox->definition.has_readiness_probe())
    throw grpc::CallError(grpc::Code::failed_precondition, "The Sandbox has no readiness probe");
  const modal_wire::Probe probe = sandbox->definition.readiness_probe();
  const std::uint32_t interval = probe.has_interval_ms() ? probe.interval_ms() : kInterval;
  const std::chrono::milliseconds pause(std::max(interval, kShortestInterval));
  while (!sandbox->ready) {
    if (!running(*sandbox) || !sandbox->local)
      throw grpc::CallError(grpc::Code::not_found, "The Sandbox has finished");
    bool good = false;
    if (probe.has_tcp_port()) {
      good =
          co_await listens(sandbox, static_cast<std::uint16_t>(probe.tcp_port()), world.engine.in(kPatience));
    } else {
      good = co_await succeeds(world, sandbox);
    }
    if (good && !sandbox->ready) sandbox->ready = world.clock.now();
    if (good) break;
    if (world.engine.steady_now() >= deadline)
      throw grpc::CallError(grpc::Code::deadline_exceeded, "The Sandbox was not ready in time");
    (void)co_await sandbox->changed.wait_until(std::min(deadline, world.engine.in(pause)));
  }
  co_return unix_time(*sandbox->ready);
}

}  // namespace sandkey::modal::emulator
