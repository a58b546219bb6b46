#include "sandkey/credentials/profile_file.h"

#include "sandkey/base/error.h"
#include "sandkey/config/small_file.h"
#include "sandkey/config/temp_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace sandkey {
namespace {

using testing::ElementsAre;

const CredentialSpec& spec_of(std::string_view provider) {
  static const CredentialSpec acme{
      .provider = "acme",
      .forms = {{"an API key", {{.name = "api_key", .config_key = "", .variables = {}}}}},
      .endpoints = {},
      .keys_page = ""};
  static const CredentialSpec other{
      .provider = "other",
      .forms = {{"an API key", {{.name = "api_key", .config_key = "", .variables = {}}}}},
      .endpoints = {},
      .keys_page = ""};
  return provider == "acme" ? acme : other;
}

class ProfileFileTest : public testing::Test {
 protected:
  void save(std::string_view profile, std::string_view provider, std::string_view key,
            bool cleartext = false) {
    std::vector<ProfileFile::Line> lines;
    lines.push_back({"api_key", Secret(key)});
    file.save(profile, provider, lines, cleartext);
  }
  std::string text() { return read_small_file(file.path()).text; }
  std::string key(std::string_view profile, std::string_view provider = "acme") {
    const ProfileEntry entry = file.read(spec_of(provider), profile);
    const auto part = entry.offer.parts.find("api_key");
    return part == entry.offer.parts.end() ? "(" + folder.shortened(entry.offer.reason) + ")"
                                           : std::string(part->second.value.expose());
  }
  std::string failure(const std::function<void()>& work) {
    try {
      work();
    } catch (const Error& error) {
      return folder.shortened(error.what());
    }
    return "(done)";
  }

  TempFolder folder;
  ProfileFile file{folder.path() / "config" / "sandkey"};
};

TEST_F(ProfileFileTest, MakesAPrivateFileInPrivateFolders) {
  const mode_t before = ::umask(0);
  save("default", "acme", "one");
  ::umask(before);
  struct stat info {};
  ASSERT_EQ(::stat(file.path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0600U);
  ASSERT_EQ(::stat(file.path().parent_path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0700U);
  EXPECT_EQ(text(), "[default.acme]\napi_key = \"one\"\n");
  EXPECT_EQ(key("default"), "one");
  // Nothing else is left lying about.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(file.path().parent_path()), {}), 1);
}

TEST_F(ProfileFileTest, ReplacesOneEntryAndLeavesTheRestAsItIs) {
  folder.write("config/sandkey/credentials.toml", R"(# mine
[default.acme]  # the old one
api_key = "one"
# of the old one

# about the other
[default.other]
api_key = """
[default.acme]
"""

[ work . acme ]
api_key = "three"
)");
  save("default", "acme", "new \"quoted\"", true);
  EXPECT_EQ(text(), R"(# mine
[default.acme]
api_key = "new \"quoted\""
allow_cleartext = true

# of the old one

# about the other
[default.other]
api_key = """
[default.acme]
"""

[ work . acme ]
api_key = "three"
)");
  EXPECT_EQ(key("default"), "new \"quoted\"");
  EXPECT_TRUE(file.read(spec_of("acme"), "default").allow_cleartext);
  save("work", "acme", "four");
  save("more", "acme", "five");
  EXPECT_EQ(key("work"), "four");
  EXPECT_EQ(key("more"), "five");
  EXPECT_EQ(key("default", "other"), "[default.acme]\n");
  EXPECT_THAT(file.profiles(), ElementsAre("default", "work", "more"));
  EXPECT_TRUE(file.remove("default", "acme"));
  EXPECT_FALSE(file.remove("default", "acme"));
  EXPECT_FALSE(file.remove("nobody", "acme"));
  EXPECT_TRUE(file.remove("work", "acme"));
  EXPECT_EQ(text(), R"(# mine

# of the old one

# about the other
[default.other]
api_key = """
[default.acme]
"""


[more.acme]
api_key = "five"
)");
}

TEST_F(ProfileFileTest, RefusesToEditWhatItCannotTellApart) {
  constexpr std::string_view kInline = "default = { acme = { api_key = \"one\" } }\n";
  folder.write("config/sandkey/credentials.toml", kInline);
  const std::string refusal =
      "writing ~/config/sandkey/credentials.toml: [default.acme] is not written there as a section of its "
      "own; edit "
      "it by hand";
  EXPECT_EQ(failure([&] { save("default", "acme", "two"); }), refusal);
  EXPECT_EQ(failure([&] { file.remove("default", "acme"); }), refusal);
  EXPECT_EQ(text(), kInline);
  constexpr std::string_view kList =
      "[default.acme]\napi_key = \"one\"\nhelper = [\n  [\n]]\n[x.acme]\napi_key = \"y\"\n";
  folder.write("config/sandkey/credentials.toml", kList);
  EXPECT_EQ(failure([&] { save("default", "acme", "two"); }), refusal);
  EXPECT_EQ(text(), kList);
}

TEST_F(ProfileFileTest, WritesOnlyWhereItWouldRead) {
  EXPECT_FALSE(file.remove("default", "acme"));
  EXPECT_EQ(failure([&] { save("a b", "acme", "x"); }),
            "writing ~/config/sandkey/credentials.toml: a profile's name is made of 1 to 64 letters, digits, "
            "'_' and "
            "'-'");
  folder.write("config/sandkey/credentials.toml", "nonsense canary");
  EXPECT_EQ(failure([&] { save("default", "acme", "x"); }),
            "~/config/sandkey/credentials.toml:1:10: not valid TOML (texts need quotes, a key stands in a "
            "table once "
            "only)");
  folder.write("config/sandkey/credentials.toml", "", 0604);
  EXPECT_EQ(failure([&] { save("default", "acme", "x"); }),
            "~/config/sandkey/credentials.toml is open to others (mode 0604); run: chmod 600 "
            "'~/config/sandkey/credentials.toml'");
  folder.write("config/sandkey/credentials.toml", "");
  ASSERT_EQ(::chmod(file.path().parent_path().c_str(), 0755), 0);
  EXPECT_EQ(failure([&] { save("default", "acme", "x"); }),
            "~/config/sandkey is open to others (mode 0755); run: chmod 700 '~/config/sandkey'");
}

TEST_F(ProfileFileTest, LosesNothingToWritersAtTheSameTime) {
  constexpr int kWriters = 8;
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([this, i] { save("profile" + std::to_string(i), "acme", std::to_string(i)); });
  }
  for (std::thread& writer : writers) writer.join();
  for (int i = 0; i < kWriters; ++i) EXPECT_EQ(key("profile" + std::to_string(i)), std::to_string(i));
}

TEST_F(ProfileFileTest, AHelperOfTheProfileServesAllItsProviders) {
  folder.write("config/sandkey/credentials.toml",
               "[default]\nhelper = [\"/bin/all\", \"x\"]\nhelper_timeout = \"2s\"\n[default.acme]\nhelper = "
               "[\"/bin/own\"]\n");
  EXPECT_THAT(file.read(spec_of("acme"), "default").helper, ElementsAre("/bin/own"));
  const ProfileEntry other = file.read(spec_of("other"), "default");
  EXPECT_THAT(other.helper, ElementsAre("/bin/all", "x"));
  EXPECT_EQ(other.helper_timeout, std::chrono::seconds(2));
}

TEST(ConfigFolder, ComesFromTheFirstVariableThatIsSet) {
  std::map<std::string, std::string> variables{{"HOME", "/h"}};
  const Environment environment = [&](const std::string& name) -> std::optional<std::string> {
    return variables.contains(name) ? std::optional(variables[name]) : std::nullopt;
  };
  EXPECT_EQ(config_folder(environment), "/h/.config/sandkey");
  variables["XDG_CONFIG_HOME"] = "/x";
  EXPECT_EQ(config_folder(environment), "/x/sandkey");
  variables["SANDKEY_CONFIG_DIR"] = "";
  EXPECT_EQ(config_folder(environment), "/x/sandkey");
  variables["SANDKEY_CONFIG_DIR"] = "/s";
  EXPECT_EQ(config_folder(environment), "/s");
  variables["SANDKEY_CONFIG_DIR"] = "relative";
  EXPECT_EQ(config_folder(environment), std::nullopt);
}

}  // namespace
}  // namespace sandkey
