// A devbox from within, as far as it takes to put our agent there: a command, and a file.
#pragma once

#include "sandkey/providers/runloop/devboxes.h"
#include "sandkey/runtime/cloud_agent.h"

#include <map>
#include <string>

namespace sandkey::runloop {

// Errors as of Devboxes::call().
class DevboxShell final : public CloudShell {
 public:
  // `devboxes` must outlive it.
  DevboxShell(Devboxes& devboxes, std::string id);

  // The variables may be secret, and Runloop keeps a log of all commands: so they, and the script, travel in
  // a file, which the command removes.
  asio::awaitable<ShellResult> run(std::string script, std::map<std::string, std::string> environment,
                                   Deadline deadline) override;
  asio::awaitable<void> put(std::string path, std::string content, Deadline deadline) override;
  asio::awaitable<void> require_sandbox(Deadline deadline) override;

 private:
  asio::awaitable<ShellResult> execute(std::string command, Deadline deadline);

  Devboxes& devboxes_;
  const std::string id_;
};

}  // namespace sandkey::runloop
