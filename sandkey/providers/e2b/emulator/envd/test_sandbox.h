// For tests: a real sandbox on this machine with an EnvdServer in front, on a loopback port.
#pragma once

#include "sandkey/emulator/machine/test_sandbox.h"
#include "sandkey/providers/e2b/emulator/envd/envd_server.h"

#include <cstdint>
#include <optional>

namespace sandkey::e2b_envd {

class TestSandbox {
 public:
  // Throws Error(unsupported) where this machine cannot make sandboxes.
  explicit TestSandbox(EnvdSettings settings = {}, std::optional<std::uint64_t> disk_bytes = std::nullopt);
  ~TestSandbox();
  TestSandbox(const TestSandbox&) = delete;
  TestSandbox& operator=(const TestSandbox&) = delete;

  [[nodiscard]] Engine& engine() noexcept { return sandbox_.engine(); }
  [[nodiscard]] std::uint16_t port() const noexcept { return sandbox_.port(); }
  [[nodiscard]] AgentClient& agent() noexcept { return sandbox_.agent(); }

  // A port of this machine that leads to one inside.
  [[nodiscard]] std::uint16_t expose(std::uint16_t inside) { return sandbox_.expose(inside); }
  // As the emulator does it: all processes stop, and connections break.
  void pause();
  void resume();
  // The sandbox ends as if its machine had failed.
  void kill() { sandbox_.kill(); }

 private:
  machine::TestSandbox sandbox_;
  std::optional<EnvdServer> envd_;
};

}  // namespace sandkey::e2b_envd
