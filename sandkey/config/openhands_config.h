// The part of OpenHands' configuration that concerns runtimes, under its names.
#pragma once

#include "sandkey/config/config_value.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
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
  // Exported in every shell and Python cell of the sandbox; from SANDBOX_ENV_NAME, as OpenHands has it.
  std::map<std::string, std::string> initial_env_vars = {};
  // Likewise, and over those.
  std::map<std::string, std::string> runtime_startup_env_vars = {};
  bool enable_auto_lint = false;
  bool keep_runtime_alive = false;  // close() leaves the sandbox
  // What the sandbox starts as, in the provider's terms: a template, a snapshot, an image, or for the local
  // provider a folder with a root file system. Empty: the provider's default.
  std::string base_container_image = {};
  // Whether the sandbox may reach the internet. Unset: as the provider has it by default (local: no).
  std::optional<bool> network = std::nullopt;
  // Unset: the provider's defaults. Bytes.
  std::optional<std::uint64_t> memory_limit = std::nullopt;
  std::optional<std::uint64_t> disk_limit = std::nullopt;
  std::optional<unsigned> process_limit = std::nullopt;
  // How long a sandbox may live that nobody renews; a connected runtime renews it. Unset: the provider's
  // default.
  std::optional<std::chrono::seconds> lease = std::nullopt;
};

// [core]
struct OpenHandsConfig {
  std::string runtime = "local";  // the provider's name
  // A folder of this machine to be the workspace, where the provider can (local). Empty: an empty one.
  std::string workspace_base = {};
  SandboxConfig sandbox = {};
  std::string workspace_mount_path_in_sandbox = "/workspace";
  std::string git_user_name = "openhands";
  std::string git_user_email = "openhands@all-hands.dev";

  // Which of the user's accounts is meant, by its name in our own file of credentials. Empty: whichever the
  // credential chain finds. Never from config.toml, which comes with whatever folder one is in.
  std::string profile = {};

  // The providers' own fields, by key ("e2b_api_key"), as code or config.toml set them. Where they are not
  // set, the credential chain goes on looking: what counts is its answer, not this.
  std::map<std::string, ConfigValue> provider_fields = {};
  // Where each setting above came from, by its key in config.toml ("sandbox.timeout"); absent: the default.
  std::map<std::string, Origin> origins = {};

  // Sets a provider's field from code.
  void set(const std::string& key, const Secret& value, bool secret = true) {
    provider_fields[key] = {std::make_shared<const Secret>(value.clone()), secret, {Origin::Kind::program}};
  }
};

}  // namespace sandkey
