// Puts our agent into a sandbox of a cloud and starts it, by whatever the cloud runs commands with.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/net/http_client.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <map>
#include <string>

namespace sandkey {

struct ShellResult {
  int exit_code = 0;
  std::string output = {};
  std::string error_output = {};  // empty where the cloud does not tell them apart
};

// One sandbox, through its cloud's own server inside it.
class CloudShell {
 public:
  virtual ~CloudShell() = default;

  // Runs `sh -c script` as the sandbox's default user, to its end.
  virtual asio::awaitable<ShellResult> run(std::string script, std::map<std::string, std::string> environment,
                                           Deadline deadline) = 0;
  // Makes the file, or replaces it; the path is relative to that user's home, whose folder .sandkey is there.
  virtual asio::awaitable<void> put(std::string path, std::string content, Deadline deadline) = 0;
  // The same of what `compressed` is with gzip; false if this cloud does not unpack, and then nothing was
  // done.
  virtual asio::awaitable<bool> put_unpacked(std::string path, std::string compressed, Deadline deadline);
  // Returns if the sandbox is there at all; else throws Error(sandbox_dead), or not_found.
  virtual asio::awaitable<void> require_sandbox(Deadline deadline) = 0;
};

// Returns when the agent runs, with this key among those it takes. Does nothing where it runs already. A
// command that found nobody (Error unavailable, as can be in a sandbox's first moments) is sent again for a
// few seconds while the sandbox is there. Throws what the shell throws, and Error(unavailable) with what the
// script or the agent said instead. `place`: "the sandbox of e2b".
asio::awaitable<void> start_cloud_agent(Engine& engine, CloudShell& shell, Secret session_key,
                                        std::string working_dir, std::string place, Deadline deadline);

// Whether an agent answers there, within seconds, and takes the key.
asio::awaitable<bool> agent_answers(Engine& engine, HttpTransport& network, AgentAccess access,
                                    Deadline deadline);

}  // namespace sandkey
