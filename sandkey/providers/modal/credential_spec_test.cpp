#include "sandkey/providers/modal/credential_spec.h"

#include "sandkey/config/temp_folder.h"
#include "sandkey/credentials/credential_chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sandkey::modal {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class ModalSpec : public testing::Test {
 protected:
  ModalSpec() { variables["HOME"] = folder.path().string(); }
  Environment environment() {
    return [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      if (found == variables.end()) return std::nullopt;
      return found->second;
    };
  }
  Resolution explain() {
    CredentialWorld world;
    world.environment = environment();
    world.working_directory = folder.path();
    return CredentialChain({}, world).explain(credential_spec());
  }
  Credential found() {
    Resolution resolution = explain();
    if (!resolution.credential) throw std::runtime_error(resolution.error->what());
    return std::move(*resolution.credential);
  }
  std::string failure() {
    const Resolution resolution = explain();
    return resolution.error ? folder.shortened(resolution.error->what()) : "(found)";
  }

  TempFolder folder;
  std::map<std::string, std::string> variables;
};

TEST_F(ModalSpec, ReadsBothSpellingsOfItsVariables) {
  variables = {{"MODAL_API_TOKEN_ID", "ak-a"}, {"MODAL_API_TOKEN_SECRET", "as-a"}};
  EXPECT_EQ(found().part("token_id").expose(), "ak-a");
  EXPECT_EQ(found().endpoint("server_url")->value, "https://api.modal.com");
  EXPECT_THAT(found().warnings(), IsEmpty());
  variables["MODAL_TOKEN_ID"] = "ak-a";
  EXPECT_EQ(found().part("token_secret").expose(), "as-a");
  variables["MODAL_TOKEN_ID"] = "ak-b";
  EXPECT_EQ(failure(),
            "finding the credential of modal: MODAL_TOKEN_ID and MODAL_API_TOKEN_ID are both set in the "
            "environment, and differ; unset one of them");
}

// Modal's own client would pair it with the file's secret.
TEST_F(ModalSpec, DoesNotPairHalvesOfDifferentSources) {
  folder.write(".modal.toml", "[w]\ntoken_id = \"ak-f\"\ntoken_secret = \"as-f\"\nactive = true\n");
  variables["MODAL_TOKEN_ID"] = "ak-e";
  EXPECT_EQ(failure(),
            "finding the credential of modal: MODAL_TOKEN_ID without MODAL_TOKEN_SECRET or "
            "MODAL_API_TOKEN_SECRET is only a part of a token; give all of it there, or nothing");
}

TEST_F(ModalSpec, TakesTheFirstServerOfAList) {
  variables["MODAL_TOKEN_ID"] = "ak-a";
  variables["MODAL_TOKEN_SECRET"] = "as-a";
  variables["MODAL_SERVER_URL"] = "https://api.modal.com:443,https://api.modal2.com";
  EXPECT_EQ(found().endpoint("server_url")->value, "https://api.modal.com");
}

TEST_F(ModalSpec, ReadsTheActiveProfileOfTheCliFile) {
  folder.write(".modal.toml", R"([one]
token_id = "ak-1"
token_secret = "as-1"

[two]
token_id = "ak-2"
token_secret = "as-2"
active = true
environment = "dev"
server_url = "https://own.example"

[default]
token_id = "ak-d"
token_secret = "as-d"
)");
  EXPECT_EQ(found().part("token_id").expose(), "ak-2");
  EXPECT_EQ(found().part("token_secret").expose(), "as-2");
  EXPECT_EQ(found().setting("environment")->value, "dev");
  EXPECT_EQ(found().endpoint("server_url")->value, "https://own.example");
  variables["MODAL_PROFILE"] = "one";
  EXPECT_EQ(found().part("token_id").expose(), "ak-1");
  variables["MODAL_PROFILE"] = "none";
  EXPECT_EQ(failure(),
            "finding the credential of modal: ~/.modal.toml (the Modal CLI's) has no profile 'none', which "
            "$MODAL_PROFILE names");
  variables.erase("MODAL_PROFILE");
  folder.write("elsewhere", "[default]\ntoken_id = \"ak-e\"\ntoken_secret = \"as-e\"\n");
  variables["MODAL_CONFIG_PATH"] = (folder.path() / "elsewhere").string();
  EXPECT_EQ(found().part("token_id").expose(), "ak-e");
}

TEST_F(ModalSpec, JudgesTheCliFile) {
  for (const auto& [file, reason] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"token_id = \"canary\"\n", " has, in line 1, a key outside every profile"},
           {"[a]\nactive = true\n[b]\nactive = true\n",
            " has two active profiles, 'a' and 'b'; run: modal profile activate NAME"},
           {"[a]\nactive = true\ntoken_id = 7\n", " has, in line 3, a token_id that is no text"},
           {"[a]\nactive = true\ntoken_id = canary\n",
            " is broken: line:3:12: not valid TOML (texts need quotes, a key stands in a table once "
            "only)"}}) {
    folder.write(".modal.toml", file);
    EXPECT_EQ(failure(),
              "finding the credential of modal: ~/.modal.toml (the Modal CLI's)" + std::string(reason));
  }
  folder.write(".modal.toml", "[a]\nactive = true\ntoken_id = \"ak-canary\"\n");
  EXPECT_EQ(failure(),
            "finding the credential of modal: token_id of profile 'a' in ~/.modal.toml without token_secret "
            "is only a part of a token; give all of it there, or nothing");
  for (const auto& [file, reason] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"", "has no profile;"},
           {"[a]\ntoken_id = \"canary\"\n", "has no active profile; run: modal profile activate NAME;"},
           {"[a]\nactive = true\n", "has no token in its profile 'a';"}}) {
    folder.write(".modal.toml", file);
    EXPECT_THAT(failure(), HasSubstr("; ~/.modal.toml (the Modal CLI's) " + std::string(reason)));
  }
}

}  // namespace
}  // namespace sandkey::modal
