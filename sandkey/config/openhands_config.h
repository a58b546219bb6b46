// The part of OpenHands' configuration that concerns runtimes, under its names.
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace sandkey {

// [sandbox]
struct SandboxConfig {
  // How long an action may take that says nothing of its own.
  std::chrono::seconds timeout{120};
  // How long connect() may take, all phases together.
  std::chrono::seconds remote_runtime_init_timeout{180};
  // How long one request of ours may take that is not an action.
  std::chrono::seconds remote_runtime_api_timeout{180};
  // Exported in every shell and Python cell of the sandbox.
  std::map<std::string, std::string> runtime_startup_env_vars = {};
  bool enable_auto_lint = false;
  bool keep_runtime_alive = false;  // close() leaves the sandbox
};

// [core]
struct OpenHandsConfig {
  std::string runtime = "local";  // the provider's name
  SandboxConfig sandbox = {};
  std::string workspace_mount_path_in_sandbox = "/workspace";
  std::string git_user_name = "openhands";
  std::string git_user_email = "openhands@all-hands.dev";
};

}  // namespace sandkey
