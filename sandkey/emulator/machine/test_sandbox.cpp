#include "sandkey/emulator/machine/test_sandbox.h"

#include "sandkey/base/error.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <utility>

namespace sandkey::machine {
namespace {

using namespace std::chrono_literals;

sandbox::Spec spec_of_test(std::optional<std::uint64_t> disk_bytes) {
  sandbox::Spec spec;
  if (disk_bytes) spec.limits.disk_bytes = *disk_bytes;
  spec.working_dir = "/home/user";
  spec.program = SANDKEY_AGENT;
  spec.arguments = {"--listen", "fd:3", "--ready-fd", "4", "--working-dir", spec.working_dir};
  return spec;
}

asio::awaitable<void> run_there(std::function<void()> work) {
  work();
  co_return;
}

}  // namespace

TestSandbox::TestSandbox(std::optional<std::uint64_t> disk_bytes) {
  host_.emplace(engine_, folder_.path(), SANDKEY_KEEPER);
  host_->check();
  id_ = engine_.wait(host_->create(spec_of_test(disk_bytes), engine_.in(30s)));
  agent_.emplace(engine_,
                 AgentAccess{Endpoint::parse("unix:" + host_->socket(id_).string(), "the sandbox's socket")});
  agent_->set_sandbox_check([this]() -> asio::awaitable<bool> {
    try {
      (void)co_await host_->describe(id_, engine_.in(5s));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::not_found) co_return false;
      throw;
    }
    co_return true;
  });
  (void)engine_.wait(agent_->greet(engine_.in(30s)));
}

TestSandbox::~TestSandbox() {
  kill();
  stop();
}

void TestSandbox::run(std::function<void()> work) {
  engine_.wait(run_there(std::move(work)));
}

void TestSandbox::serve(net::HttpHandler handler) {
  run([this, &handler] {
    server_.emplace(engine_.executor(0), std::move(handler));
    port_ = server_->listen_tcp("127.0.0.1", 0);
  });
}

void TestSandbox::stop() {
  run([this] {
    if (server_) server_->stop();
    server_.reset();
  });
}

std::uint16_t TestSandbox::expose(std::uint16_t inside) {
  return engine_.wait(host_->expose(id_, inside, engine_.in(30s)));
}

void TestSandbox::pause() {
  engine_.wait(host_->pause(id_, engine_.in(30s)));
}

void TestSandbox::resume() {
  engine_.wait(host_->resume(id_, engine_.in(30s)));
}

void TestSandbox::kill() {
  engine_.wait(host_->destroy(id_, engine_.in(30s)));
}

}  // namespace sandkey::machine
