#include "sandkey/providers/runloop/credential_spec.h"

namespace sandkey::runloop {

const CredentialSpec& credential_spec() {
  static const CredentialSpec spec{
      .provider = "runloop",
      .forms = {{"an API key",
                 {{.name = "api_key",
                   .config_key = "runloop_api_key",
                   .variables = {"RUNLOOP_API_KEY"},
                   .usual_prefixes = {"ak_", "rk_"}}}}},
      .endpoints = {{.name = "api_url",
                     .config_key = "runloop_base_url",
                     .variables = {"RUNLOOP_BASE_URL"},
                     .default_value = "https://api.runloop.ai"}},
      .settings = {{.name = "size", .config_key = "runloop_size", .variables = {}},
                   {.name = "launch_command", .config_key = "runloop_launch_command", .variables = {}},
                   {.name = "idle_action", .config_key = "runloop_idle_action", .variables = {}}},
      .keys_page = "https://platform.runloop.ai/settings",
  };
  return spec;
}

}  // namespace sandkey::runloop
