#include "sandkey/config/config_loader.h"

#include "sandkey/base/error.h"
#include "sandkey/config/small_file.h"
#include "sandkey/config/temp_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace sandkey {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::array<ConfigField, 3> kFields{{{"acme_api_key", true, "the key"},
                                              {"acme_api_url", false, "the address"},
                                              {"acme_target", false, "the region"}}};

class ConfigLoader : public testing::Test {
 protected:
  LoadedConfig load(std::string_view toml) {
    folder_.write("config.toml", toml);
    return load();
  }
  LoadedConfig load() {
    sources_.working_directory = folder_.path();
    sources_.fields = kFields;
    sources_.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      if (found == variables_.end()) return std::nullopt;
      return found->second;
    };
    LoadedConfig loaded = load_config(sources_);
    for (std::string& warning : loaded.warnings) warning = folder_.shortened(warning);
    return loaded;
  }
  // What is said of it, without the beginning that is always the same.
  std::string complaint(std::string_view toml) {
    folder_.write("config.toml", toml);
    return complaint();
  }
  std::string complaint() {
    constexpr std::string_view kBeginning = "reading the configuration: ";
    try {
      (void)load();
    } catch (const Error& error) {
      code_ = error.code();
      const std::string text = folder_.shortened(error.what());
      EXPECT_TRUE(text.starts_with(kBeginning)) << text;
      return text.substr(kBeginning.size());
    }
    return "(loaded)";
  }

  TempFolder folder_;
  ConfigSources sources_;
  std::map<std::string, std::string> variables_;
  ErrorCode code_{};
};

TEST_F(ConfigLoader, WithoutSourcesGivesTheDefaults) {
  const LoadedConfig loaded = load();
  EXPECT_EQ(loaded.config.runtime, "local");
  EXPECT_EQ(loaded.config.sandbox.timeout, std::chrono::seconds(120));
  EXPECT_THAT(loaded.config.origins, IsEmpty());
  EXPECT_THAT(loaded.warnings, IsEmpty());
  EXPECT_TRUE(loaded.file.empty());
}

TEST_F(ConfigLoader, ReadsEverySettingWithItsOrigin) {
  const LoadedConfig loaded = load(R"([core]
runtime = "acme"
workspace_base = "work"
workspace_mount_path_in_sandbox = "/code"
git_user_name = "a"
git_user_email = "a@b"
acme_api_key = "canary"

[sandbox]
timeout = 7
remote_runtime_init_timeout = 8
remote_runtime_api_timeout = 9
enable_auto_lint = true
keep_runtime_alive = true
base_container_image = "img"
runtime_startup_env_vars = { A = "1", B = "2" }

[sandkey]
network = false
memory_limit = "2G"
disk_limit = 1048576
process_limit = 50
lease = "5m"
)");
  const OpenHandsConfig& config = loaded.config;
  EXPECT_THAT(loaded.warnings, IsEmpty());
  EXPECT_EQ(config.runtime, "acme");
  EXPECT_EQ(config.workspace_base, (folder_.path() / "work").string());
  EXPECT_EQ(config.workspace_mount_path_in_sandbox, "/code");
  EXPECT_EQ(config.git_user_name, "a");
  EXPECT_EQ(config.git_user_email, "a@b");
  EXPECT_EQ(config.sandbox.timeout, std::chrono::seconds(7));
  EXPECT_EQ(config.sandbox.remote_runtime_init_timeout, std::chrono::seconds(8));
  EXPECT_EQ(config.sandbox.remote_runtime_api_timeout, std::chrono::seconds(9));
  EXPECT_TRUE(config.sandbox.enable_auto_lint);
  EXPECT_TRUE(config.sandbox.keep_runtime_alive);
  EXPECT_EQ(config.sandbox.base_container_image, "img");
  EXPECT_EQ(config.sandbox.runtime_startup_env_vars,
            (std::map<std::string, std::string>{{"A", "1"}, {"B", "2"}}));
  EXPECT_EQ(config.sandbox.network, false);
  EXPECT_EQ(config.sandbox.memory_limit, 2ULL << 30U);
  EXPECT_EQ(config.sandbox.disk_limit, 1048576U);
  EXPECT_EQ(config.sandbox.process_limit, 50U);
  EXPECT_EQ(config.sandbox.lease, std::chrono::minutes(5));
  EXPECT_EQ(config.origins.size(), 17U);
  EXPECT_EQ(folder_.shortened(config.origins.at("sandbox.timeout").to_string()), "~/config.toml:10");
  EXPECT_EQ(folder_.shortened(config.origins.at("sandkey.lease").to_string()), "~/config.toml:23");
  const ConfigValue& key = config.provider_fields.at("acme_api_key");
  EXPECT_EQ(key.value->expose(), "canary");
  EXPECT_TRUE(key.secret);
  EXPECT_EQ(key.origin.kind, Origin::Kind::config_file);
  EXPECT_EQ(key.origin.line, 7);
}

// After OpenHands' own template, with its sections, and keys that are none of ours.
TEST_F(ConfigLoader, TakesAnOpenHandsFileUnchanged) {
  const LoadedConfig loaded = load(R"([core]
workspace_base = "./workspace"
cache_dir = "/tmp/cache"
debug = false
disable_color = false
save_trajectory_path = "./trajectories"
file_store = "memory"
max_iterations = 500
run_as_openhands = true
runtime = "docker"
default_agent = "CodeActAgent"
jwt_secret = "x"
enable_browser = true
acme_api_url = "https://acme.example"

[llm]
api_key = "x"
model = "gpt-4o"
[llm.draft_editor]
correct_num = 5
[agent]
enable_jupyter = true
[agent.RepoExplorerAgent]
llm_config = 'gpt3'
[sandbox]
timeout = 120
user_id = 1000
base_container_image = "nikolaik/python-nodejs:python3.12-nodejs22"
use_host_network = false
runtime_extra_build_args = ["--network=host"]
enable_auto_lint = false
initialize_plugins = true
runtime_extra_deps = ""
runtime_startup_env_vars = {}
browsergym_eval_env = ""
platform = ""
force_rebuild_runtime = false
runtime_container_image = ""
keep_runtime_alive = false
pause_closed_runtimes = false
close_delay = 300
rm_all_containers = false
enable_gpu = false
cuda_visible_devices = ""
docker_runtime_kwargs = {}
vscode_port = 41234
volumes = "/my/host/dir:/workspace:rw"
api_key = "x"
remote_runtime_api_url = "https://example.com"
[security]
confirmation_mode = false
[condenser]
type = "noop"
[mcp]
sse_servers = []
[kubernetes]
namespace = "default"
[model_routing]
router_name = "x"
[extended]
anything = 1
)");
  EXPECT_THAT(loaded.warnings, IsEmpty());
  EXPECT_EQ(loaded.config.runtime, "docker");
}

TEST_F(ConfigLoader, WarnsOfUnknownKeysInCoreAndOfSectionsThatLookLikeOurs) {
  const LoadedConfig loaded =
      load("[core]\nruntme = \"x\"\nquite_something_else = 1\n[sandbx]\na = 1\n[hugo]\nb = 2\n");
  EXPECT_THAT(loaded.warnings,
              ElementsAre("~/config.toml:2: unknown key runtme in [core]; did you mean runtime?",
                          "~/config.toml:3: unknown key quite_something_else in [core]",
                          "~/config.toml:4: [sandbx] is ignored; did you mean sandbox?"));
}

TEST_F(ConfigLoader, RefusesWhatItCannotMean) {
  struct Case {
    std::string_view toml;
    std::string_view complaint;
  };
  for (const Case& item : std::initializer_list<Case>{
           {"[sandbox]\ntimeot = 1\n",
            "~/config.toml:2: unknown key timeot in [sandbox]; did you mean timeout?"},
           {"[sandbox]\nqwertz = 1\n", "~/config.toml:2: unknown key qwertz in [sandbox]"},
           {"[sandkey]\n\nmemory = 1\n", "~/config.toml:3: unknown key memory in [sandkey]"},
           {"[sandkey]\nmemory_limits = 1\n",
            "~/config.toml:2: unknown key memory_limits in [sandkey]; did you mean memory_limit?"},
           {"[sandbox]\ntimeout = \"canary\"\n",
            "~/config.toml:2: timeout in [sandbox] must be a whole number of seconds from 1 to 31622400, not "
            "a text"},
           {"[sandbox]\ntimeout = 0\n",
            "~/config.toml:2: timeout in [sandbox] must be a whole number of seconds from 1 to 31622400"},
           {"[sandbox]\ntimeout = -5\n",
            "~/config.toml:2: timeout in [sandbox] must be a whole number of seconds from 1 to 31622400"},
           {"[sandbox]\ntimeout = 31622401\n",
            "~/config.toml:2: timeout in [sandbox] must be a whole number of seconds from 1 to 31622400"},
           {"[sandbox]\ntimeout = 1.5\n",
            "~/config.toml:2: timeout in [sandbox] must be a whole number of seconds from 1 to 31622400, not "
            "a "
            "number with a fraction"},
           {"[sandbox]\nkeep_runtime_alive = 1\n",
            "~/config.toml:2: keep_runtime_alive in [sandbox] must be true or false, not a whole number"},
           {"[sandbox]\nbase_container_image = [1]\n",
            "~/config.toml:2: base_container_image in [sandbox] must be a text, not a list"},
           {"[sandbox]\nruntime_startup_env_vars = {A = 1}\n",
            "~/config.toml:2: runtime_startup_env_vars in [sandbox] must be a table of texts, and A is a "
            "whole "
            "number"},
           {"[core]\nruntime = 2020-01-01\n",
            "~/config.toml:2: runtime in [core] must be a text, not a date or time"},
           {"[core]\nacme_api_key = 7\n",
            "~/config.toml:2: acme_api_key in [core] must be a text, not a whole number"},
           {"[sandkey]\nmemory_limit = \"canary\"\n",
            "~/config.toml:2: memory_limit in [sandkey] must be a number of bytes or a size such as \"512M\" "
            "or "
            "\"2G\""},
           {"[sandkey]\nlease = \"2y\"\n",
            "~/config.toml:2: lease in [sandkey] must be a number of seconds or a duration such as \"30s\", "
            "\"5m\" or "
            "\"1h\", a year at most"},
           {"[sandkey]\nprocess_limit = 0\n",
            "~/config.toml:2: process_limit in [sandkey] must be a whole number from 1 to 4194304"},
           {"sandbox = 3\n", "~/config.toml:1: [sandbox] must be a section"},
           {"[core]\nruntime = canary\n",
            "~/config.toml:2:11: not valid TOML (texts need quotes, a key stands in a table once only)"},
           {"[sandbox]\na = 1\n[sandkey]\nb = 2\n",
            "~/config.toml:2: unknown key a in [sandbox]; ~/config.toml:4: unknown key b in [sandkey]"},
       }) {
    EXPECT_EQ(complaint(item.toml), item.complaint);
    EXPECT_EQ(code_, ErrorCode::invalid_argument);
  }
}

TEST_F(ConfigLoader, RefusesFilesThatAreNone) {
  sources_.file = "elsewhere.toml";
  EXPECT_EQ(complaint(), "~/elsewhere.toml does not exist; name one that does, or none");
  EXPECT_EQ(code_, ErrorCode::not_found);
  folder_.write("elsewhere.toml", std::string(kMaxSettingsFile, '#'));
  EXPECT_EQ(complaint(), "(loaded)");
  folder_.write("elsewhere.toml", std::string(kMaxSettingsFile + 1, '#'));
  EXPECT_EQ(complaint(), "~/elsewhere.toml is larger than 1048576 bytes");
  sources_.file = folder_.path();
  EXPECT_EQ(complaint(), "~ is no regular file");
  const auto loop = folder_.path() / "loop";
  std::filesystem::create_symlink(loop, loop);
  sources_.file = loop;
  EXPECT_EQ(complaint(), "~/loop cannot be opened (Too many levels of symbolic links)");
  const auto pipe = folder_.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  sources_.file = pipe;
  EXPECT_EQ(complaint(), "~/pipe is no regular file");
}

TEST_F(ConfigLoader, TheEnvironmentGoesBeforeTheFileAndOverridesGoFirst) {
  folder_.write("config.toml",
                "[sandbox]\ntimeout = 1\nremote_runtime_api_timeout = 1\n[core]\nruntime = \"f\"\n");
  variables_ = {{"SANDBOX_TIMEOUT", "2"},
                {"RUNTIME", "e"},
                {"SANDBOX_KEEP_RUNTIME_ALIVE", "TRUE"},
                {"SANDKEY_LEASE", "1h"},
                {"SANDKEY_NETWORK", "1"},
                {"SANDBOX_ENABLE_AUTO_LINT", ""},
                {"SANDBOX_RUNTIME_STARTUP_ENV_VARS", R"({'A': "it's", 'B\n': '\\',})"}};
  sources_.overrides = {{"sandbox.timeout", "3m", "--timeout"}, {"acme_target", "eu", "--target"}};
  const OpenHandsConfig config = load().config;
  EXPECT_EQ(config.sandbox.timeout, std::chrono::minutes(3));
  EXPECT_EQ(config.origins.at("sandbox.timeout").to_string(), "--timeout");
  EXPECT_EQ(config.sandbox.remote_runtime_api_timeout, std::chrono::seconds(1));
  EXPECT_EQ(config.runtime, "e");
  EXPECT_EQ(config.origins.at("runtime").to_string(), "RUNTIME in the environment");
  EXPECT_TRUE(config.sandbox.keep_runtime_alive);
  EXPECT_EQ(config.sandbox.lease, std::chrono::hours(1));
  EXPECT_EQ(config.sandbox.network, true);
  EXPECT_FALSE(config.origins.contains("sandbox.enable_auto_lint"));
  EXPECT_EQ(config.sandbox.runtime_startup_env_vars,
            (std::map<std::string, std::string>{{"A", "it's"}, {"B\n", "\\"}}));
  EXPECT_EQ(config.provider_fields.at("acme_target").value->expose(), "eu");
  EXPECT_EQ(config.provider_fields.at("acme_target").origin.kind, Origin::Kind::program);
}

TEST_F(ConfigLoader, PassesOverVariablesOpenHandsWouldAndRefusesItsOwn) {
  variables_ = {{"SANDBOX_TIMEOUT", "canary"},
                {"SANDBOX_KEEP_RUNTIME_ALIVE", "canary"},
                {"SANDBOX_RUNTIME_STARTUP_ENV_VARS", "{'A': canary}"}};
  EXPECT_THAT(
      load().warnings,
      ElementsAre(
          "SANDBOX_TIMEOUT in the environment must be a whole number of seconds from 1 to 31622400; it is "
          "passed over",
          "SANDBOX_RUNTIME_STARTUP_ENV_VARS in the environment must be a table of texts such as {'NAME': "
          "'value'}; it is passed over",
          "SANDBOX_KEEP_RUNTIME_ALIVE in the environment must be true, false, 1 or 0; it is passed over"));
  variables_ = {{"SANDKEY_PROCESS_LIMIT", "12x"}};
  EXPECT_EQ(complaint(), "SANDKEY_PROCESS_LIMIT in the environment must be a whole number from 1 to 4194304");
}

TEST_F(ConfigLoader, TakesSandboxVariablesAsOpenHandsDoes) {
  variables_ = {{"SANDBOX_ENV_TOKEN", "canary"}, {"SANDBOX_ENV_", "x"}, {"SANDBOX_ENVX", "x"}};
  sources_.variables = {"SANDBOX_ENV_TOKEN", "SANDBOX_ENV_", "SANDBOX_ENVX", "SANDBOX_ENV_GONE"};
  const LoadedConfig loaded = load();
  EXPECT_EQ(loaded.config.sandbox.initial_env_vars,
            (std::map<std::string, std::string>{{"TOKEN", "canary"}}));
  const std::vector<ShownSetting> shown = show_config(loaded.config);
  EXPECT_EQ(shown.back().key, "sandbox.initial_env_vars");
  EXPECT_EQ(shown.back().value, "TOKEN=[secret]");
}

TEST_F(ConfigLoader, AFileDoesNotChooseTheAccount) {
  EXPECT_EQ(complaint("[sandkey]\nprofile = \"work\"\n"),
            "~/config.toml:2: profile in [sandkey]: a file that comes with a folder does not choose your "
            "account; use "
            "--profile or SANDKEY_PROFILE");
  folder_.write("config.toml", "");
  variables_ = {{"SANDKEY_PROFILE", "work"}};
  EXPECT_EQ(load().config.profile, "work");
  sources_.overrides = {{"sandkey.profile", "other", "--profile"}};
  EXPECT_EQ(load().config.profile, "other");
  EXPECT_EQ(load().config.origins.at("sandkey.profile").name, "--profile");
}

TEST_F(ConfigLoader, DoesNotShowAnAddressThatMayHoldAPassword) {
  const LoadedConfig loaded = load("[core]\nacme_api_url = \"https://me:canary@acme.example\"\n");
  EXPECT_EQ(show_config(loaded.config).back().value, "[not shown: it may hold a password]");
}

TEST_F(ConfigLoader, NamesTheFlagOfABadOverride) {
  sources_.overrides = {{"sandkey.lease", "canary", "--lease"}, {"sandbox.timeot", "1", ""}};
  EXPECT_EQ(
      complaint(),
      "--lease must be a number of seconds or a duration such as \"30s\", \"5m\" or \"1h\", a year at most; "
      "sandbox.timeot is not a setting; did you mean sandbox.timeout?");
}

TEST_F(ConfigLoader, ShowsValuesAndOriginsWithoutSecrets) {
  variables_ = {{"SANDBOX_RUNTIME_STARTUP_ENV_VARS", "{'A': 'canary'}"}};
  const LoadedConfig loaded =
      load("[core]\nacme_api_key = \"canary\"\nacme_target = \"eu\"\n[sandkey]\nlease = 60\n");
  std::string text;
  for (const ShownSetting& setting : show_config(loaded.config)) {
    text +=
        setting.key + " = " + setting.value + "  # " + folder_.shortened(setting.origin.to_string()) + "\n";
  }
  EXPECT_EQ(text, R"(runtime = local  # built-in default
workspace_base =   # built-in default
workspace_mount_path_in_sandbox = /workspace  # built-in default
git_user_name = openhands  # built-in default
git_user_email = openhands@all-hands.dev  # built-in default
sandbox.timeout = 120s  # built-in default
sandbox.remote_runtime_init_timeout = 180s  # built-in default
sandbox.remote_runtime_api_timeout = 180s  # built-in default
sandbox.runtime_startup_env_vars = A=[secret]  # SANDBOX_RUNTIME_STARTUP_ENV_VARS in the environment
sandbox.enable_auto_lint = false  # built-in default
sandbox.keep_runtime_alive = false  # built-in default
sandbox.base_container_image =   # built-in default
sandkey.profile = (not set)  # built-in default
sandkey.network = (not set)  # built-in default
sandkey.memory_limit = (not set)  # built-in default
sandkey.disk_limit = (not set)  # built-in default
sandkey.process_limit = (not set)  # built-in default
sandkey.lease = 60s  # ~/config.toml:5
acme_api_key = [secret]  # ~/config.toml:2
acme_target = eu  # ~/config.toml:3
)");
}

}  // namespace
}  // namespace sandkey
