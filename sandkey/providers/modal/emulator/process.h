// A command that runs in a sandbox.
#pragma once

#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/providers/modal/emulator/exec.h"
#include "sandkey/runtime/agent_client.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::modal::emulator {

using Variables = std::map<std::string, std::string>;

// What becomes of an output.
enum class OutputTo { nowhere, own, out };

struct Command {
  std::vector<std::string> argv = {};
  Variables variables = {};  // all it has, but for the usual ones
  std::string folder = {};
  std::optional<std::chrono::seconds> timeout = std::nullopt;
  std::optional<std::pair<unsigned, unsigned>> terminal = std::nullopt;  // rows, columns
  OutputTo out = OutputTo::own;
  OutputTo error = OutputTo::own;
  std::size_t output_limit = 0;
};

class Process final : public Exec {
 public:
  // Throws Error(invalid_argument) for text that cannot be a command.
  Process(asio::any_io_executor executor, std::shared_ptr<sandkey::emulator::LocalSandbox> sandbox,
          const Command& command);

 protected:
  asio::awaitable<ExitStatus> perform() override;
  asio::awaitable<bool> feed(std::string data) override;
  asio::awaitable<void> close_input() override;

 private:
  asio::awaitable<void> take(std::size_t channel, std::span<const std::byte> bytes);

  std::shared_ptr<sandkey::emulator::LocalSandbox> sandbox_;
  std::shared_ptr<AgentStream> stream_;
  OutputTo out_to_;
  OutputTo error_to_;
};

}  // namespace sandkey::modal::emulator
