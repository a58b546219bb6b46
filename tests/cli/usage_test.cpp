// Help, completion, and what is refused before anything is started.
#include "sandkey/base/json.h"
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace sandkey::cli_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class CliUsage : public ::testing::Test {
 protected:
  TempDir here_;
  Program program_{here_};
};

const std::vector<std::string> kVerbs = {"run",    "python",    "shell",   "cp",        "forward", "url",
                                         "ls",     "rm",        "pause",   "resume",    "auth",    "config",
                                         "doctor", "providers", "emulate", "completion"};

TEST_F(CliUsage, HelpAndVersionSayWhatThereIs) {
  const Result version = program_.run({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.out, StartsWith("sandkey "));
  const Result help = program_.run({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("Examples:"), HasSubstr("125"), HasSubstr("SANDKEY_PROVIDER")));
  for (const std::string& verb : kVerbs) {
    EXPECT_THAT(help.out, HasSubstr("  " + verb));
    const Result one = program_.run({verb, "--help"});
    EXPECT_EQ(one.code, 0);
    EXPECT_THAT(one.out, HasSubstr("Examples:"));
    if (verb == "emulate") continue;  // another program's, which says what it has
    EXPECT_THAT(one.out, AllOf(HasSubstr("--json"), HasSubstr("--verbose"))) << verb;
  }
  for (const char* verb : {"run", "python", "shell"}) {
    const Result one = program_.run({verb, "--help"});
    for (const char* option : {"--provider", "--image", "--sid", "--keep", "--lease", "--network",
                               "--workspace", "--memory", "--disk", "--processes", "--env", "--cwd",
                               "--timeout", "--start-timeout", "--agent", "--session-key-file"}) {
      EXPECT_THAT(one.out, HasSubstr(option)) << verb;
    }
  }
  EXPECT_FALSE(fs::exists(program_.state_folder()));
}

TEST_F(CliUsage, BadUsageIs125WithOneLineAndAHint) {
  struct Case {
    std::vector<std::string> arguments;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{}, "see sandkey --help"},
      {{"--no-such-option"}, "see sandkey --help"},
      {{"no-such-verb"}, "see sandkey --help"},
      {{"run"}, "see sandkey run --help"},
      {{"run", "--"}, "see sandkey run --help"},
      {{"run", "--sid"}, "--sid"},
      {{"run", "--no-such-option", "--", "true"}, "'--no-such-option'; see sandkey run --help"},
      {{"run", "--no-such-option", "true"}, "'--no-such-option'; see sandkey run --help"},
      {{"python"}, "see sandkey python --help"},
      {{"shell", "word"}, "see sandkey shell --help"},
      {{"cp", "a"}, "see sandkey cp --help"},
      {{"cp", "a", "b", "c"}, "see sandkey cp --help"},
      {{"forward", "x"}, "see sandkey forward --help"},
      {{"url"}, "see sandkey url --help"},
      {{"rm"}, "see sandkey rm --help"},
      {{"pause"}, "see sandkey pause --help"},
      {{"resume"}, "see sandkey resume --help"},
      {{"completion"}, "see sandkey completion --help"},
      {{"completion", "fish"}, "none of bash|zsh"},
  };
  for (const Case& each : cases) {
    const Result result = program_.run(each.arguments);
    EXPECT_EQ(result.code, 125) << each.says;
    EXPECT_THAT(result.out, IsEmpty()) << each.says;
    EXPECT_THAT(result.err, AllOf(StartsWith("sandkey: "), HasSubstr(each.says)));
    EXPECT_EQ(count_lines(result.err), 1U) << result.err;
  }
  const Result document = program_.run({"rm", "--json"});
  EXPECT_EQ(find_string(parse_json(document.err, "x").as_object(), "error"), "invalid_argument");
  EXPECT_FALSE(fs::exists(program_.state_folder()));
}

TEST_F(CliUsage, BadValuesAre125WithOneLineThatNamesTheOption) {
  struct Case {
    std::vector<std::string> options;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{"--provider", "nowhere"}, "there are: local"},
      {{"--provider="}, "--provider"},
      {{"--lease", "soon"}, "--lease"},
      {{"--lease", "0"}, "--lease"},
      {{"--lease", "1e9h"}, "--lease"},
      {{"--memory", "much"}, "--memory"},
      {{"--memory", "0"}, "--memory"},
      {{"--memory", "1GiG"}, "--memory"},
      {{"--disk", "-1"}, "--disk"},
      {{"--disk", ""}, "--disk"},
      {{"--disk", "1e99G"}, "--disk"},
      {{"--processes", "0"}, "--processes"},
      {{"--processes", "many"}, "--processes"},
      {{"--processes", "99999999999"}, "--processes"},
      {{"--start-timeout", "never"}, "--start-timeout"},
      {{"--timeout", "1 s"}, "--timeout"},
      {{"--env", "=x"}, "--env"},
      {{"--sid="}, "--sid"},
      {{"--sid", std::string(257, 'x')}, "--sid"},
      {{"--sid", "a\tb"}, "--sid"},
      {{"--sid", "\xff"}, "--sid"},
  };
  for (const Case& each : cases) {
    std::vector<std::string> arguments = each.options;
    arguments.insert(arguments.begin(), "run");
    arguments.insert(arguments.end(), {"--", "true"});
    const Result result = program_.run(arguments);
    EXPECT_EQ(result.code, 125) << each.options.back();
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, AllOf(StartsWith("sandkey: "), HasSubstr(each.says))) << each.options.back();
    EXPECT_EQ(count_lines(result.err), 1U) << result.err;
  }
  program_.environment["SANDKEY_PROVIDER"] = "nowhere";
  EXPECT_THAT(program_.run({"run", "--", "true"}).err, HasSubstr("there are: local"));
  EXPECT_EQ(program_.run({"ls", "--provider", "nowhere"}).code, 125);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"forward", "x", "0"}, {"forward", "x", "65536"}, {"forward", "x", "a:b"}, {"url", "x", "http"}}) {
    const Result result = program_.run(arguments);
    EXPECT_EQ(result.code, 125);
    EXPECT_THAT(result.err, HasSubstr("a number from"));
  }
}

TEST_F(CliUsage, AnUnusableStateFolderIsSaidAtOnce) {
  write_file(here_ / "file", "");
  for (const std::string& folder : {std::string("relative"), here_ / "file", here_ / "file/below"}) {
    program_.environment["SANDKEY_STATE_DIR"] = folder;
    for (const std::vector<std::string>& arguments :
         std::vector<std::vector<std::string>>{{"run", "--", "true"}, {"ls"}, {"rm", "x"}}) {
      const Result result = program_.run(arguments);
      EXPECT_EQ(result.code, 125) << folder;
      EXPECT_THAT(result.err, AllOf(StartsWith("sandkey: "), HasSubstr(folder)));
      EXPECT_EQ(count_lines(result.err), 1U) << result.err;
    }
  }
}

TEST_F(CliUsage, WithoutBubblewrapNothingIsStarted) {
  program_.environment["PATH"] = here_.path();
  const Result result = program_.run({"run", "--", "true"});
  EXPECT_EQ(result.code, 125);
  EXPECT_THAT(result.err, HasSubstr("bubblewrap"));
  EXPECT_EQ(count_lines(result.err), 1U) << result.err;
  const Result table = program_.run({"providers"});
  EXPECT_EQ(table.code, 0);
  EXPECT_THAT(table.out, AllOf(HasSubstr("local"), HasSubstr("cannot be used now"), HasSubstr("bubblewrap")));
  const json::object document = program_.run_json({"providers", "--json"});
  const json::object& local = document.at("providers").as_array().at(0).as_object();
  EXPECT_EQ(find_string(local, "name"), "local");
  EXPECT_EQ(find_bool(local, "usable"), false);
  EXPECT_THAT(std::string(find_string(local, "reason").value_or("")), HasSubstr("bubblewrap"));
  const Result listed = program_.run({"ls"});
  EXPECT_EQ(listed.code, 125);  // nobody knows, so it is not shown as empty only
  EXPECT_THAT(listed.err, HasSubstr("bubblewrap"));
}

TEST_F(CliUsage, SessionsThatDoNotExistAreNamed) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"rm", "nosuch"},
                                             {"pause", "nosuch"},
                                             {"resume", "nosuch"},
                                             {"url", "nosuch", "80"},
                                             {"forward", "nosuch", "80"},
                                             {"cp", "nosuch:/x", "y"},
                                             {"cp", "/etc/hostname", "nosuch:/x"}}) {
    const Result result = program_.run(arguments);
    EXPECT_EQ(result.code, 125);
    if (why_no_sandboxes().empty()) {
      EXPECT_THAT(result.err, HasSubstr("nosuch"));
    }
    EXPECT_EQ(count_lines(result.err), 1U) << result.err;
  }
  EXPECT_THAT(program_.run({"cp", ":/x", "y"}).err, HasSubstr("--agent"));
  EXPECT_THAT(program_.run({"cp", "a:b", "y"}).err, HasSubstr("./a:b"));
}

// ---- completion

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

class CliCompletion : public CliUsage {
 protected:
  Result shell(const std::string& path, std::vector<std::string> arguments) const {
    Pipe out;
    Spawn spawn;
    spawn.argv = std::move(arguments);
    spawn.argv.insert(spawn.argv.begin(), path);
    spawn.environment = program_.spawn({}).environment;
    spawn.out = out.write.get();
    spawn.err = out.write.get();
    Process process(spawn);
    out.write.reset();
    Result result;
    result.out = read_all(out.read.get());
    result.code = process.wait();
    return result;
  }

  // What bash offers for the last of the words.
  std::vector<std::string> complete(const std::vector<std::string>& words) {
    if (!fs::exists(here_ / "bash")) write_file(here_ / "bash", program_.run({"completion", "bash"}).out);
    std::vector<std::string> arguments = {"--norc", "-c",
                                          "cd \"$1\" && source \"$1/bash\" && COMP_WORDS=(" SANDKEY_CLI
                                          " \"${@:2}\") COMP_CWORD=$(($# - 1)) && "
                                          "_sandkey && printf '%s\\n' \"${COMPREPLY[@]}\"",
                                          "bash", here_.path()};
    arguments.insert(arguments.end(), words.begin(), words.end());
    const Result result = shell("/bin/bash", arguments);
    EXPECT_EQ(result.code, 0) << result.out;
    return split_lines(result.out);
  }
};

TEST_F(CliCompletion, BashKnowsVerbsOptionsAndValues) {
  const Result registered = shell(
      "/bin/bash", {"--norc", "-c", "source <(" SANDKEY_CLI " completion bash) && complete -p sandkey"});
  EXPECT_THAT(registered.out, HasSubstr("_sandkey sandkey"));
  EXPECT_EQ(complete({""}), kVerbs);
  EXPECT_THAT(complete({"re"}), ElementsAre("resume"));
  EXPECT_THAT(complete({"--ver"}), Contains("--version"));
  EXPECT_THAT(complete({"-v", "r"}), ElementsAre("run", "rm", "resume"));
  EXPECT_THAT(complete({"run", "--ne"}), ElementsAre("--network"));
  EXPECT_THAT(complete({"run", "--provider", ""}),
              ElementsAre("local", "daytona", "e2b", "modal", "runloop"));
  EXPECT_THAT(complete({"run", "--provider", "=", "l"}), ElementsAre("local"));
  EXPECT_THAT(complete({"run", "--provider", "x", "--ne"}), ElementsAre("--network"));
  EXPECT_THAT(complete({"completion", ""}), ElementsAre("bash", "zsh"));
  EXPECT_THAT(complete({"rm", "--al"}), ElementsAre("--all"));
  EXPECT_THAT(complete({"run", "--lease", ""}), ElementsAre(""));
}

TEST_F(CliCompletion, BashCompletesFilesAndTheCommand) {
  fs::create_directory(here_ / "a folder");
  write_file(here_ / "a file", "");
  EXPECT_THAT(complete({"run", "--workspace", "a"}), ElementsAre("a folder"));
  EXPECT_THAT(complete({"cp", "a"}), ::testing::UnorderedElementsAre("a folder", "a file"));
  EXPECT_THAT(complete({"run", "--", "printe"}), Contains("printenv"));
  EXPECT_THAT(complete({"run", "printe"}), Contains("printenv"));
  EXPECT_THAT(complete({"run", "--", "cat", "a fi"}), ElementsAre("a file"));
  EXPECT_THAT(complete({"run", "--", "cat", "--ne"}), Not(Contains("--network")));
}

TEST_F(CliCompletion, ZshReadsTheScript) {
  const std::string zsh = "/usr/bin/zsh";
  if (!fs::exists(zsh)) GTEST_SKIP() << "there is no zsh";
  write_file(here_ / "_sandkey", program_.run({"completion", "zsh"}).out);
  const Result parsed = shell(zsh, {"-f", "-n", here_ / "_sandkey"});
  EXPECT_EQ(parsed.code, 0) << parsed.out;
  const Result loaded = shell(zsh, {"-f", "-c",
                                    "fpath=($1 $fpath); autoload -Uz compinit; compinit -u -d $1/dump; print "
                                    "${_comps[sandkey]}",
                                    "zsh", here_.path()});
  EXPECT_EQ(loaded.out, "_sandkey\n");
}

}  // namespace
}  // namespace sandkey::cli_test
