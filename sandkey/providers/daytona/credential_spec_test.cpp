#include "sandkey/providers/daytona/credential_spec.h"

#include "sandkey/config/temp_folder.h"
#include "sandkey/credentials/credential_chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sandkey::daytona {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const auto kNow = std::chrono::sys_days(std::chrono::year(2026) / 11 / 23);

class DaytonaSpec : public testing::Test {
 protected:
  DaytonaSpec() { variables["HOME"] = folder.path().string(); }
  Resolution explain() {
    CredentialWorld world;
    world.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      if (found == variables.end()) return std::nullopt;
      return found->second;
    };
    world.working_directory = folder.path();
    world.now = [] { return kNow; };
    return CredentialChain({}, world).explain(credential_spec());
  }
  Credential found() {
    Resolution resolution = explain();
    if (!resolution.credential) throw std::runtime_error(resolution.error->what());
    return std::move(*resolution.credential);
  }

  TempFolder folder;
  std::map<std::string, std::string> variables;
};

TEST_F(DaytonaSpec, ReadsTheEnvironment) {
  variables["DAYTONA_API_KEY"] = "dtn_a";
  variables["DAYTONA_ORGANIZATION_ID"] = "org";
  variables["DAYTONA_TARGET"] = "eu";
  EXPECT_EQ(found().form(), "an API key");
  EXPECT_EQ(found().endpoint("api_url")->value, "https://app.daytona.io/api");
  EXPECT_EQ(found().setting("target")->value, "eu");
  variables["DAYTONA_SERVER_URL"] = "https://old.example/api";
  EXPECT_EQ(found().endpoint("api_url")->value, "https://old.example/api");
  variables["DAYTONA_API_URL"] = "https://new.example/api/";
  EXPECT_EQ(found().endpoint("api_url")->value, "https://new.example/api");
  // A key wins over a token.
  variables["DAYTONA_JWT_TOKEN"] = "a.b.c";
  EXPECT_EQ(found().form(), "an API key");
  EXPECT_THAT(found().warnings(), ElementsAre("DAYTONA_JWT_TOKEN is not used: an API key comes first"));
  variables.erase("DAYTONA_API_KEY");
  EXPECT_EQ(found().form(), "a token with its organization");
  EXPECT_EQ(found().part("organization_id").expose(), "org");
  variables.erase("DAYTONA_ORGANIZATION_ID");
  EXPECT_STREQ(
      explain().error->what(),
      "finding the credential of daytona: DAYTONA_JWT_TOKEN without DAYTONA_ORGANIZATION_ID is only a part "
      "of a token with its organization; give all of it there, or nothing");
}

TEST_F(DaytonaSpec, NamesTheHistoricalFields) {
  std::vector<std::string_view> keys;
  for (const ConfigField& field : config_fields(credential_spec())) keys.push_back(field.key);
  EXPECT_THAT(keys, ElementsAre("daytona_api_key", "daytona_jwt_token", "daytona_organization_id",
                                "daytona_api_url", "daytona_target"));
}

TEST_F(DaytonaSpec, FindsTheCliFileWhereTheCliDoes) {
  const auto file = [](std::string_view key) {
    return R"({"activeProfile":"p","profiles":[{"id":"p","api":{"url":"https://own.example/api","key":")" +
           std::string(key) + R"(","token":null}}]})";
  };
  folder.write(".config/daytona/config.json", file("dtn_home"));
  EXPECT_EQ(found().part("api_key").expose(), "dtn_home");
  EXPECT_EQ(found().endpoint("api_url")->value, "https://own.example/api");
  folder.write("xdg/daytona/config.json", file("dtn_xdg"));
  variables["XDG_CONFIG_HOME"] = (folder.path() / "xdg").string();
  EXPECT_EQ(found().part("api_key").expose(), "dtn_xdg");
  folder.write("own/config.json", file("dtn_own"));
  variables["DAYTONA_CONFIG_DIR"] = (folder.path() / "own").string();
  EXPECT_EQ(found().part("api_key").expose(), "dtn_own");
  variables["DAYTONA_API_URL"] = "https://app.daytona.io/api";
  EXPECT_THAT(explain().error->what(), HasSubstr("is bound to https://own.example/api"));
}

TEST(DaytonaCliFile, IsReadAsItsActiveProfileHasIt) {
  struct Case {
    std::string_view profile;  // of the active profile's members
    Offer::Outcome outcome;
    std::string_view text;  // the first part's value, or the reason
  };
  constexpr auto kFound = Offer::Outcome::found;
  constexpr auto kNothing = Offer::Outcome::not_configured;
  constexpr auto kBroken = Offer::Outcome::broken;
  for (
      const Case& item : std::initializer_list<Case>{
          {R"("api":{"url":"u","key":"dtn_a","token":{"accessToken":"canary"}})", kFound, "dtn_a"},
          {R"("api":{"url":"u","key":null,"token":{"accessToken":"a.b","expiresAt":"2026-11-24T00:00:00Z"}},"activeOrganizationId":"o")",
           kFound, "a.b"},
          {R"("api":{"url":"u","token":{"accessToken":"canary","expiresAt":"2026-11-22T00:00:00Z"}},"activeOrganizationId":"o")",
           kBroken, "has a login that has expired; log in anew: daytona login"},
          {R"("api":{"url":"u","token":{"accessToken":"canary","expiresAt":"canary"}},"activeOrganizationId":"o")",
           kBroken, "has an \"expiresAt\" that is no time; log in anew: daytona login"},
          {R"("api":{"url":"u","token":{"accessToken":"canary"}},"activeOrganizationId":null)", kBroken,
           "has a login, but no active organization, which it needs; choose one: daytona organization use"},
          {R"("api":{"url":"u","token":{"refreshToken":"canary"}})", kBroken,
           "has an \"api.token\" without an \"accessToken\"; log in anew: daytona login"},
          {R"("api":{"url":"u","token":"canary"})", kBroken,
           "has an \"api.token\" that is no object; log in anew: daytona login"},
          {R"("api":{"url":"u","key":null,"token":null})", kNothing,
           "has neither key nor token in its active profile"},
          {R"("api":{"url":1})", kBroken, "has an \"api.url\" that is no text; log in anew: daytona login"},
          {R"("api":{"key":["canary"]})", kBroken,
           "has an \"api.key\" that is no text; log in anew: daytona login"},
          {R"("name":"x")", kBroken, "has an active profile without an \"api\"; log in anew: daytona login"},
      }) {
    const std::string file =
        R"({"activeProfile":"p","profiles":[{"id":"q","api":{"key":"dtn_wrong"}},{"id":"p",)" +
        std::string(item.profile) + "}]}";
    const Offer offer = parse_cli_file(file, process_environment(), kNow);
    EXPECT_EQ(offer.outcome, item.outcome) << item.profile;
    EXPECT_EQ(offer.outcome == kFound ? offer.parts.begin()->second.value.expose() : offer.reason, item.text)
        << item.profile;
  }
}

TEST(DaytonaCliFile, IsRefusedWhereItCannotBeMeant) {
  for (const auto& [file, reason] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"{canary", "is not valid JSON; log in anew: daytona login"},
           {"[]", "holds no JSON object; log in anew: daytona login"},
           {R"({"activeProfile":1})", "has an \"activeProfile\" that is no text; log in anew: daytona login"},
           {R"({"activeProfile":"p"})", "has no profiles"},
           {R"({"activeProfile":"p","profiles":{}})",
            "has \"profiles\" that are no list; log in anew: daytona login"},
           {R"({"profiles":[]})", "has no active profile"},
           {R"({"activeProfile":"canary","profiles":[1,{"id":"q"}]})",
            "names an active profile that it does not have; log in anew: daytona login"}}) {
    EXPECT_EQ(parse_cli_file(file, process_environment(), kNow).reason, reason) << file;
  }
}

}  // namespace
}  // namespace sandkey::daytona
