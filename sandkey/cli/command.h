// What every command of the program has in common.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/runtime/action_execution_client.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::cli {

// Sandkey's own failures; a command's exit code is passed on as it is.
inline constexpr int kOwnFailure = 125;
// As env(1) and shells have it: the command exists but cannot be started, or does not exist.
inline constexpr int kCannotStart = 126;
inline constexpr int kNoSuchCommand = 127;

// Where the sandbox is.
struct Target {
  std::string agent = {};  // URL or unix:PATH
  std::string session_key_file = {};
  std::string start_timeout = "10s";  // for the agent to answer
};

// An attached, connected runtime.
[[nodiscard]] std::unique_ptr<ActionExecutionClient> attach(Engine& engine, const Target& target);
// The same; throws Error(unsupported) where the agent is not Sandkey's own, which `what` needs.
[[nodiscard]] std::unique_ptr<ActionExecutionClient> attach_own(Engine& engine, const Target& target,
                                                                std::string_view what);

struct RunOptions {
  Target target = {};
  std::vector<std::string> command = {};
  std::vector<std::string> env = {};  // "K=V", or "K" for our own value
  std::string cwd = {};
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;
  bool json = false;
};
[[nodiscard]] int run(Engine& engine, const RunOptions& options);

struct PythonOptions {
  Target target = {};
  std::string code = {};  // "-": from stdin
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;
  bool json = false;
};
[[nodiscard]] int python(Engine& engine, const PythonOptions& options);

[[nodiscard]] int shell(Engine& engine, const Target& target);

struct CopyOptions {
  Target target = {};
  std::string source = {};  // a path in the sandbox begins with ':'
  std::string destination = {};
  bool json = false;
};
[[nodiscard]] int copy(Engine& engine, const CopyOptions& options);

// "30", "30s", "1500ms", "2m", "1h"; throws Error(invalid_argument).
[[nodiscard]] std::chrono::milliseconds parse_duration(std::string_view text, std::string_view what);

// All of it, or throws Error.
void write_all(int fd, std::string_view bytes);

}  // namespace sandkey::cli
