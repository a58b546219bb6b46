// For tests: a real sandbox on this machine, and a server in front of it on a loopback port.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_server.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/sandbox/sandbox.h"
#include "tests/runtime/fixtures.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace sandkey::machine {

class TestSandbox {
 public:
  // Throws Error(unsupported) where this machine cannot make sandboxes.
  explicit TestSandbox(std::optional<std::uint64_t> disk_bytes = std::nullopt);
  ~TestSandbox();
  TestSandbox(const TestSandbox&) = delete;
  TestSandbox& operator=(const TestSandbox&) = delete;

  [[nodiscard]] Engine& engine() noexcept { return engine_; }
  [[nodiscard]] AgentClient& agent() noexcept { return *agent_; }
  [[nodiscard]] const std::string& id() const noexcept { return id_; }

  // On the engine's thread, where servers live.
  void run(std::function<void()> work);
  void serve(net::HttpHandler handler);
  // Ends the serving; the handler is not asked any more.
  void stop();
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

  // A port of this machine that leads to one inside.
  [[nodiscard]] std::uint16_t expose(std::uint16_t inside);
  // All processes stop, and go on.
  void pause();
  void resume();
  // The sandbox ends as if its machine had failed. Twice is once.
  void kill();

 private:
  runtime_test::TempDir folder_;
  Engine engine_;
  std::optional<sandbox::SandboxHost> host_;
  std::string id_;
  std::optional<AgentClient> agent_;
  std::optional<net::HttpServer> server_;
  std::uint16_t port_ = 0;
};

}  // namespace sandkey::machine
