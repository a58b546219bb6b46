// For tests: a real sandbox on this machine with an EnvdServer in front, on a loopback port.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/e2b/emulator/envd/envd_server.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/sandbox/sandbox.h"
#include "tests/runtime/fixtures.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace sandkey::e2b_envd {

class TestSandbox {
 public:
  // Throws Error(unsupported) where this machine cannot make sandboxes.
  explicit TestSandbox(EnvdSettings settings = {}, std::optional<std::uint64_t> disk_bytes = std::nullopt);
  ~TestSandbox();
  TestSandbox(const TestSandbox&) = delete;
  TestSandbox& operator=(const TestSandbox&) = delete;

  [[nodiscard]] Engine& engine() noexcept { return engine_; }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] AgentClient& agent() noexcept { return *agent_; }

  // A port of this machine that leads to one inside.
  [[nodiscard]] std::uint16_t expose(std::uint16_t inside);
  // As the emulator does it: all processes stop, and connections break.
  void pause();
  void resume();
  // The sandbox ends as if its machine had failed.
  void kill();

 private:
  runtime_test::TempDir folder_;
  Engine engine_;
  std::optional<sandbox::SandboxHost> host_;
  std::string id_;
  std::optional<AgentClient> agent_;
  std::optional<EnvdServer> envd_;
  std::optional<net::HttpServer> server_;
  std::uint16_t port_ = 0;
};

}  // namespace sandkey::e2b_envd
