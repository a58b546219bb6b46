#include "sandkey/credentials/helper_command.h"

#include "sandkey/config/small_file.h"
#include "sandkey/config/temp_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>

namespace sandkey {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kGood = R"({"version":1,"parts":{"api_key":"acme_a"}})";

const CredentialSpec& acme() {
  static const CredentialSpec spec{
      .provider = "acme",
      .forms = {{"an API key", {{.name = "api_key", .config_key = "", .variables = {}}}},
                {"a token",
                 {{.name = "token_id", .config_key = "", .variables = {}},
                  {.name = "token_secret", .config_key = "", .variables = {}}}}},
      .endpoints = {{.name = "api_url", .config_key = "", .variables = {}, .default_value = ""}},
      .keys_page = ""};
  return spec;
}

const auto kNow = std::chrono::sys_days(std::chrono::year(2026) / 11 / 23) + std::chrono::hours(1);

class HelperCommandTest : public testing::Test {
 protected:
  HelperCommandTest() { variables["PATH"] = "/usr/bin:/bin"; }

  Offer ask(std::string_view body) {
    helper.command = {folder.write("helper", "#!/bin/sh\n" + std::string(body) + "\n", 0700).string(),
                      "an argument"};
    return ask();
  }
  Offer ask() {
    return ask_helper(
        helper, acme(),
        [this](const std::string& name) -> std::optional<std::string> {
          const auto found = variables.find(name);
          if (found == variables.end()) return std::nullopt;
          return found->second;
        },
        kNow);
  }
  std::string written(const std::string& name) { return read_small_file(folder.path() / name).text; }

  TempFolder folder;
  std::map<std::string, std::string> variables;
  HelperCommand helper{.command = {}, .profile = "work"};
};

TEST_F(HelperCommandTest, GetsTheRequestAndAMinimalEnvironment) {
  variables["HOME"] = folder.path().string();
  variables["ACME_API_KEY"] = "canary";
  variables["LD_PRELOAD"] = "canary";
  const Offer offer =
      ask("cat > \"$HOME/request\"; env > \"$HOME/environment\"; pwd > \"$HOME/where\"; echo \"$1\" > "
          "\"$HOME/argument\"; ls -l /proc/self/fd > \"$HOME/fds\"; echo '" +
          std::string(kGood) + "'");
  ASSERT_EQ(offer.outcome, Offer::Outcome::found) << offer.reason;
  EXPECT_EQ(offer.parts.at("api_key").value.expose(), "acme_a");
  EXPECT_EQ(
      written("request"),
      R"({"version":1,"provider":"acme","profile":"work","forms":[["api_key"],["token_id","token_secret"]]})"
      "\n");
  EXPECT_EQ(written("argument"), "an argument\n");
  EXPECT_EQ(written("where"), "/\n");
  const std::string environment = written("environment");
  EXPECT_THAT(environment, HasSubstr("SANDKEY_PROVIDER=acme\n"));
  EXPECT_THAT(environment, HasSubstr("SANDKEY_PROFILE=work\n"));
  EXPECT_THAT(environment, HasSubstr("PATH=/usr/bin:/bin\n"));
  EXPECT_THAT(environment, Not(HasSubstr("canary")));
}

TEST_F(HelperCommandTest, FailsInEveryWayWithAReason) {
  struct Case {
    std::string body;
    std::string_view reason;
  };
  for (const Case& item : std::initializer_list<Case>{
           {"exit 3", "exited with 3"},
           {"echo 'no such entry' >&2; exit 1", "exited with 1; it said: no such entry"},
           {"kill -9 $$", "was ended by signal 9"},
           {"true", "printed something that is not one JSON document"},
           {"echo canary", "printed something that is not one JSON document"},
           {"echo '[]'", "printed JSON that is no object"},
           {"echo '{}'", "printed a reply without \"version\": 1"},
           {"echo '{\"version\":2}'", "printed a reply without \"version\": 1"},
           {"echo '{\"version\":1,\"parts\":\"canary\"}'", "printed a reply whose \"parts\" is no object"},
           {"echo '{\"version\":1,\"parts\":{\"api_key\":7}}'",
            "printed a reply whose \"parts\" has a \"api_key\" that is no text"},
           {"echo '{\"version\":1,\"parts\":{\"other\":\"canary\"}}'",
            "printed a reply whose \"parts\" has a \"other\", which is not known"},
           {"echo '{\"version\":1,\"parts\":{},\"endpoints\":{\"x\":\"y\"}}'",
            "printed a reply whose \"endpoints\" has a \"x\", which is not known"},
           {"echo '{\"version\":1,\"parts\":{},\"expires_at\":\"soon\"}'",
            "printed a reply whose \"expires_at\" is no time such as \"2030-01-31T12:00:00Z\""},
           {"echo '{\"version\":1,\"parts\":{},\"expires_at\":\"2026-11-23T01:00:00Z\"}'",
            "printed a credential that has already expired"},
           {"echo '" + std::string(kGood) + "'; exit 1", "exited with 1"},
           {"echo '" + std::string(kGood) + "'; echo '{}'",
            "printed something that is not one JSON document"},
           {"exec cat /dev/zero", "printed more than 65536 bytes"},
       }) {
    const Offer offer = ask(item.body);
    EXPECT_EQ(offer.outcome, Offer::Outcome::broken) << item.body;
    EXPECT_EQ(offer.reason, item.reason) << item.body;
  }
  helper.command = {(folder.path() / "nothing").string()};
  EXPECT_EQ(ask().reason, "cannot be started (No such file or directory)");
  helper.command = {folder.write("data", "x", 0600).string()};
  EXPECT_EQ(ask().reason, "cannot be started (Permission denied)");
}

TEST_F(HelperCommandTest, HasNoneToGive) {
  for (const char* reply :
       {R"({"version":1})", R"({"version":1,"parts":null})", R"({"version":1,"parts":{}})"}) {
    const Offer offer = ask("echo '" + std::string(reply) + "'");
    EXPECT_EQ(offer.outcome, Offer::Outcome::not_configured);
    EXPECT_EQ(offer.reason, "has no credential for this provider");
  }
}

TEST_F(HelperCommandTest, TakesEndpointAndExpiry) {
  const Offer offer = ask(
      R"(echo '{"version":1,"parts":{"token_id":"a","token_secret":"b"},"endpoints":{"api_url":"https://x"},"expires_at":"2026-11-23T03:00:00.5+01:00"}')");
  ASSERT_EQ(offer.outcome, Offer::Outcome::found) << offer.reason;
  EXPECT_EQ(offer.parts.size(), 2U);
  EXPECT_EQ(offer.endpoints.at("api_url").value, "https://x");
  EXPECT_EQ(*offer.expires_at, kNow + std::chrono::hours(1));
}

bool gone(pid_t pid) {
  return ::kill(pid, 0) != 0 || [&] {
    // Killed, but nobody has reaped it where there is no init.
    const std::string status = read_small_file("/proc/" + std::to_string(pid) + "/stat").text;
    return status.find(") Z ") != std::string::npos || status.empty();
  }();
}

pid_t number(const std::string& text) {
  pid_t pid = 0;
  std::from_chars(text.data(), text.data() + text.size(), pid);
  return pid;
}

TEST_F(HelperCommandTest, IsKilledAtItsDeadlineWithWhatItStarted) {
  variables["HOME"] = folder.path().string();
  helper.timeout = milliseconds(500);
  const Offer offer = ask("sleep 60 & echo $! > \"$HOME/child\"; echo waiting >&2; wait");
  EXPECT_EQ(offer.outcome, Offer::Outcome::broken);
  EXPECT_EQ(offer.reason, "did not end within 500 ms and was killed; it said: waiting");
  const pid_t child = number(written("child"));
  ASSERT_GT(child, 1);
  for (int i = 0; i < 500 && !gone(child); ++i) ::usleep(10'000);
  EXPECT_TRUE(gone(child));
}

TEST_F(HelperCommandTest, IsKilledAtItsDeadlineThoughItHasPrintedAll) {
  helper.timeout = milliseconds(500);
  EXPECT_EQ(ask("echo '" + std::string(kGood) + "'; exec >&-; sleep 60").reason,
            "did not end within 500 ms and was killed");
}

TEST_F(HelperCommandTest, NeedNotReadTheRequest) {
  EXPECT_EQ(ask("exec <&-; echo '" + std::string(kGood) + "'").outcome, Offer::Outcome::found);
}

TEST_F(HelperCommandTest, ErrorsAreShownWithoutKeys) {
  const std::string key = "acme_CANARY0123456789abcdef";
  for (const std::string& body : {"echo \"bad key " + key + "!\" >&2; exit 1",
                                  std::string("echo '{\"version\":1,\"parts\":{\"api_key\":\"CANARY\"}}'; "
                                              "echo 'bad key CANARY!' >&2; exit 1")}) {
    EXPECT_EQ(ask(body).reason, "exited with 1; it said: bad key [redacted]!");
  }
  const Offer loud = ask("i=0; while [ $i -lt 2000 ]; do echo 'word \x1b[31m' >&2; i=$((i+1)); done; exit 1");
  EXPECT_LT(loud.reason.size(), 600U);
  EXPECT_EQ(loud.reason.find('\n'), std::string::npos);
  EXPECT_EQ(loud.reason.find('\x1b'), std::string::npos);
}

TEST_F(HelperCommandTest, LeavesNoDescriptorsOrChildrenBehind) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = descriptors();
  helper.timeout = milliseconds(200);
  (void)ask("sleep 60");
  (void)ask("echo '" + std::string(kGood) + "'");
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(TimeFromText, ReadsRfc3339) {
  using namespace std::chrono;
  const auto base = sys_days(year(2026) / 11 / 23) + hours(2) + minutes(47) + seconds(29);
  EXPECT_EQ(time_from_text("2026-11-23T02:47:29Z"), base);
  EXPECT_EQ(time_from_text("2026-11-23t02:47:29.123456789z"), base);
  EXPECT_EQ(time_from_text("2026-11-23T04:47:29+02:00"), base);
  EXPECT_EQ(time_from_text("2026-11-22T21:17:29-05:30"), base);
  EXPECT_GT(time_from_text("9999-12-31T23:59:59Z"), base);
  EXPECT_LT(time_from_text("0001-01-01T00:00:00Z"), base);
  for (const char* text :
       {"", "2026-11-23", "2026-11-23T02:47:29", "2026-13-23T02:47:29Z", "2026-02-30T02:47:29Z",
        "2026-11-23T24:47:29Z", "2026-11-23T02:47:29.Z", "2026-11-23T02:47:29+2:00", "2026-11-23T02:47:29Zx",
        "2026-11-23T02:47:29+02:00x", "x026-11-23T02:47:29Z", "2026-11-23T02:47:29."}) {
    EXPECT_EQ(time_from_text(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace sandkey
