#include "sandkey/credentials/credential_chain.h"

#include "sandkey/base/engine.h"
#include "sandkey/config/temp_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <type_traits>

namespace sandkey {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Kind = Origin::Kind;

constexpr std::string_view kCanary = "acme_CANARY0123456789abcdef";

std::optional<std::filesystem::path> vendor_path(const Environment& environment) {
  const auto home = nonempty_variable(environment, "HOME");
  if (!home) return std::nullopt;
  return std::filesystem::path(*home) / ".acme";
}

// Lines such as "api_key=...", "api_url=...".
Offer parse_vendor(std::string_view bytes, const Environment&, std::chrono::system_clock::time_point) {
  if (bytes.starts_with("broken")) return Offer::broken("is broken");
  if (bytes.starts_with("empty")) return Offer::nothing("has no login");
  Offer offer;
  while (!bytes.empty()) {
    const std::size_t line = std::min(bytes.find('\n'), bytes.size());
    const std::size_t equals = bytes.find('=');
    const std::string name(bytes.substr(0, equals));
    const std::string_view value = bytes.substr(equals + 1, line - equals - 1);
    if (name == "api_url") {
      offer.add_endpoint(name, value);
    } else {
      offer.add_part(name, value);
    }
    bytes.remove_prefix(std::min(line + 1, bytes.size()));
  }
  return offer;
}

const CredentialSpec& acme() {
  static const CredentialSpec spec{
      .provider = "acme",
      .forms =
          {{"an API key",
            {{.name = "api_key",
              .config_key = "acme_api_key",
              .variables = {"ACME_API_KEY", "ACME_KEY"},
              .usual_prefixes = {"acme_"}}}},
           {"a token",
            {{.name = "token_id", .config_key = "acme_token_id", .variables = {"ACME_TOKEN_ID", "ACME_ID"}},
             {.name = "token_secret", .config_key = "acme_token_secret", .variables = {"ACME_TOKEN_SECRET"}},
             {.name = "team", .config_key = "acme_team", .variables = {"ACME_TEAM"}, .secret = false}}}},
      .endpoints = {{.name = "api_url",
                     .config_key = "acme_api_url",
                     .variables = {"ACME_API_URL", "ACME_SERVER_URL"},
                     .default_value = "https://api.{domain}"},
                    {.name = "domain",
                     .config_key = "acme_domain",
                     .variables = {"ACME_DOMAIN"},
                     .default_value = "acme.example",
                     .kind = EndpointSpec::Kind::domain}},
      .settings = {{.name = "region", .config_key = "acme_region", .variables = {"ACME_REGION"}}},
      .vendor_files = {{"the Acme CLI", vendor_path, parse_vendor}},
      .keys_page = "https://acme.example/keys",
  };
  return spec;
}

class FakeKeyring final : public Keyring {
 public:
  std::map<std::string, std::string> items;  // "profile/provider/part"
  std::string reason = "has no such item";
  KeyringAnswer lookup(const KeyringItem& item) override {
    const auto found = items.find(item.profile + "/" + item.provider + "/" + item.part);
    if (found == items.end()) return {.value = std::nullopt, .reason = reason};
    return {.value = Secret(found->second)};
  }
};

class CredentialChainTest : public testing::Test {
 protected:
  CredentialChainTest() {
    variables["HOME"] = folder.path().string();
    variables["PATH"] = "/usr/bin:/bin";
    std::filesystem::create_directory(folder.path() / "work");
  }

  // As config.toml would set it.
  void config(const std::string& key, std::string_view value, int line = 1) {
    settings.provider_fields[key] = {
        std::make_shared<const Secret>(value), true, {Kind::config_file, "config.toml", line}};
  }
  void profile(std::string_view toml) { folder.write(".config/sandkey/credentials.toml", toml); }
  // A helper that runs this as a shell script.
  std::string script(std::string_view body) {
    return folder.write("helper", "#!/bin/sh\n" + std::string(body) + "\n", 0700).string();
  }

  Resolution explain() {
    CredentialWorld world;
    world.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      if (found == variables.end()) return std::nullopt;
      return found->second;
    };
    world.working_directory = folder.path() / "work";
    world.now = [] {
      return std::chrono::sys_days(std::chrono::year(2026) / 11 / 23) + std::chrono::hours(1);
    };
    world.keyring = keyring;
    return CredentialChain(settings, world, choice).explain(acme());
  }
  Credential found() {
    Resolution resolution = explain();
    if (!resolution.credential) throw std::runtime_error(resolution.error->what());
    return std::move(*resolution.credential);
  }
  // What went wrong, without the beginning that is always the same.
  std::string failure() {
    constexpr std::string_view kBeginning = "finding the credential of acme: ";
    const Resolution resolution = explain();
    if (!resolution.error) return "(found)";
    code = resolution.error->code();
    const std::string text = folder.shortened(resolution.error->what());
    EXPECT_TRUE(text.starts_with(kBeginning)) << text;
    return text.substr(std::min(kBeginning.size(), text.size()));
  }
  std::string explanation() { return folder.shortened(explain().explanation()); }

  TempFolder folder;
  std::map<std::string, std::string> variables;
  OpenHandsConfig settings;
  std::shared_ptr<FakeKeyring> keyring = std::make_shared<FakeKeyring>();
  CredentialChoice choice;
  ErrorCode code{};
};

static_assert(!std::is_copy_constructible_v<Credential>);

// ---- every source, and their order

TEST_F(CredentialChainTest, NamesEverySourceWhenThereIsNone) {
  EXPECT_EQ(
      failure(),
      "no source has one: ACME_API_KEY, ACME_KEY, ACME_TOKEN_ID, ACME_ID and ACME_TOKEN_SECRET are not set "
      "in "
      "the environment; acme_api_key, acme_token_id and acme_token_secret are not set in config.toml; "
      "~/.config/sandkey/credentials.toml does not exist; profile 'default' has no helper; ~/.acme (the Acme "
      "CLI's) does not exist; the keyring has no such item. To give one, set ACME_API_KEY, or run: sandkey "
      "auth login acme (keys are made at https://acme.example/keys)");
  EXPECT_EQ(code, ErrorCode::credential_missing);
  EXPECT_EQ(explain().error->context().provider, "acme");
  EXPECT_EQ(explain().error->context().processed, Processed::no);
}

TEST_F(CredentialChainTest, TakesTheFirstSourceThatHasIt) {
  // Each source is put before the last one that won.
  keyring->items["default/acme/api_key"] = "acme_keyring";
  EXPECT_EQ(found().part("api_key").expose(), "acme_keyring");
  EXPECT_EQ(found().origin().to_string(), "the keyring");

  folder.write(".acme", "api_key=acme_vendor");
  EXPECT_EQ(found().part("api_key").expose(), "acme_vendor");
  EXPECT_EQ(folder.shortened(found().origin().to_string()), "~/.acme");

  const std::string helper = script(R"(echo '{"version":1,"parts":{"api_key":"acme_helper"}}')");
  profile("[default.acme]\nhelper = [\"" + helper + "\"]\n");
  EXPECT_EQ(found().part("api_key").expose(), "acme_helper");
  EXPECT_EQ(folder.shortened(found().origin().to_string()), "the helper command ~/helper");

  profile("[default.acme]\napi_key = \"acme_profile\"\n");
  EXPECT_EQ(found().part("api_key").expose(), "acme_profile");
  EXPECT_EQ(found().origin().to_string(), "profile 'default'");

  config("acme_api_key", "acme_config", 7);
  EXPECT_EQ(found().part("api_key").expose(), "acme_config");
  EXPECT_EQ(found().origin().to_string(), "config.toml:7");

  variables["ACME_KEY"] = "acme_environment";
  EXPECT_EQ(found().part("api_key").expose(), "acme_environment");
  EXPECT_EQ(found().origin().to_string(), "ACME_KEY in the environment");

  settings.set("acme_api_key", Secret("acme_program"));
  EXPECT_EQ(found().part("api_key").expose(), "acme_program");
  EXPECT_EQ(found().origin().to_string(), "the program");
}

TEST_F(CredentialChainTest, ExplainsWhoWonAndWhyTheOthersDidNot) {
  profile("[work.acme]\napi_key = \"acme_profile\"\n");
  folder.write(".acme", "api_key=acme_vendor");
  folder.write("work/.env", "ACME_API_KEY=acme_dotenv");
  folder.write("work/.env.local", "");
  const std::string text = explanation();
  EXPECT_EQ(text, R"(acme: an API key (fingerprint )" + found().fingerprint() + R"() from ~/.acme
  program       not there the program gave none
  environment   not there ACME_API_KEY, ACME_KEY, ACME_TOKEN_ID, ACME_ID and ACME_TOKEN_SECRET are not set in the environment
  config.toml   not there acme_api_key, acme_token_id and acme_token_secret are not set in config.toml
  profile       not there ~/.config/sandkey/credentials.toml has no profile 'default' (it has work)
  helper        not there profile 'default' has no helper
  vendor's file found     an API key (fingerprint )" +
                      found().fingerprint() + R"() from ~/.acme
  keyring       not asked an earlier source has it
  note: ~/work/.env exists, but .env files are not read; export what is in it
  note: ~/work/.env.local exists, but .env files are not read; export what is in it)");
}

TEST_F(CredentialChainTest, NamesEnvFilesInTheMissingMessage) {
  folder.write("work/.env", "ACME_API_KEY=acme_dotenv");
  EXPECT_THAT(failure(),
              HasSubstr("; ~/work/.env exists, but .env files are not read; export what is in it. To"));
}

TEST_F(CredentialChainTest, SaysWhichFoldersItCannotFind) {
  variables.erase("HOME");
  EXPECT_THAT(failure(),
              HasSubstr("; there is no folder for profiles ($SANDKEY_CONFIG_DIR, $XDG_CONFIG_HOME or "
                        "$HOME must be an absolute path); profile 'default' has no helper; the file of "
                        "the Acme CLI cannot be looked for, since $HOME is not set; the keyring"));
}

TEST_F(CredentialChainTest, KeepsAccountsApart) {
  profile("[default.acme]\napi_key = \"acme_one\"\n[work.acme]\napi_key = \"acme_two\"\nregion = \"eu\"\n");
  const Credential one = found();
  choice.profile = "work";
  variables["ACME_API_KEY"] = "acme_environment";
  const Credential two = found();
  EXPECT_EQ(one.part("api_key").expose(), "acme_one");
  EXPECT_EQ(two.part("api_key").expose(), "acme_two");
  EXPECT_EQ(two.setting("region")->value, "eu");
  EXPECT_NE(one.fingerprint(), two.fingerprint());
  EXPECT_NE(one.identity(), two.identity());
  EXPECT_EQ(one.to_string(),
            "acme: an API key (fingerprint " + one.fingerprint() + ") from profile 'default'");
  EXPECT_TRUE(std::regex_match(one.fingerprint(), std::regex("[0-9a-f]{12}")));
}

TEST_F(CredentialChainTest, AKeyToAnotherAddressIsAnotherIdentity) {
  variables["ACME_API_KEY"] = "acme_key";
  const Credential here = found();
  variables["ACME_API_URL"] = "https://other.example";
  const Credential there = found();
  EXPECT_EQ(here.fingerprint(), there.fingerprint());
  EXPECT_NE(here.identity(), there.identity());
}

TEST_F(CredentialChainTest, APinnedProfileSpeaksAlone) {
  variables["ACME_API_KEY"] = "acme_environment";
  variables["ACME_REGION"] = "us";
  variables["ACME_API_URL"] = "https://elsewhere.example";
  config("acme_api_key", "acme_config");
  folder.write(".acme", "api_key=acme_vendor");
  profile("[work.acme]\napi_key = \"acme_work\"\n");
  choice.profile = "work";
  const Credential work = found();
  EXPECT_EQ(work.part("api_key").expose(), "acme_work");
  EXPECT_EQ(work.endpoint("api_url")->value, "https://api.acme.example");
  EXPECT_EQ(work.setting("region"), nullptr);

  choice.profile = "home";
  EXPECT_EQ(
      failure(),
      "no source has one: ~/.config/sandkey/credentials.toml has no profile 'home' (it has work); profile "
      "'home' has no helper; the keyring has no such item. To give one, run: sandkey auth login acme "
      "--profile "
      "home (keys are made at https://acme.example/keys)");
  keyring->items["home/acme/api_key"] = "acme_home";
  EXPECT_EQ(found().part("api_key").expose(), "acme_home");
  settings.set("acme_api_key", Secret("acme_flag"));
  EXPECT_EQ(found().part("api_key").expose(), "acme_flag");
}

TEST_F(CredentialChainTest, APinnedSourceIsAskedAlone) {
  variables["ACME_API_KEY"] = "acme_environment";
  folder.write(".acme", "api_key=acme_vendor");
  choice.source = Kind::vendor_file;
  EXPECT_EQ(found().part("api_key").expose(), "acme_vendor");
  choice.source = Kind::environment;
  EXPECT_EQ(found().part("api_key").expose(), "acme_environment");
  choice.source = Kind::keyring;
  EXPECT_EQ(
      failure(),
      "no source has one: the keyring has no such item. To give one, run: sandkey auth login acme (keys are "
      "made at https://acme.example/keys)");
  choice.source = Kind::helper;
  profile("[default.acme]\nhelper = [\"" +
          script(R"(echo '{"version":1,"parts":{"api_key":"acme_helper"}}')") + "\"]\n");
  EXPECT_EQ(found().part("api_key").expose(), "acme_helper");
}

TEST_F(CredentialChainTest, WhatStandsBesideAHelperHoldsForWhatItGives) {
  const std::string entry = "[default.acme]\nhelper = [\"" +
                            script(R"(echo '{"version":1,"parts":{"api_key":"acme_h"}}')") +
                            "\"]\napi_url = \"http://10.0.0.1\"\nregion = \"eu\"\n";
  profile(entry);
  EXPECT_THAT(failure(), HasSubstr("cleartext"));
  profile(entry + "allow_cleartext = true\n");
  EXPECT_EQ(found().endpoint("api_url")->value, "http://10.0.0.1");
  EXPECT_EQ(found().setting("region")->value, "eu");
  variables["ACME_API_URL"] = "https://other.example";
  EXPECT_THAT(failure(), HasSubstr("is bound to http://10.0.0.1; unset the one"));
  variables.erase("ACME_API_URL");
  script(R"(echo '{"version":1,"parts":{"api_key":"acme_h"},"endpoints":{"api_url":"https://x.example"}}')");
  EXPECT_EQ(failure(), "the helper ~/helper and profile 'default' give different addresses as api_url");
}

TEST_F(CredentialChainTest, SaysWhichKeyAnEndpointWasRefusedTo) {
  variables["ACME_API_KEY"] = "acme_a";
  config("acme_api_url", "https://evil.example", 2);
  EXPECT_THAT(explanation(),
              HasSubstr("\n  environment   found     an API key from ACME_API_KEY in the environment"));
}

TEST_F(CredentialChainTest, AProfileMayLeaveItToASource) {
  variables["ACME_API_KEY"] = "acme_environment";
  folder.write(".acme", "api_key=acme_vendor");
  profile("[vendor.acme]\nsource = \"vendor\"\n[environment.acme]\nsource = \"environment\"\n");
  choice.profile = "vendor";
  EXPECT_EQ(found().part("api_key").expose(), "acme_vendor");
  choice.profile = "environment";
  EXPECT_EQ(explain().steps.size(), 3U);
  EXPECT_EQ(found().part("api_key").expose(), "acme_environment");
  variables.erase("ACME_API_KEY");
  EXPECT_EQ(failure(),
            "no source has one: profile 'environment' leaves it to the environment; ACME_API_KEY, ACME_KEY, "
            "ACME_TOKEN_ID, ACME_ID and ACME_TOKEN_SECRET are not set in the environment. To give one, set "
            "ACME_API_KEY, or run: sandkey auth login acme --profile environment (keys are made at "
            "https://acme.example/keys)");
}

// ---- what a source has

TEST_F(CredentialChainTest, JudgesWhatTheEnvironmentHolds) {
  struct Case {
    std::map<std::string, std::string> variables;
    std::string_view failure;
    ErrorCode code = ErrorCode::credential_malformed;
  };
  for (const Case& item : std::initializer_list<Case>{
           {{{"ACME_TOKEN_ID", "id"}},
            "ACME_TOKEN_ID without ACME_TOKEN_SECRET and ACME_TEAM is only a part of a token; give all of it "
            "there, or nothing"},
           {{{"ACME_ID", "id"}, {"ACME_TEAM", "t"}},
            "ACME_ID without ACME_TOKEN_SECRET is only a part of a token; give all of it there, or nothing"},
           {{{"ACME_TOKEN_SECRET", "s"}, {"ACME_TEAM", "t"}},
            "ACME_TOKEN_SECRET without ACME_TOKEN_ID or ACME_ID is only a part of a token; give all of it "
            "there, or nothing"},
           {{{"ACME_API_KEY", "acme_a"}, {"ACME_KEY", "acme_b"}},
            "ACME_API_KEY and ACME_KEY are both set in the environment, and differ; unset one of them"},
           {{{"ACME_API_KEY", "acme a"}},
            "ACME_API_KEY has a blank or a line break within, so it cannot be one; copy it again"},
           {{{"ACME_API_KEY", "acme\na"}},
            "ACME_API_KEY has a blank or a line break within, so it cannot be one; copy it again"},
           {{{"ACME_API_KEY", "acme\x01"}},
            "ACME_API_KEY has a control character, so it cannot be one; copy it again"},
           {{{"ACME_API_KEY", "acme\x7f_"}},
            "ACME_API_KEY has a control character, so it cannot be one; copy it again"},
           {{{"ACME_API_KEY", "acm\xc3\xa9"}},
            "ACME_API_KEY has a character that is not ASCII, so it cannot be one; copy it again"},
           {{{"ACME_API_KEY", std::string(8193, 'a')}},
            "ACME_API_KEY is longer than 8192 bytes, so it cannot be one; copy it again"},
       }) {
    const auto before = variables;
    variables.insert(item.variables.begin(), item.variables.end());
    // What comes later must not be fallen through to.
    folder.write(".acme", "api_key=acme_vendor");
    EXPECT_EQ(failure(), item.failure);
    EXPECT_EQ(code, item.code);
    variables = before;
  }
}

TEST_F(CredentialChainTest, BlankIsNotSet) {
  for (const std::string blank : {"", " ", "\n", " \t\r\n"}) {
    variables["ACME_API_KEY"] = blank;
    EXPECT_THAT(failure(),
                HasSubstr("no source has one: ACME_KEY, ACME_TOKEN_ID, ACME_ID and ACME_TOKEN_SECRET are "
                          "not set and ACME_API_KEY is blank in the environment; "));
  }
  variables["ACME_KEY"] = "acme_a";
  EXPECT_EQ(found().origin().name, "ACME_KEY");
  variables.erase("ACME_KEY");
  config("acme_api_key", "");
  profile("[default.acme]\napi_key = \"\"\n");
  folder.write(".acme", "api_key=\n");
  keyring->items["default/acme/api_key"] = "\n";
  EXPECT_EQ(code = explain().error->code(), ErrorCode::credential_missing);
}

TEST_F(CredentialChainTest, WarnsOfWhatIsOddAndTakesIt) {
  variables["ACME_API_KEY"] = " acme_a\n";
  EXPECT_EQ(found().part("api_key").expose(), "acme_a");
  EXPECT_THAT(found().warnings(),
              ElementsAre("ACME_API_KEY has blanks or line breaks around it, which were taken off"));
  variables["ACME_KEY"] = "acme_a";  // agrees
  EXPECT_EQ(found().origin().name, "ACME_API_KEY");
  variables.erase("ACME_KEY");
  variables["ACME_API_KEY"] = "\"sk-1\"";
  variables["ACME_TOKEN_ID"] = "id";
  EXPECT_THAT(found().warnings(),
              ElementsAre("ACME_API_KEY is in quotes, which are sent along",
                          "ACME_API_KEY does not start with 'acme_', as those of acme usually do",
                          "ACME_TOKEN_ID is not used: an API key comes first"));
  EXPECT_THAT(explanation(), HasSubstr("\n  warning: ACME_API_KEY is in quotes, which are sent along\n"));
  variables["ACME_API_KEY"] = std::string(8192, 'a');
  EXPECT_EQ(found().part("api_key").expose().size(), 8192U);
}

TEST_F(CredentialChainTest, TakesTheSecondFormWhereItIsWhole) {
  variables["ACME_TOKEN_ID"] = "id";
  variables["ACME_TOKEN_SECRET"] = "secret";
  variables["ACME_TEAM"] = "team";
  const Credential credential = found();
  EXPECT_EQ(credential.form(), "a token");
  EXPECT_EQ(credential.part("token_secret").expose(), "secret");
  EXPECT_FALSE(credential.has("api_key"));
  EXPECT_THROW((void)credential.part("api_key"), Error);
  // The part that is no secret alone begins nothing.
  variables.erase("ACME_TOKEN_ID");
  variables.erase("ACME_TOKEN_SECRET");
  (void)failure();
  EXPECT_EQ(code, ErrorCode::credential_missing);
}

TEST_F(CredentialChainTest, HalfACredentialInAnySourceEndsTheSearch) {
  keyring->items["default/acme/api_key"] = "acme_keyring";
  const auto half = [&](std::string_view where) {
    EXPECT_THAT(failure(), HasSubstr(where));
    EXPECT_EQ(code, ErrorCode::credential_malformed);
  };
  folder.write(".acme", "token_id=id");
  half("token_id in ~/.acme without token_secret and team is only a part of a token");
  profile("[default.acme]\ntoken_id = \"id\"\n");
  half(
      "token_id in ~/.config/sandkey/credentials.toml:2 without token_secret and team is only a part of a "
      "token");
  config("acme_token_secret", "secret", 3);
  half("acme_token_secret in config.toml:3 without acme_token_id and acme_team is only a part");
  settings.set("acme_token_id", Secret("id"));
  half("acme_token_id without acme_token_secret and acme_team is only a part of a token");
}

// ---- our own file

TEST_F(CredentialChainTest, RefusesAProfileFileThatIsNotPrivate) {
  keyring->items["default/acme/api_key"] = "acme_keyring";
  const auto file =
      folder.write(".config/sandkey/credentials.toml", "[default.acme]\napi_key = \"acme_a\"\n", 0640);
  EXPECT_EQ(failure(),
            "~/.config/sandkey/credentials.toml is open to others (mode 0640); run: chmod 600 "
            "'~/.config/sandkey/credentials.toml'");
  EXPECT_EQ(code, ErrorCode::credential_malformed);
  std::filesystem::permissions(file, std::filesystem::perms(0600));
  std::filesystem::permissions(file.parent_path(), std::filesystem::perms(0770));
  EXPECT_EQ(failure(), "~/.config/sandkey is open to others (mode 0770); run: chmod 700 '~/.config/sandkey'");
  std::filesystem::permissions(file.parent_path(), std::filesystem::perms(0700));
  EXPECT_EQ(found().part("api_key").expose(), "acme_a");
  std::filesystem::rename(file, folder.path() / "elsewhere");
  std::filesystem::create_symlink(folder.path() / "elsewhere", file);
  EXPECT_EQ(failure(), "~/.config/sandkey/credentials.toml is a symbolic link");
}

TEST_F(CredentialChainTest, RefusesAProfileFileOfSomebodyElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const auto file =
      folder.write(".config/sandkey/credentials.toml", "[default.acme]\napi_key = \"acme_a\"\n");
  ASSERT_EQ(::chown(file.c_str(), 12345, 12345), 0);
  EXPECT_EQ(failure(),
            "~/.config/sandkey/credentials.toml belongs to user 12345, and we are user 0: move it away, or "
            "run: chown 0 '~/.config/sandkey/credentials.toml'");
  EXPECT_EQ(code, ErrorCode::credential_malformed);
}

TEST_F(CredentialChainTest, RefusesAProfileThatCannotBeMeant) {
  struct Case {
    std::string_view toml;
    std::string_view complaint;
  };
  for (const Case& item : std::initializer_list<Case>{
           {"[default.acme]\napi_kye = \"canary\"\n",
            "2: api_kye is not known of [default.acme]; did you mean api_key?"},
           {"[default.acme]\napi_key = 1\n", "2: api_key must be a text, not a whole number"},
           {"[default.acme]\nallow_cleartext = \"yes\"\n", "2: allow_cleartext must be true or false"},
           {"[default.acme]\nsource = \"canary\"\n",
            "2: source must be \"environment\", \"config\", \"profile\", \"helper\", \"vendor\" or "
            "\"keyring\""},
           {"[default.acme]\nhelper = \"canary\"\n",
            "2: helper must be a list of texts, such as [\"/usr/local/bin/fetch-key\"]"},
           {"[default.acme]\nhelper = []\n",
            "2: helper must be a list of texts, such as [\"/usr/local/bin/fetch-key\"]"},
           {"[default.acme]\nhelper = [\"./canary\"]\n",
            "2: helper must name its program by an absolute path; no shell and no $PATH is used"},
           {"[default.acme]\nhelper = [\"/bin/true\"]\nhelper_timeout = \"6m\"\n",
            "3: helper_timeout must be a duration such as \"10s\", 5m at most"},
           {"[default.acme]\nhelper = [\"/bin/true\"]\napi_key = \"canary\"\n",
            "1: [default.acme] has both a helper and api_key: remove one of them"},
           {"[default]\nacme = \"canary\"\n",
            "2: acme is not known of a profile; there are helper, helper_timeout and the providers' tables"},
           {"default = \"canary\"\n", "1: default must be a profile, as in [default.e2b]"},
           {"[default.acme]\napi_key = canary\n",
            "2:11: not valid TOML (texts need quotes, a key stands in a table once only)"},
       }) {
    profile(item.toml);
    EXPECT_EQ(failure(), "~/.config/sandkey/credentials.toml:" + std::string(item.complaint));
    EXPECT_EQ(code, ErrorCode::credential_malformed);
  }
  profile(std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(failure(), "~/.config/sandkey/credentials.toml is larger than 1048576 bytes");
}

// ---- the vendor's file

TEST_F(CredentialChainTest, JudgesTheVendorsFile) {
  folder.write(".acme", "broken");
  EXPECT_EQ(failure(), "~/.acme (the Acme CLI's) is broken");
  folder.write(".acme", "empty");
  EXPECT_THAT(failure(), HasSubstr("; ~/.acme (the Acme CLI's) has no login; "));
  folder.write(".acme", "api_key=acme_a", 0666);
  EXPECT_EQ(failure(),
            "~/.acme (the Acme CLI's) can be changed by others (mode 0666); run: chmod 600 '~/.acme'");
  folder.write(".acme", "api_key=acme_a", 0644);
  const Credential readable = found();
  ASSERT_EQ(readable.warnings().size(), 1U);
  EXPECT_EQ(folder.shortened(readable.warnings()[0]),
            "~/.acme (the Acme CLI's) can be read by others (mode 0644); run: chmod 600 '~/.acme'");
  folder.write(".acme", std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(failure(), "~/.acme (the Acme CLI's) is larger than 1048576 bytes");
  std::filesystem::remove(folder.path() / ".acme");
  std::filesystem::create_directory(folder.path() / ".acme");
  EXPECT_EQ(failure(), "~/.acme (the Acme CLI's) is no regular file");
}

// ---- where a key may go

TEST_F(CredentialChainTest, EndpointsComeFromWhereTheKeyMayTrust) {
  struct Case {
    std::string_view key;       // where the key is
    std::string_view endpoint;  // where the address is
    bool domain;
    std::string_view outcome;  // the address, or the failure
  };
  constexpr std::string_view kRefusal =
      " would send the key from {} to {}, and a file that comes with the working directory may not redirect "
      "a key "
      "that does not; if that address is right, set {} in the environment, or put both into a profile";
  const auto refused = [&](const std::string& label, const std::string& from, const std::string& to,
                           const std::string& variable) {
    std::string text = label + std::string(kRefusal);
    for (const std::string& value : {from, to, variable}) text.replace(text.find("{}"), 2, value);
    return text;
  };
  const std::string there = "https://there.example/v1";
  const auto put = [&](std::string_view source, const std::string& name, const std::string& value) {
    if (source == "program") settings.set("acme_" + name, Secret(value));
    if (source == "environment") {
      std::string variable = "ACME_" + name;
      std::transform(variable.begin(), variable.end(), variable.begin(),
                     [](char c) { return static_cast<char>(std::toupper(c)); });
      variables[variable] = value;
    }
    if (source == "config") config("acme_" + name, value, 9);
    if (source == "profile")
      profile("[default.acme]\napi_key = \"acme_a\"\n" + name + " = \"" + value + "\"\n");
    if (source == "vendor") folder.write(".acme", "api_key=acme_a\n" + name + "=" + value + "\n");
  };
  const std::map<std::string_view, std::string> kLabels{{"environment", "ACME_API_KEY in the environment"},
                                                        {"program", "the program"},
                                                        {"profile", "profile 'default'"},
                                                        {"vendor", "~/.acme"},
                                                        {"keyring", "the keyring"}};
  for (const std::string_view key : {"program", "environment", "config", "profile", "vendor", "keyring"}) {
    for (const std::string_view endpoint : {"program", "environment", "config"}) {
      for (const bool domain : {false, true}) {
        const OpenHandsConfig settings_before = settings;
        const auto variables_before = variables;
        if (key == "profile") profile("[default.acme]\napi_key = \"acme_a\"\n");
        if (key == "vendor") folder.write(".acme", "api_key=acme_a\n");
        if (key == "keyring") keyring->items["default/acme/api_key"] = "acme_a";
        if (key == "program" || key == "environment" || key == "config") put(key, "api_key", "acme_a");
        put(endpoint, domain ? "domain" : "api_url", domain ? "there.example" : there);
        const std::string what = std::string(key) + " / " + std::string(endpoint) + (domain ? " domain" : "");
        if (endpoint == "config" && key != "config") {
          EXPECT_EQ(failure(),
                    refused(domain ? "acme_domain in config.toml:9" : "acme_api_url in config.toml:9",
                            kLabels.at(key), domain ? "there.example" : there,
                            domain ? "ACME_DOMAIN" : "ACME_API_URL"))
              << what;
          EXPECT_EQ(code, ErrorCode::permission_denied) << what;
        } else {
          EXPECT_EQ(found().endpoint("api_url")->value, domain ? "https://api.there.example" : there) << what;
        }
        settings = settings_before;
        variables = variables_before;
        keyring->items.clear();
        std::filesystem::remove_all(folder.path() / ".config");
        std::filesystem::remove(folder.path() / ".acme");
      }
    }
  }
}

TEST_F(CredentialChainTest, AConfigFileMayRepeatTheAddressThatHoldsAnyway) {
  variables["ACME_API_KEY"] = "acme_a";
  config("acme_api_url", "https://API.acme.example/");
  EXPECT_EQ(found().endpoint("api_url")->value, "https://api.acme.example");
  EXPECT_EQ(found().endpoint("api_url")->origin.kind, Kind::default_value);
  variables["ACME_API_URL"] = "https://mine.example";
  EXPECT_EQ(found().endpoint("api_url")->value, "https://mine.example");
}

TEST_F(CredentialChainTest, AKeyBoundToAnAddressIsNotSentToAnother) {
  profile("[default.acme]\napi_key = \"acme_a\"\napi_url = \"https://mine.example/api/\"\n");
  EXPECT_EQ(found().endpoint("api_url")->value, "https://mine.example/api");
  EXPECT_EQ(found().endpoint("api_url")->origin.kind, Kind::profile);
  variables["ACME_API_URL"] = "https://mine.example/api";
  EXPECT_EQ(found().endpoint("api_url")->origin.kind, Kind::environment);
  variables["ACME_API_URL"] = "https://other.example";
  EXPECT_EQ(failure(),
            "ACME_API_URL in the environment is https://other.example, but the key from profile 'default' is "
            "bound to "
            "https://mine.example/api; unset the one, or set the key there as well");
  EXPECT_EQ(code, ErrorCode::permission_denied);
  // A domain binds what is made of it.
  profile("[default.acme]\napi_key = \"acme_a\"\ndomain = \"mine.example\"\n");
  EXPECT_EQ(failure(),
            "ACME_API_URL in the environment is https://other.example, but the key from profile 'default' is "
            "bound to "
            "https://api.mine.example; unset the one, or set the key there as well");
  // A flag says what is wanted now.
  settings.set("acme_api_url", Secret("https://flag.example"), false);
  EXPECT_EQ(found().endpoint("api_url")->value, "https://flag.example");
}

TEST_F(CredentialChainTest, CleartextIsForThisMachineOrAProfileThatAllowsIt) {
  variables["ACME_API_KEY"] = "acme_a";
  for (const char* url : {"http://localhost:3000", "http://127.0.0.1", "http://127.9.9.9:1/x",
                          "http://[::1]:8080", "http://api.localhost", "https://example.com"}) {
    variables["ACME_API_URL"] = url;
    EXPECT_EQ(found().endpoint("api_url")->value, url);
  }
  for (const char* url :
       {"http://example.com", "http://localhost.example.com", "http://127.0.0.1.example.com",
        "http://0.0.0.0", "http://[::2]", "http://10.0.0.1", "http://127.1"}) {
    variables["ACME_API_URL"] = url;
    EXPECT_EQ(failure(),
              "ACME_API_URL in the environment is " + std::string(url) +
                  ", where the key would travel in cleartext; use https, or put the key and this address "
                  "into a profile with allow_cleartext = true");
    EXPECT_EQ(code, ErrorCode::invalid_argument);
  }
  // What a profile allows holds for its own key and address only.
  profile("[default.acme]\napi_key = \"acme_a\"\napi_url = \"http://10.0.0.1\"\nallow_cleartext = true\n");
  EXPECT_THAT(failure(), HasSubstr("cleartext"));
  variables.erase("ACME_API_KEY");
  variables.erase("ACME_API_URL");
  EXPECT_EQ(found().endpoint("api_url")->value, "http://10.0.0.1");
  profile("[default.acme]\napi_key = \"acme_a\"\nallow_cleartext = true\n");
  variables["ACME_API_URL"] = "http://10.0.0.2";
  EXPECT_THAT(failure(), HasSubstr("cleartext"));
}

TEST_F(CredentialChainTest, RefusesWhatIsNoAddressWithoutShowingIt) {
  variables["ACME_API_KEY"] = "acme_a";
  for (const std::string& url :
       {std::string(kCanary), "https://" + std::string(kCanary) + "@example.com",
        "https://example.com/?k=" + std::string(kCanary), std::string("ftp://example.com"),
        std::string("https://"), std::string("https://exa mple.com"),
        std::string("https://example.com:99999"), std::string("https://example.com\\@evil.example"),
        std::string("https://[::1"), std::string("https://ex\xc3\xa4mple.com")}) {
    variables["ACME_API_URL"] = url;
    EXPECT_EQ(failure(),
              "ACME_API_URL in the environment is no address of an API; write it as in "
              "https://api.example.com, without user or query")
        << url;
    EXPECT_EQ(code, ErrorCode::invalid_argument);
  }
  variables.erase("ACME_API_URL");
  variables["ACME_DOMAIN"] = "example.com/evil";
  EXPECT_EQ(failure(), "ACME_DOMAIN in the environment is no domain; write it as in example.com");
}

TEST_F(CredentialChainTest, SettingsComeFromTheFirstThatHasThem) {
  profile("[default.acme]\napi_key = \"acme_a\"\nregion = \"profile\"\n");
  EXPECT_EQ(found().setting("region")->value, "profile");
  config("acme_region", "config");
  EXPECT_EQ(found().setting("region")->value, "config");
  variables["ACME_REGION"] = "environment";
  EXPECT_EQ(found().setting("region")->origin.to_string(), "ACME_REGION in the environment");
  variables["ACME_REGION"] = "a b";
  EXPECT_EQ(failure(), "a setting from ACME_REGION in the environment has a blank or a line break within");
}

// ---- the keyring

TEST_F(CredentialChainTest, SaysWhyTheKeyringHasNone) {
  keyring->reason = "is locked; unlock it";
  EXPECT_THAT(failure(), HasSubstr("; the keyring is locked; unlock it. To give one"));
  keyring = nullptr;  // the real one, where there is no session bus
  EXPECT_THAT(failure(), HasSubstr("; the keyring cannot be reached (there is no session bus). To give one"));
}

// ---- nothing is shown

TEST_F(CredentialChainTest, NeverShowsAValue) {
  const std::string key(kCanary);
  const std::string pair = "token_id = \"" + key + "\"\n";
  const auto quiet = [&](const std::string& what) {
    const Resolution resolution = explain();
    std::string all = resolution.explanation();
    if (resolution.error) all += resolution.error->what();
    if (resolution.credential) {
      all += resolution.credential->to_string() + resolution.credential->identity();
      for (const auto& warning : resolution.credential->warnings()) all += warning;
    }
    EXPECT_THAT(all, Not(HasSubstr("CANARY"))) << what;
    EXPECT_FALSE(all.empty());
  };
  std::vector<std::pair<std::string, std::string>> spoiled{{"good", key},
                                                           {"blank within", key + " " + key},
                                                           {"umlaut", key + "\xc3\xbc"},
                                                           {"quoted", "'" + key + "'"},
                                                           {"newline", key + "\n"},
                                                           {"long", key + std::string(9000, 'x')}};
  for (const auto& [how, value] : spoiled) {
    for (const char* variable :
         {"ACME_API_KEY", "ACME_KEY", "ACME_TOKEN_ID", "ACME_TEAM", "ACME_API_URL", "ACME_DOMAIN"}) {
      variables[variable] = value;
      quiet(std::string(variable) + " " + how);
      variables.erase(variable);
    }
    variables["ACME_API_KEY"] = "acme_a";
    variables["ACME_KEY"] = value;
    quiet("conflict " + how);
    variables.erase("ACME_API_KEY");
    variables.erase("ACME_KEY");
    for (const char* field : {"acme_api_key", "acme_token_id", "acme_api_url", "acme_domain"}) {
      const OpenHandsConfig before = settings;
      config(field, value);
      quiet(std::string("config ") + field + " " + how);
      settings.set(field, Secret(value));
      quiet(std::string("program ") + field + " " + how);
      settings = before;
    }
    folder.write(".acme", "api_key=" + value);
    quiet("vendor " + how);
    folder.write(".acme", "token_id=" + value);
    quiet("vendor half " + how);
    folder.write(".acme", "api_key=acme_a\napi_url=" + value);
    quiet("vendor url " + how);
    std::filesystem::remove(folder.path() / ".acme");
    keyring->items["default/acme/api_key"] = value;
    quiet("keyring " + how);
    keyring->items.clear();
  }
  for (const std::string& toml :
       {"[default.acme]\napi_key = \"" + key + "\"\n", "[default.acme]\napi_key = " + key + "\n",
        "[default.acme]\n" + pair, "[default.acme]\nsource = \"" + key + "\"\n",
        "[default.acme]\napi_key = [\"" + key + "\"]\n", "[default.acme]\napi_key = \"" + key + "\n",
        "[default.acme]\nhelper = [\"" + key + "\"]\n", "[default.acme]\nhelper_timeout = \"" + key + "\"\n",
        "[default.acme]\napi_key = \"acme_a\"\napi_url = \"" + key + "\"\n",
        "[default.acme]\nhelper = [\"/bin/false\", \"" + key + "\"]\n",
        "[default.acme]\nhelper = [\"/bin/echo\", \"" + key + "\"]\n"}) {
    profile(toml);
    quiet("profile");
  }
}

TEST(CredentialWorldTest, ComesFromTheEngine) {
  EngineOptions options;
  options.environment = [](const std::string& name) { return std::optional<std::string>("of " + name); };
  options.system_now = [] { return std::chrono::system_clock::time_point(std::chrono::seconds(5)); };
  const Engine engine(options);
  const CredentialWorld world = world_of(engine);
  EXPECT_EQ(world.environment("X"), "of X");
  EXPECT_EQ(world.now().time_since_epoch(), std::chrono::seconds(5));
}

}  // namespace
}  // namespace sandkey
