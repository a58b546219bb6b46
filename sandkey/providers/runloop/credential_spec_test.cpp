#include "sandkey/providers/runloop/credential_spec.h"

#include "sandkey/credentials/credential_chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sandkey::runloop {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(RunloopSpec, ReadsTheEnvironment) {
  std::map<std::string, std::string> variables;
  CredentialWorld world;
  world.working_directory = "/nonexistent";
  world.environment = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  const CredentialChain chain({}, world);
  EXPECT_THAT(chain.explain(credential_spec()).error->what(),
              HasSubstr("; its vendor's command line keeps no file; the keyring cannot be reached"));
  variables["RUNLOOP_API_KEY"] = "ak_1";
  const Credential standard = chain.resolve(credential_spec());
  EXPECT_THAT(standard.warnings(), IsEmpty());
  EXPECT_EQ(standard.endpoint("api_url")->value, "https://api.runloop.ai");
  variables["RUNLOOP_API_KEY"] = "rk_1";
  variables["RUNLOOP_BASE_URL"] = "https://dev.example/";
  const Credential restricted = chain.resolve(credential_spec());
  EXPECT_THAT(restricted.warnings(), IsEmpty());
  EXPECT_EQ(restricted.endpoint("api_url")->value, "https://dev.example");
  variables["RUNLOOP_API_KEY"] = "sk_1";
  EXPECT_THAT(
      chain.resolve(credential_spec()).warnings(),
      ElementsAre("RUNLOOP_API_KEY does not start with 'ak_' or 'rk_', as those of runloop usually do"));
}

}  // namespace
}  // namespace sandkey::runloop
