#include "sandkey/providers/_template/credential_spec.h"

namespace sandkey::example {

const CredentialSpec& credential_spec() {
  static const CredentialSpec spec{
      .provider = "example",
      .forms = {{"an API key",
                 {{.name = "api_key",
                   .config_key = "example_api_key",
                   .variables = {"EXAMPLE_API_KEY"},
                   .usual_prefixes = {"ex_"}}}}},
      .endpoints = {{.name = "api_url",
                     .config_key = "example_api_url",
                     .variables = {"EXAMPLE_API_URL"},
                     .default_value = "https://api.cloud.example"}},
      .keys_page = "https://cloud.example/keys",
  };
  return spec;
}

}  // namespace sandkey::example
