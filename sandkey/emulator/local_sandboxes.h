// The real sandboxes behind emulated ones: on this machine, without a network unless asked, ended with us.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/sandbox/sandbox.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace sandkey::emulator {

// One sandbox whose process 1 is our agent.
class LocalSandbox {
 public:
  LocalSandbox(Engine& engine, sandbox::SandboxHost& host, std::string id);

  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  [[nodiscard]] AgentClient& agent() noexcept { return agent_; }
  // A TCP connection to a port inside. Error(unavailable) if nothing listens there.
  boost::asio::awaitable<UniqueFd> dial(std::uint16_t port, Deadline deadline);
  // A port of this machine's loopback that leads to one inside, until the sandbox ends.
  boost::asio::awaitable<std::uint16_t> expose(std::uint16_t port, Deadline deadline);
  boost::asio::awaitable<sandbox::Status> describe(Deadline deadline);
  // All processes stop where they are, or go on.
  boost::asio::awaitable<void> pause(Deadline deadline);
  boost::asio::awaitable<void> resume(Deadline deadline);
  // All processes but our agent are killed.
  boost::asio::awaitable<void> end_processes(Deadline deadline);
  // Returns when all of it is gone. Idempotent.
  boost::asio::awaitable<void> destroy(Deadline deadline);

  // A copy of what it can write, /home, /tmp and /workspace, into a folder of this machine, and back into one
  // that has just been made: what lives on where processes do not.
  boost::asio::awaitable<void> save_files(std::filesystem::path to, Deadline deadline);
  boost::asio::awaitable<void> load_files(std::filesystem::path from, Deadline deadline);

 private:
  Engine& engine_;
  sandbox::SandboxHost& host_;
  std::string id_;
  AgentClient agent_;
};

class LocalSandboxes {
 public:
  // `folder` (made if missing) is where their sockets are. Throws Error(unsupported) where this machine
  // cannot make sandboxes.
  LocalSandboxes(Engine& engine, std::filesystem::path folder);

  // The spec's program, arguments and tie to this process are ours. The sandbox must not outlive this object.
  boost::asio::awaitable<std::shared_ptr<LocalSandbox>> create(sandbox::Spec spec, Deadline deadline);
  // Where our agent lies on this machine.
  [[nodiscard]] const std::filesystem::path& agent_program() const noexcept { return agent_; }

  // Ends all that are left.
  boost::asio::awaitable<void> close();

 private:
  Engine& engine_;
  sandbox::SandboxHost host_;
  std::filesystem::path agent_;
};

}  // namespace sandkey::emulator
