// How sandkey-agent gets into a cloud's sandbox and is started there, by whatever the cloud runs commands
// with: a script that any POSIX shell can run. It starts the agent if it does not run and is there, or says
// that it is not.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace sandkey {

// The agent's program as it travels: compressed by gzip, and named after its content, so that two versions in
// one sandbox do not meet.
struct AgentProgram {
  std::string name;        // "agent-1f2e3d4c"
  std::string compressed;  // gzip
  std::uint64_t size = 0;  // of the program itself

  // The program itself. Takes some ten milliseconds.
  [[nodiscard]] std::string unpacked() const;
};
// Read once for all users of the engine. Blocks. Throws Error(unsupported) where the program is not
// installed.
[[nodiscard]] std::shared_ptr<const AgentProgram> agent_program(Engine& engine);

// Where the agent listens inside. Not one that programs usually take.
inline constexpr std::uint16_t kCloudAgentPort = 49990;

struct AgentLaunch {
  // Where the script looks for the program, uncompressed, or with ".gz" after it and compressed, if it is to
  // be uploaded: below the home of the user it runs as.
  std::string upload_path;
  std::string script;                              // for `sh -c`
  std::map<std::string, std::string> environment;  // of the shell; holds the session key
};
// `nonce`: not the same for two that may be at work in one sandbox.
[[nodiscard]] AgentLaunch agent_launch(const AgentProgram& program, const Secret& session_key,
                                       const std::string& working_dir, std::uint64_t nonce);

// What the script's output said. Where there is gzip, the program may be uploaded compressed.
enum class LaunchOutcome { running, started, absent, absent_with_gzip };
// Throws Error(unavailable) saying what the script or the agent said instead.
[[nodiscard]] LaunchOutcome launch_outcome(std::string_view output, std::string_view error_output,
                                           int exit_code);

// A session key that whoever knows `secret` can make again, and nobody can make `secret` of.
[[nodiscard]] Secret derived_session_key(const Secret& secret);

}  // namespace sandkey
