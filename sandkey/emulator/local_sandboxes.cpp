#include "sandkey/emulator/local_sandboxes.h"

#include "sandkey/base/error.h"
#include "sandkey/base/own_program.h"

#include <chrono>
#include <utility>
#include <vector>

namespace sandkey::emulator {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kClosePatience{10};
constexpr std::pair<const char*, const char*> kSaved[] = {
    {"home", "/home"}, {"tmp", "/tmp"}, {"workspace", "/workspace"}};

asio::awaitable<bool> exists(sandbox::SandboxHost& host, std::string id, Deadline deadline) {
  try {
    (void)co_await host.describe(std::move(id), deadline);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
    co_return false;
  }
  co_return true;
}

asio::awaitable<void> end(sandbox::SandboxHost& host, std::string id, Deadline deadline) {
  co_await host.destroy(std::move(id), deadline);
}

asio::awaitable<void> ignore(std::size_t, std::span<const std::byte>) {
  co_return;
}

asio::awaitable<void> run_out(std::shared_ptr<AgentStream> stream, ExecSink sink) {
  (void)co_await stream->follow(std::move(sink));
}

}  // namespace

LocalSandbox::LocalSandbox(Engine& engine, sandbox::SandboxHost& host, std::string id)
    : engine_(engine),
      host_(host),
      id_(std::move(id)),
      agent_(engine,
             AgentAccess{Endpoint::parse("unix:" + host.socket(id_).string(), "the sandbox's socket")}) {
  agent_.set_sandbox_check(
      [&engine, &host, id = id_] { return exists(host, id, engine.in(kClosePatience)); });
}

asio::awaitable<UniqueFd> LocalSandbox::dial(std::uint16_t port, Deadline deadline) {
  return host_.dial(id_, port, deadline);
}

asio::awaitable<std::uint16_t> LocalSandbox::expose(std::uint16_t port, Deadline deadline) {
  return host_.expose(id_, port, deadline);
}

asio::awaitable<sandbox::Status> LocalSandbox::describe(Deadline deadline) {
  return host_.describe(id_, deadline);
}

asio::awaitable<void> LocalSandbox::pause(Deadline deadline) {
  return host_.pause(id_, deadline);
}

asio::awaitable<void> LocalSandbox::resume(Deadline deadline) {
  return host_.resume(id_, deadline);
}

// Process 1 and the sender are spared by the kernel.
asio::awaitable<void> LocalSandbox::end_processes(Deadline deadline) {
  ExecCommand command;
  command.argv = {"/bin/sh", "-c", "kill -KILL -1"};
  command.input = false;
  const std::shared_ptr<AgentStream> stream = agent_.exec(std::move(command));
  ExecSink sink = ignore;
  co_await engine_.with_deadline(run_out(stream, std::move(sink)), deadline, "ending processes");
}

asio::awaitable<void> LocalSandbox::destroy(Deadline deadline) {
  return host_.destroy(id_, deadline);
}

asio::awaitable<void> LocalSandbox::save_files(fs::path to, Deadline deadline) {
  for (const auto& [name, inside] : kSaved) {
    const fs::path here = to / name;
    fs::create_directories(here);
    const std::string there = inside;
    co_await agent_.get_tree(there, here, deadline);
  }
}

asio::awaitable<void> LocalSandbox::load_files(fs::path from, Deadline deadline) {
  for (const auto& [name, inside] : kSaved) {
    const fs::path here = from / name;
    const std::string there = inside;
    if (!fs::exists(here)) continue;
    co_await agent_.put_tree(here, there, deadline);
  }
}

LocalSandboxes::LocalSandboxes(Engine& engine, std::filesystem::path folder)
    : engine_(engine),
      host_(engine, std::move(folder), find_own_program(engine, "sandkey-keeper")),
      agent_(find_own_program(engine, "sandkey-agent")) {
  host_.check();
}

asio::awaitable<std::shared_ptr<LocalSandbox>> LocalSandboxes::create(sandbox::Spec spec, Deadline deadline) {
  spec.bound_to_client = true;
  spec.program = agent_;
  spec.arguments = {"--listen", "fd:3", "--ready-fd", "4", "--working-dir", spec.working_dir};
  std::string id = co_await host_.create(std::move(spec), deadline);
  co_return std::make_shared<LocalSandbox>(engine_, host_, std::move(id));
}

asio::awaitable<void> LocalSandboxes::close() {
  const Deadline deadline = engine_.in(kClosePatience);
  const std::vector<sandbox::Status> left = co_await host_.list(deadline);
  TaskGroup ending(engine_);
  for (const sandbox::Status& each : left) ending.spawn(end(host_, each.id, deadline));
  co_await ending.join();
}

}  // namespace sandkey::emulator
