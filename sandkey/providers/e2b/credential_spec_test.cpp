#include "sandkey/providers/e2b/credential_spec.h"

#include "sandkey/config/temp_folder.h"
#include "sandkey/credentials/credential_chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sandkey::e2b {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class E2bSpec : public testing::Test {
 protected:
  E2bSpec() { variables["HOME"] = folder.path().string(); }
  Resolution explain() {
    CredentialWorld world;
    world.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      if (found == variables.end()) return std::nullopt;
      return found->second;
    };
    world.working_directory = folder.path();
    return CredentialChain(config, world).explain(credential_spec());
  }
  Credential found() {
    Resolution resolution = explain();
    if (!resolution.credential) throw std::runtime_error(resolution.error->what());
    return std::move(*resolution.credential);
  }

  TempFolder folder;
  std::map<std::string, std::string> variables;
  OpenHandsConfig config;
};

TEST_F(E2bSpec, ReadsKeyAndDomainFromTheEnvironment) {
  variables["E2B_API_KEY"] = "e2b_0123456789abcdef";
  EXPECT_EQ(found().endpoint("api_url")->value, "https://api.e2b.app");
  EXPECT_EQ(found().endpoint("domain")->value, "e2b.app");
  EXPECT_EQ(found().endpoint("sandbox_url"), nullptr);
  EXPECT_THAT(found().warnings(), IsEmpty());
  variables["E2B_DOMAIN"] = "corp.example";
  EXPECT_EQ(found().endpoint("api_url")->value, "https://api.corp.example");
  variables["E2B_API_URL"] = "http://localhost:3000";
  variables["E2B_SANDBOX_URL"] = "http://localhost:3001/";
  EXPECT_EQ(found().endpoint("api_url")->value, "http://localhost:3000");
  EXPECT_EQ(found().endpoint("sandbox_url")->value, "http://localhost:3001");
  variables["E2B_API_KEY"] = "sk_e2b_0123456789abcdef";
  EXPECT_THAT(found().warnings(),
              ElementsAre("E2B_API_KEY does not start with 'e2b_', as those of e2b usually do"));
}

TEST(E2bUsualAddress, IsMadeOfTheDomain) {
  EXPECT_EQ(usual_address(credential_spec()), "https://api.e2b.app");
}

TEST_F(E2bSpec, NamesItsFieldForTheLoader) {
  const std::vector<ConfigField> fields = config_fields(credential_spec());
  ASSERT_FALSE(fields.empty());
  EXPECT_EQ(fields.front().key, "e2b_api_key");
  EXPECT_TRUE(fields.front().secret);
}

TEST_F(E2bSpec, UsesTheCliFileWithTheDomainOfTheEnvironment) {
  folder.write(".e2b/config.json", R"({"version":2,"projectApiKey":"e2b_aa"})");
  variables["E2B_DOMAIN"] = "corp.example";
  EXPECT_EQ(found().part("api_key").expose(), "e2b_aa");
  EXPECT_EQ(found().endpoint("api_url")->value, "https://api.corp.example");
}

TEST(E2bCliFile, IsReadInEveryVersion) {
  struct Case {
    std::string_view file;
    Offer::Outcome outcome;
    std::string_view text;  // the key, or the reason
    std::size_t notes = 0;
  };
  constexpr auto kFound = Offer::Outcome::found;
  constexpr auto kNothing = Offer::Outcome::not_configured;
  constexpr auto kBroken = Offer::Outcome::broken;
  for (
      const Case& item : std::initializer_list<Case>{
          {R"({"version":2,"identity":{"email":"a@b"},"tokens":{"access_token":"canary"},"projectApiKey":"e2b_2"})",
           kFound, "e2b_2"},
          {R"({"version":1,"teamName":"t","teamId":"i","teamApiKey":"e2b_1","projectApiKey":"other"})",
           kFound, "e2b_1"},
          {R"({"email":"a@b","accessToken":"canary","teamApiKey":"e2b_0"})", kFound, "e2b_0", 1},
          {R"({"email":"a@b","teamApiKey":"","defaultTeamApiKey":"e2b_d"})", kFound, "e2b_d", 1},
          {R"({"version":3,"projectApiKey":"e2b_3"})", kFound, "e2b_3", 1},
          {R"({"version":2,"teamApiKey":"canary"})", kNothing, "has no key of a project"},
          {R"({"version":2,"projectApiKey":null})", kNothing, "has no key of a project"},
          {R"({"version":3})", kNothing, "has no key of a project"},
          {R"({})", kNothing, "has no key of a project"},
          {R"({"version":2,"projectApiKey":{"canary":1}})", kBroken,
           "has a projectApiKey that is no text; log in anew: e2b auth login"},
          {R"({"version":"canary","projectApiKey":"x"})", kBroken,
           "has a version that is none; log in anew: e2b auth login"},
          {R"({"version":0})", kBroken, "has a version that is none; log in anew: e2b auth login"},
          {R"(["canary"])", kBroken, "holds no JSON object; log in anew: e2b auth login"},
          {R"({"version":2,"projectApiKey":"canary)", kBroken,
           "is not valid JSON; log in anew: e2b auth login"},
          {"", kBroken, "is not valid JSON; log in anew: e2b auth login"},
      }) {
    const Offer offer = parse_cli_file(item.file, process_environment(), {});
    EXPECT_EQ(offer.outcome, item.outcome) << item.file;
    EXPECT_EQ(offer.outcome == kFound ? offer.parts.at("api_key").value.expose() : offer.reason, item.text)
        << item.file;
    EXPECT_EQ(offer.notes.size(), item.notes) << item.file;
  }
}

}  // namespace
}  // namespace sandkey::e2b
