// auth and config: what they say, what they exit with, and that they never say a key.
#include "sandkey/accounts/scripted_cloud.h"
#include "sandkey/base/json.h"
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

namespace sandkey::cli_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class CliAuth : public ::testing::Test {
 protected:
  CliAuth() {
    program_.environment["SANDKEY_CONFIG_DIR"] = here_ / "config";
    api_.answer({{.body = "[]"}});
  }
  void use_e2b(const std::string& key = "e2b_0123456789abcdef") {
    program_.environment["E2B_API_KEY"] = key;
    program_.environment["E2B_API_URL"] = api_.url();
  }
  [[nodiscard]] std::string credentials() const { return here_ / "config/credentials.toml"; }

  TempDir here_;
  Program program_{here_};
  ScriptedApi api_;
};

TEST_F(CliAuth, StatusSaysWhichCredentialAndWhy) {
  const Result none = program_.run({"auth", "status"});
  EXPECT_EQ(none.code, 0);
  EXPECT_THAT(none.out, AllOf(HasSubstr("e2b       none"), HasSubstr("daytona"), HasSubstr("modal"),
                              HasSubstr("runloop")));
  EXPECT_EQ(program_.run({"auth", "status", "e2b"}).code, 3);
  use_e2b();
  const Result found = program_.run({"auth", "status", "e2b"});
  EXPECT_EQ(found.code, 0);
  EXPECT_THAT(found.out, AllOf(HasSubstr("E2B_API_KEY in the environment"), HasSubstr(api_.url())));
  const Result explained = program_.run({"auth", "status", "e2b", "--explain"});
  EXPECT_THAT(explained.out, AllOf(HasSubstr("environment   found"), HasSubstr("keyring       not asked")));
  EXPECT_EQ(program_.run({"auth", "status", "nowhere"}).code, 125);
  EXPECT_THAT(program_.run({"auth", "status", "local"}).err, HasSubstr("this provider needs none"));
  program_.environment["MODAL_TOKEN_ID"] = "ak-0123456789";
  EXPECT_EQ(program_.run({"auth", "status", "modal"}).code, 4);
  EXPECT_THAT(api_.lines(), IsEmpty()) << "status asks no provider";
}

TEST_F(CliAuth, CheckExitsWithWhatTheProviderSaid) {
  EXPECT_EQ(program_.run({"auth", "check", "e2b"}).code, 3);
  EXPECT_EQ(program_.run({"auth", "check"}).code, 3);
  use_e2b();
  const Result accepted = program_.run({"auth", "check", "e2b"});
  EXPECT_EQ(accepted.code, 0) << accepted.err;
  EXPECT_THAT(accepted.out, StartsWith("e2b: accepted, an API key with the fingerprint "));
  EXPECT_THAT(api_.lines(), ElementsAre("GET /v2/sandboxes?state=running&limit=1"));
  EXPECT_EQ(program_.run({"auth", "check"}).code, 0) << "those nobody uses are no failure";
  api_.answer({{.status = 401}});
  const Result refused = program_.run({"auth", "check", "e2b"});
  EXPECT_EQ(refused.code, 4);
  EXPECT_THAT(refused.err,
              AllOf(StartsWith("sandkey: checking the credential of e2b: E2B does not know this key"),
                    HasSubstr("from E2B_API_KEY in the environment"), HasSubstr("sandkey auth login e2b")));
  EXPECT_EQ(count_lines(refused.err), 1U);
  api_.answer({{.status = 403, .body = R"({"message":"team is banned"})"}});
  EXPECT_EQ(program_.run({"auth", "check", "e2b"}).code, 5);
  api_.answer({{.status = 400}});
  EXPECT_EQ(program_.run({"auth", "check", "e2b"}).code, 4);
  program_.environment["E2B_API_URL"] = "http://127.0.0.1:1";
  EXPECT_EQ(program_.run({"auth", "check", "e2b"}).code, 6);
  program_.environment["E2B_API_URL"] = "no address";
  EXPECT_EQ(program_.run({"auth", "check", "e2b"}).code, 4);
}

TEST_F(CliAuth, ABlockedAccountIsNotPermitted) {
  program_.environment["RUNLOOP_API_KEY"] = "ak_0123456789abcdef";
  program_.environment["RUNLOOP_BASE_URL"] = api_.url();
  api_.answer(
      {{.body = R"({"id":"acc_1","name":"Ann","account_status":"ACCOUNT_STATUS_DISABLED_BY_ADMIN"})"}});
  const Result result = program_.run({"auth", "check", "runloop"});
  EXPECT_EQ(result.code, 5);
  EXPECT_THAT(result.out, AllOf(HasSubstr("runloop: accepted"), HasSubstr("name: Ann")));
  EXPECT_THAT(result.err, HasSubstr("nothing can be created: the account was disabled by Runloop"));
}

TEST_F(CliAuth, ProgramsGetOneDocument) {
  use_e2b();
  json::object status = program_.run_json({"auth", "status", "e2b", "--json"});
  const json::object& first = status.at("providers").as_array().at(0).as_object();
  EXPECT_EQ(find_string(first, "provider"), "e2b");
  EXPECT_EQ(find_string(first.at("credential").as_object(), "source"), "E2B_API_KEY in the environment");
  EXPECT_EQ(first.at("steps").as_array().size(), 7U);
  json::object check = program_.run_json({"auth", "check", "e2b", "--json"});
  EXPECT_EQ(find_bool(check.at("providers").as_array().at(0).as_object(), "accepted"), true);
  api_.answer({{.status = 401}});
  check = program_.run_json({"auth", "check", "e2b", "--json"});
  const json::object& failed = check.at("providers").as_array().at(0).as_object();
  EXPECT_EQ(find_bool(failed, "accepted"), false);
  EXPECT_EQ(find_string(failed.at("failure").as_object(), "error"), "unauthenticated");
}

TEST_F(CliAuth, LoginChecksBeforeItSaves) {
  const std::vector<std::string> login{"auth", "login", "e2b", "--set", "api_url=" + api_.url()};
  api_.answer({{.status = 401}});
  const Result refused = program_.run(login, "e2b_wrong\n");
  EXPECT_EQ(refused.code, 4);
  EXPECT_THAT(refused.err, HasSubstr("nothing was saved"));
  EXPECT_FALSE(fs::exists(credentials()));
  api_.answer({{.body = "[]"}});
  const Result saved = program_.run(login, "  e2b_right\n");
  EXPECT_EQ(saved.code, 0) << saved.err;
  EXPECT_THAT(saved.out, HasSubstr("saved as profile 'default' in " + credentials()));
  EXPECT_EQ(mode_of(credentials()), 0600U);
  EXPECT_THAT(program_.run({"auth", "check", "e2b"}).out, HasSubstr("from profile 'default'"));
  EXPECT_THAT(api_.heads().back(), HasSubstr("X-API-Key: e2b_right\r\n"));

  const Result out = program_.run({"auth", "logout", "e2b"});
  EXPECT_EQ(out.code, 0);
  EXPECT_EQ(program_.run({"auth", "logout", "e2b"}).code, 3);
  EXPECT_EQ(program_.run({"auth", "status", "e2b"}).code, 3);
}

TEST_F(CliAuth, LoginKeepsSeveralAccountsApart) {
  for (const char* name : {"one", "two"}) {
    const Result saved =
        program_.run({"auth", "login", "e2b", "--profile", name, "--set", "api_url=" + api_.url()},
                     std::string("e2b_") + name + "key");
    EXPECT_EQ(saved.code, 0) << saved.err;
  }
  EXPECT_EQ(program_.run({"auth", "check", "e2b", "--profile", "one"}).code, 0);
  EXPECT_THAT(api_.heads().back(), HasSubstr("X-API-Key: e2b_onekey\r\n"));
  program_.environment["SANDKEY_PROFILE"] = "two";
  EXPECT_EQ(program_.run({"auth", "check", "e2b"}).code, 0);
  EXPECT_THAT(api_.heads().back(), HasSubstr("X-API-Key: e2b_twokey\r\n"));
  EXPECT_EQ(program_.run({"auth", "check", "e2b", "--profile", "three"}).code, 3);
}

TEST_F(CliAuth, LoginBindsTheKeyToThePlaceItWasCheckedAt) {
  program_.environment["E2B_API_URL"] = api_.url();
  const Result saved = program_.run({"auth", "login", "e2b"}, "e2b_key123");
  EXPECT_EQ(saved.code, 0) << saved.err;
  EXPECT_THAT(saved.err, HasSubstr("taking api_url from E2B_API_URL"));
  program_.environment.erase("E2B_API_URL");
  EXPECT_EQ(program_.run({"auth", "check", "e2b"}).code, 0);
  program_.environment["E2B_API_URL"] = "https://elsewhere.example";
  const Result moved = program_.run({"auth", "check", "e2b"});
  EXPECT_EQ(moved.code, 5);
  EXPECT_THAT(moved.err, HasSubstr("is bound to " + api_.url()));
}

TEST_F(CliAuth, LoginSaysWhatStillComesFirst) {
  use_e2b();
  const Result saved = program_.run({"auth", "login", "e2b"}, "e2b_another");
  EXPECT_EQ(saved.code, 0) << saved.err;
  EXPECT_THAT(saved.err,
              AllOf(HasSubstr("what counts without --profile is still an API key with the fingerprint "),
                    HasSubstr("E2B_API_KEY in the environment")));
}

TEST_F(CliAuth, LoginRefusesWhatCannotBe) {
  const auto refused = [&](std::vector<std::string> more, const std::string& input) {
    more.insert(more.begin(), {"auth", "login"});
    const Result result = program_.run(more, input);
    EXPECT_NE(result.code, 0);
    EXPECT_FALSE(fs::exists(credentials()));
    return result.err;
  };
  EXPECT_THAT(refused({"e2b"}, ""),
              HasSubstr("it has 0 lines with something in them, and an API key of e2b is 1: api_key"));
  EXPECT_THAT(refused({"e2b"}, "a\nb\n"), HasSubstr("it has 2 lines"));
  EXPECT_THAT(refused({"e2b"}, std::string(70'000, 'x')), HasSubstr("more than 64 KiB"));
  EXPECT_THAT(refused({"e2b"}, "two words"), HasSubstr("blank"));
  EXPECT_THAT(
      refused({"e2b", "--set", "api_key=x"}, "k"),
      HasSubstr("it must be NAME=VALUE with one of api_url, sandbox_url, domain; secrets are asked for"));
  EXPECT_THAT(refused({"e2b", "--set", "api_url=http://far.example"}, "e2b_key"), HasSubstr("cleartext"));
  EXPECT_THAT(refused({"e2b", "--form", "jwt"}, "k"), HasSubstr("there are: api_key"));
  EXPECT_THAT(refused({"local"}, "k"), HasSubstr("needs none"));
  EXPECT_THAT(refused({}, "k"), HasSubstr("it takes one provider"));
  EXPECT_THAT(program_.run({"auth", "check", "--unchecked"}).err, HasSubstr("go with login"));
}

TEST_F(CliAuth, OtherFormsAndUncheckedLogins) {
  const Result daytona = program_.run({"auth", "login", "daytona", "--unchecked", "--form", "jwt_token",
                                       "--set", "organization_id=org-1", "--set", "target=eu"},
                                      "eyJtoken123\n");
  EXPECT_EQ(daytona.code, 0) << daytona.err;
  EXPECT_THAT(daytona.err, HasSubstr("daytona: not checked"));
  EXPECT_THAT(program_.run({"auth", "status", "daytona"}).out, HasSubstr("a token with its organization"));
  program_.environment["MODAL_SERVER_URL"] = "http://127.0.0.1:1";  // where nobody is
  const Result modal =
      program_.run({"auth", "login", "modal", "--unchecked"}, "ak-0123456789\nas-0123456789\n");
  EXPECT_EQ(modal.code, 0);
  EXPECT_THAT(modal.err, HasSubstr("modal: not checked"));
  EXPECT_EQ(program_.run({"auth", "status", "modal"}).code, 0);
}

TEST_F(CliAuth, OnATerminalTheKeyIsAskedForAndNotShown) {
  program_.environment["E2B_API_URL"] = api_.url();
  TerminalProgram terminal(program_, {"auth", "login", "e2b"});
  std::string shown = terminal.read_until("not shown): ");
  // The question is printed before the terminal is silenced.
  ASSERT_TRUE(eventually([&] { return !terminal.cooked(); }));
  terminal.type("e2b_typedkey123\n");
  EXPECT_EQ(terminal.process().wait(), 0);
  EXPECT_TRUE(terminal.cooked());
  shown += terminal.read_rest();
  EXPECT_THAT(shown, AllOf(HasSubstr("saved as profile 'default'"), Not(HasSubstr("e2b_typedkey123"))));
  EXPECT_THAT(api_.heads().back(), HasSubstr("X-API-Key: e2b_typedkey123\r\n"));
}

TEST_F(CliAuth, ATerminalThatIsInterruptedSavesNothing) {
  TerminalProgram terminal(program_, {"auth", "login", "e2b"});
  (void)terminal.read_until("not shown): ");
  ASSERT_TRUE(eventually([&] { return !terminal.cooked(); }));
  terminal.type("e2b_half\x03");
  EXPECT_EQ(terminal.process().wait(), 125);
  EXPECT_TRUE(terminal.cooked());
  EXPECT_FALSE(fs::exists(credentials()));
}

TEST_F(CliAuth, ConfigShowsValuesAndWhereTheyCameFrom) {
  const std::string file = here_ / "settings.toml";
  write_file(file,
             "[core]\nruntime = \"docker\"\ne2b_api_key = \"e2b_secretsecret\"\nodd = 1\n[sandkey]\nlease = "
             "\"5m\"\n");
  program_.environment["SANDBOX_TIMEOUT"] = "7";
  program_.environment["SANDBOX_ENV_TOKEN"] = "secretsecret";
  const Result shown = program_.run({"config", "show", "--config", file, "--profile", "work"});
  EXPECT_EQ(shown.code, 0);
  EXPECT_THAT(shown.out, AllOf(HasSubstr("docker"), HasSubstr(file + ":2"),
                               HasSubstr("SANDBOX_TIMEOUT in the environment"), HasSubstr("[secret]"),
                               HasSubstr("--profile"), Not(HasSubstr("secretsecret"))));
  EXPECT_THAT(shown.err, HasSubstr(file + ":4: unknown key odd in [core]"));
  const json::object document = program_.run_json({"config", "show", "--json", "--config", file});
  EXPECT_EQ(find_string(document, "file"), file);
  EXPECT_EQ(document.at("warnings").as_array().size(), 1U);
  const Result absent = program_.run({"config", "show", "--config", here_ / "none"});
  EXPECT_EQ(absent.code, 125);
  EXPECT_EQ(count_lines(absent.err), 1U);
  write_file(file, "[sandbox]\ntimeuot = 3\n");
  EXPECT_THAT(program_.run({"ls", "--config", file}).err,
              HasSubstr(":2: unknown key timeuot in [sandbox]; did you mean timeout?"));
}

TEST_F(CliAuth, AnOpenHandsUsersFileWorksUnchanged) {
  if (const std::string why = why_no_sandboxes(); !why.empty()) GTEST_SKIP() << why;
  const std::string file = here_ / "config.toml";
  fs::create_directory(here_ / "workspace");
  write_file(file, "[core]\nruntime = \"docker\"\nworkspace_base = \"" + (here_ / "workspace") +
                       "\"\nmax_iterations = 100\n[llm]\nmodel = \"m\"\n[sandbox]\ntimeout = 60\n[agent]\n");
  const Result result = program_.run({"run", "--config", file, "--", "sh", "-c", "echo hi > made; cat made"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "hi\n");
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_EQ(read_file(here_ / "workspace/made"), "hi\n");
}

// ---- the canary

constexpr char kCanary[] = "canary-7f3a9e21d4";

struct Place {
  std::string name;
  std::function<void(std::map<std::string, std::string>& environment, const std::string& home)> put;
};

std::vector<Place> places(const std::string& url) {
  const std::string key = std::string("e2b_") + kCanary;
  const auto file = [](const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(path).parent_path());
    ::chmod(fs::path(path).parent_path().c_str(), 0700);
    write_file(path, text);
    ::chmod(path.c_str(), 0600);
  };
  return {
      {"environment", [=](auto& environment, const std::string&) { environment["E2B_API_KEY"] = key; }},
      {"config.toml",
       [=](auto&, const std::string& home) {
         file(home + "/settings.toml",
              "[core]\ne2b_api_key = \"" + key + "\"\ne2b_api_url = \"" + url + "\"\n");
       }},
      {"profile",
       [=](auto&, const std::string& home) {
         file(home + "/config/credentials.toml", "[default.e2b]\napi_key = \"" + key + "\"\n");
       }},
      {"helper",
       [=](auto&, const std::string& home) {
         file(home + "/helper/key", "#!/bin/sh\necho " + key +
                                        " >&2\necho '{\"version\":1,\"parts\":{\"api_key\":\"" + key +
                                        "\"}}'\n");
         ::chmod((home + "/helper/key").c_str(), 0700);
         file(home + "/config/credentials.toml", "[default.e2b]\nhelper = [\"" + home + "/helper/key\"]\n");
       }},
      {"a failing helper",
       [=](auto&, const std::string& home) {
         file(home + "/helper/key", "#!/bin/sh\necho cannot use " + key + " >&2\necho " + key + "\nexit 3\n");
         ::chmod((home + "/helper/key").c_str(), 0700);
         file(home + "/config/credentials.toml", "[default.e2b]\nhelper = [\"" + home + "/helper/key\"]\n");
       }},
      {"the vendor's file",
       [=](auto&, const std::string& home) {
         file(home + "/.e2b/config.json",
              R"({"version":2,"projectApiKey":")" + key + R"(","tokens":{"access_token":")" + key + R"("}})");
       }},
      {"a value that cannot be a key",
       [=](auto& environment, const std::string&) { environment["E2B_API_KEY"] = key + " " + key; }},
      {"the place of an address",
       [=](auto& environment, const std::string&) {
         environment["E2B_API_KEY"] = key;
         environment["E2B_API_URL"] = key;
       }},
      {"half a pair",
       [=](auto& environment, const std::string&) { environment["MODAL_TOKEN_SECRET"] = key; }},
      {"the place of a domain",
       [=](auto& environment, const std::string&) { environment["E2B_DOMAIN"] = key + "/x"; }},
  };
}

// Every process of this machine that shows the canary in its command line or was given it, but for those in
// `own`.
std::vector<std::string> processes_with_canary(pid_t own) {
  std::vector<std::string> found;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    for (const char* file : {"cmdline", "environ"}) {
      std::ifstream stream(entry.path() / file, std::ios::binary);
      const std::string text((std::istreambuf_iterator<char>(stream)), {});
      const bool may = std::string(file) == "environ" && name == std::to_string(own);
      if (text.find(kCanary) != std::string::npos && !may) found.push_back(name + "/" + file);
    }
  }
  return found;
}

TEST_F(CliAuth, NoOutputFileOrProcessEverShowsAKey) {
  const std::vector<std::vector<std::string>> kCommands = {
      {"auth", "status"},
      {"auth", "status", "--explain", "-v"},
      {"auth", "status", "--json"},
      {"auth", "check", "-v"},
      {"auth", "check", "e2b", "--explain", "-v"},
      {"auth", "check", "--json"},
      {"config", "show"},
      {"config", "show", "--json"},
      {"providers", "-v"},
      {"providers", "--json"},
      {"doctor", "-v"},
      {"doctor", "--json"},
      {"ls", "--provider", "e2b", "-v"},
      {"run", "--provider", "e2b", "-v", "--", "true"},
      {"auth", "logout", "runloop"},
  };
  const std::string echo = std::string("you sent e2b_") + kCanary;
  for (const Place& place : places(api_.url())) {
    TempDir home;
    Program program(home);
    program.environment["E2B_API_URL"] = api_.url();
    program.environment["SANDKEY_CONFIG_DIR"] = home / "config";
    if (place.name == "config.toml") program.environment.erase("E2B_API_URL");
    place.put(program.environment, home.path());
    for (const ScriptedAnswer& answer : std::vector<ScriptedAnswer>{
             {.body = "[]"},
             {.status = 401,
             .body = R"({"code":401,"message":")" + echo + "\"}",
             .headers = "X-Request-Id: " + echo + "\r\n"},
             {.status = 302,
             .body = echo,
             .headers = "Location: https://elsewhere.example/" + std::string(kCanary) + "\r\n"},
             {.body = echo}}) {
      api_.answer({answer});
      for (std::vector<std::string> command : kCommands) {
        if (fs::exists(home / "settings.toml")) {
          const auto verb_end = command.begin() + 1;
          command.insert(verb_end, {"--config", home / "settings.toml"});
        }
        const Result result = program.run(command);
        EXPECT_THAT(result.out + result.err, Not(HasSubstr(kCanary)))
            << place.name << ": " << ::testing::PrintToString(command) << " " << answer.status;
      }
    }
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(home / "state")) {
      if (!entry.is_regular_file()) continue;
      EXPECT_THAT(read_file(entry.path()), Not(HasSubstr(kCanary))) << entry.path();
    }
  }
}

TEST_F(CliAuth, NeitherSandboxesNorWhatKeepsThemAreGivenAKey) {
  if (const std::string why = why_no_sandboxes(); !why.empty()) GTEST_SKIP() << why;
  use_e2b(std::string("e2b_") + kCanary);
  Pipe in;
  Pipe out;
  Spawn spawn = program_.spawn({"run", "--", "sh", "-c", "env; echo ready; cat"});
  spawn.in = in.read.get();
  spawn.out = out.write.get();
  Process process(spawn);
  in.read.reset();
  out.write.reset();
  const std::string inside = read_until(out.read.get(), "ready");
  EXPECT_THAT(inside, Not(HasSubstr(kCanary)));
  EXPECT_THAT(processes_with_canary(process.pid()), IsEmpty());
  in.write.reset();
  EXPECT_EQ(process.wait(), 0);
}

}  // namespace
}  // namespace sandkey::cli_test
