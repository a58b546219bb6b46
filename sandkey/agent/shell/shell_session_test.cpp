#include "sandkey/agent/shell/shell_session.h"

#include "sandkey/agent/process.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

extern char** environ;

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

constexpr const char* kWhatNow =
    "You may wait longer to see additional output by sending empty command '', send other commands to "
    "interact "
    "with the current process, send keys (\"C-c\", \"C-z\", \"C-d\") to interrupt/kill the previous command "
    "before "
    "sending your new command, or use the timeout parameter in execute_bash for future commands.";
constexpr const char* kContinued = "[Below is the output of the previous command.]\n";
// Long enough for any command that ends by itself; a test that needs it fails anyway.
constexpr double kLong = 60;
// For commands that never end by themselves.
constexpr double kShort = 0.1;

struct Result {
  std::string text;
  bool error = false;  // an ErrorObservation
  CmdOutputObservation output;
  [[nodiscard]] std::int64_t exit_code() const { return output.metadata.exit_code; }
  [[nodiscard]] const std::string& prefix() const { return output.metadata.prefix; }
  [[nodiscard]] const std::string& suffix() const { return output.metadata.suffix; }
};

bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return false;
  const std::size_t state = line.rfind(") ");
  return state != std::string::npos && line[state + 2] != 'Z';
}

// Whether a process that was sent SIGKILL is gone. The kernel takes it down as soon as it is scheduled, so
// this only bounds how long a failing test takes.
bool disappears(pid_t pid) {
  const auto until = std::chrono::steady_clock::now() + 30s;
  while (is_alive(pid)) {
    if (std::chrono::steady_clock::now() > until) return false;
    ::sched_yield();
  }
  return true;
}

long peak_memory_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtol(line.c_str() + 6, nullptr, 10);
  }
  return 0;
}

// A home of its own, with an empty .bashrc, and an agent's one thread with a session on it.
class ShellSessionTest : public testing::Test {
 protected:
  ShellSessionTest() {
    std::string name = fs::temp_directory_path() / "sandkey-shell-test-XXXXXX";
    home_ = ::mkdtemp(name.data());
    home_ = fs::canonical(home_);
    fs::create_directory(home_ / "tmp");
    write(".bashrc", "");
    if (const char* old = std::getenv("TMPDIR")) old_tmp_ = old;
    ::setenv("TMPDIR", (home_ / "tmp").c_str(), 1);  // where sessions make their private folders
    for (char** entry = environ; *entry != nullptr; ++entry) options_.environment.emplace_back(*entry);
    set_environment_value(options_.environment, "HOME", home_.string());
    set_environment_value(options_.environment, "LANG", "C.UTF-8");
    set_environment_value(options_.environment, "LC_ALL", "C.UTF-8");
    options_.working_dir = home_;
    options_.username = "somebody";
    options_.hostname = "somewhere";
    options_.soft_timeout = 30s;
  }

  ~ShellSessionTest() override {
    session_.reset();
    if (old_tmp_.empty()) {
      ::unsetenv("TMPDIR");
    } else {
      ::setenv("TMPDIR", old_tmp_.c_str(), 1);
    }
    std::error_code ignored;
    fs::remove_all(home_, ignored);
  }

  void write(const std::string& name, const std::string& text) const { std::ofstream(home_ / name) << text; }
  [[nodiscard]] std::string path(const std::string& name) const { return home_ / name; }

  // The only shell found in PATH from now on.
  void use_shell(const std::string& program, const std::vector<std::string>& others = {}) {
    const fs::path bin = home_ / "bin";
    fs::create_directory(bin);
    fs::create_symlink(program, bin / "sh");
    for (const std::string& name : others) {
      const std::string found = find_program(name, options_.environment);
      if (!found.empty()) fs::create_symlink(found, bin / name);
    }
    set_environment_value(options_.environment, "PATH", bin.string());
  }

  ShellSession& session() {
    if (!session_) session_ = std::make_unique<ShellSession>(io_.get_executor(), reaper_, options_);
    return *session_;
  }

  Result run(CmdRunAction action, std::optional<double> timeout = kLong) {
    std::optional<Observation> out;
    std::exception_ptr failure;
    bool done = false;
    asio::co_spawn(io_, session().execute(std::move(action), timeout),
                   [&](std::exception_ptr error, Observation observation) {
                     failure = error;
                     out.emplace(std::move(observation));
                     done = true;
                   });
    io_.restart();
    while (!done) io_.run_one();
    if (failure) std::rethrow_exception(failure);
    Result result;
    result.text = out->content;
    if (const auto* output = out->as<CmdOutputObservation>()) {
      result.output = *output;
    } else {
      result.error = out->as<ErrorObservation>() != nullptr;
    }
    return result;
  }
  Result run(const std::string& command, std::optional<double> timeout = kLong) {
    return run(CmdRunAction{.command = command}, timeout);
  }
  Result input(const std::string& text, std::optional<double> timeout = kLong) {
    return run(CmdRunAction{.command = text, .is_input = true}, timeout);
  }

  // Runs or feeds, and polls until the running program has printed `wanted`; all of its output so far. What
  // else happens (the end of it) is in `last_`.
  std::string until(Result first, const std::string& wanted) {
    last_ = std::move(first);
    std::string all = last_.text;
    const auto limit = std::chrono::steady_clock::now() + 60s;
    while (all.find(wanted) == std::string::npos && last_.exit_code() == -1 &&
           std::chrono::steady_clock::now() < limit) {
      last_ = run("", kShort);
      all += last_.text;
    }
    return all;
  }
  // Starts a command that goes on after printing `wanted`.
  std::string start(const std::string& command, const std::string& wanted) {
    return until(run(command, kShort), wanted);
  }
  // Waits for the end of what runs.
  Result finish(Result first) {
    const auto limit = std::chrono::steady_clock::now() + 60s;
    while (first.suffix().find("ended with") == std::string::npos &&
           first.suffix().find("completed with") == std::string::npos &&
           std::chrono::steady_clock::now() < limit) {
      Result next = run("", kLong);
      next.text = first.text + next.text;
      first = std::move(next);
    }
    return first;
  }

  // The session's private folder.
  [[nodiscard]] std::string private_folder() const {
    for (const auto& entry : fs::directory_iterator(home_ / "tmp")) {
      if (entry.path().filename().string().starts_with("sandkey-")) return entry.path();
    }
    return {};
  }

  void expect_good() {
    const Result after = run("echo still good");
    EXPECT_EQ(after.text, "still good");
    EXPECT_EQ(after.exit_code(), 0);
  }

  fs::path home_;
  std::string old_tmp_;
  ShellOptions options_;
  asio::io_context io_;
  ChildReaper reaper_{io_.get_executor()};
  std::unique_ptr<ShellSession> session_;
  Result last_;
};

// --- Ordinary commands --------------------------------------------------------------------------------

TEST_F(ShellSessionTest, ReportsOutputExitCodeAndWhereItIs) {
  const Result result = run("echo hello; (exit 42)");
  EXPECT_EQ(result.text, "hello");
  EXPECT_EQ(result.exit_code(), 42);
  EXPECT_EQ(result.prefix(), "");
  EXPECT_EQ(result.suffix(), "\n[The command completed with exit code 42.]");
  EXPECT_EQ(result.output.metadata.working_dir, home_.string());
  EXPECT_EQ(result.output.metadata.username, "somebody");
  EXPECT_EQ(result.output.metadata.hostname, "somewhere");
  EXPECT_EQ(result.output.metadata.pid, -1);
  EXPECT_EQ(result.output.command, "echo hello; (exit 42)");
}

TEST_F(ShellSessionTest, ACommandWithoutOutputIsEmpty) {
  EXPECT_EQ(run("true").text, "");
  EXPECT_EQ(run("false").exit_code(), 1);
}

TEST_F(ShellSessionTest, AnUnknownProgramIsExitCode127) {
  const Result result = run("sandkey_no_such_program");
  EXPECT_EQ(result.text, "bash: sandkey_no_such_program: command not found");
  EXPECT_EQ(result.exit_code(), 127);
}

TEST_F(ShellSessionTest, CarriesTheExitStatusToTheNextCommand) {
  (void)run("(exit 7)");
  EXPECT_EQ(run("echo $?").text, "7");
  EXPECT_EQ(run("echo $?").text, "0");
}

TEST_F(ShellSessionTest, KeepsFolderVariablesFunctionsAliasesAndArrays) {
  fs::create_directory(home_ / "a folder");
  EXPECT_EQ(run("cd 'a folder'").output.metadata.working_dir, path("a folder"));
  EXPECT_EQ(session().working_dir(), path("a folder"));
  EXPECT_EQ(run("pwd").text, path("a folder"));
  (void)run("export SHOWN=1; hidden=2");
  EXPECT_EQ(run("echo $SHOWN $hidden; env | grep -c -e ^SHOWN= -e ^hidden=").text, "1 2\n1");
  (void)run("greet() { echo \"hello $1\"; return 5; }");
  const Result called = run("greet you");
  EXPECT_EQ(called.text, "hello you");
  EXPECT_EQ(called.exit_code(), 5);
  (void)run("alias shout='echo loud'");
  EXPECT_EQ(run("shout").text, "loud");
  (void)run("list=(one two three)");
  EXPECT_EQ(run("echo ${list[1]} ${#list[@]}").text, "two 3");
  (void)run("declare -A map; map[key]=value");
  EXPECT_EQ(run("echo ${map[key]}").text, "value");  // would be lost if commands ran inside a function
  (void)run("set -- x y z");
  EXPECT_EQ(run("echo $# $2").text, "3 y");
}

TEST_F(ShellSessionTest, NothingOfItsOwnReachesChildren) {
  EXPECT_EQ(run("env | grep -i -e __sk -e '^ENV='").exit_code(), 1);
  EXPECT_EQ(run("ls /proc/self/fd | tr '\\n' ' '").text, "0 1 2 3");  // 3 is the folder that ls reads
}

TEST_F(ShellSessionTest, RunsHereDocumentsAndCommandsOfSeveralLines) {
  EXPECT_EQ(run("cat <<'END'\n$HOME `x` \\\n\ttab\nEND").text, "$HOME `x` \\\n        tab");
  EXPECT_EQ(run("for i in 1 2 3; do\n  echo \"n $i\"\ndone").text, "n 1\nn 2\nn 3");
  EXPECT_EQ(run("echo one && \\\n  echo two").text, "one\ntwo");
  EXPECT_EQ(run("echo 'first\nsecond\n\nlast'").text, "first\nsecond\n\nlast");
}

TEST_F(ShellSessionTest, RefusesSeveralCommandsAtOnce) {
  const Result result = run("echo a\necho b");
  EXPECT_TRUE(result.error);
  EXPECT_EQ(result.text,
            "ERROR: Cannot execute multiple commands at once.\nPlease run each command separately OR chain "
            "them into "
            "a single command via && or ;\nProvided commands:\n(1) echo a\n(2) echo b");
}

TEST_F(ShellSessionTest, TakesUnicodeLongLinesAndTabs) {
  EXPECT_EQ(run("echo 'grüße, 世界 🦉'").text, "grüße, 世界 🦉");
  EXPECT_EQ(run("printf 'a  \\n\\tb\\n'").text, "a\n        b");
  const std::string word(200'000, 'w');
  EXPECT_EQ(run("x=" + word + "; echo ${#x}").text, "200000");
  EXPECT_EQ(run("printf '%s' \"${x:0:5000}\"").text, std::string(5000, 'w'));
}

TEST_F(ShellSessionTest, BinaryOutputIsValidTextAndHarmless) {
  const Result result = run("head -c 300000 /dev/urandom; (exit 9)");
  EXPECT_EQ(result.exit_code(), 9);
  (void)run("printf '\\033c\\033[?1049l\\017'");
  EXPECT_EQ(run("printf '\\000a\\377\\376b\\n'").exit_code(), 0);
  expect_good();
}

// Programs ask the terminal where its cursor is, or what it is; the answer comes as input.
TEST_F(ShellSessionTest, AnswersOfTheTerminalNeverBecomeCommands) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(run("printf '\\033[6n\\033[c\\033[5n'; (exit 3)").exit_code(), 3);
    // An answer that came as the program ended may be echoed, as any terminal does.
    const Result next = run("echo '<" + std::to_string(i) + ">'");
    ASSERT_THAT(next.text, EndsWith("<" + std::to_string(i) + ">"));
    ASSERT_EQ(next.exit_code(), 0);
  }
  EXPECT_THAT(finish(run("stty -echo -icanon; printf '\\033[6n'; IFS= read -r -d R answer; stty echo icanon; "
                         "printf '%q\\n' \"$answer\""))
                  .text,
              HasSubstr("[1;1"));
}

TEST_F(ShellSessionTest, StripsColoursAndFollowsProgressBars) {
  EXPECT_EQ(run("printf '\\033[1;31mred\\033[0m and \\033[38;5;82mgreen\\033[m\\n'").text, "red and green");
  EXPECT_EQ(run("for i in 1 2 3; do printf '\\r%d%%' $((i * 30)); done; printf '\\r100%%\\ndone\\n'").text,
            "100%\ndone");
}

TEST_F(ShellSessionTest, OutputWithoutNewlineAtItsEndIsComplete) {
  EXPECT_EQ(run("printf abc").text, "abc");
  EXPECT_EQ(run("printf def").text, "def");
}

TEST_F(ShellSessionTest, ReportsTheLastBackgroundJob) {
  const Result result = run("cat /dev/zero >/dev/null & echo pid $!");
  const std::string pid = std::to_string(result.output.metadata.pid);
  EXPECT_THAT(result.text, HasSubstr("pid " + pid));
  EXPECT_EQ(run("true").output.metadata.pid, result.output.metadata.pid);
  EXPECT_THAT(run("jobs").text, HasSubstr("Running"));
  EXPECT_EQ(run("kill %1; wait").exit_code(), 0);
}

TEST_F(ShellSessionTest, ASyntaxErrorIsReportedNotAwaited) {
  for (const char* broken : {"echo 'unclosed", "if true; then", "(", "echo $(", "cat <<X\nbody"}) {
    const Result result = run(broken);
    EXPECT_THAT(result.suffix(), HasSubstr("completed with exit code")) << broken;
  }
  expect_good();
}

TEST_F(ShellSessionTest, HistoryStaysEmpty) {
  EXPECT_EQ(run("history").text, "");
}

// --- Commands that are hard on the shell ----------------------------------------------------------------

TEST_F(ShellSessionTest, WorksUnderEveryShellOption) {
  for (const char* option :
       {"set -u", "set -x", "set -v", "set -f", "set -C", "set -o posix", "set -e", "set -o pipefail",
        "set -E", "set -T", "shopt -s expand_aliases extdebug", "set -n"}) {
    session_.reset();
    (void)run(option);
    const Result result = run("echo working");
    EXPECT_THAT(result.text, HasSubstr("working")) << option;  // -v and -x show commands of ours as well
    EXPECT_EQ(result.exit_code(), 0) << option;
  }
}

TEST_F(ShellSessionTest, AnUnboundVariableEndsOnlyTheCommand) {
  (void)run("set -u");
  EXPECT_NE(run("echo $sandkey_unbound").exit_code(), 0);
  expect_good();
}

TEST_F(ShellSessionTest, AShellThatEndsIsReportedAndReplaced) {
  fs::create_directory(home_ / "kept");
  for (const auto& [command, code] :
       std::vector<std::pair<std::string, int>>{{"exit 3", 3},
                                                {"set -e; echo before; false", 1},
                                                {"kill -9 $$", 137},
                                                {"exec true", 0},
                                                {"exec sh -c 'exit 12'", 12}}) {
    (void)run("cd " + path("kept") + "; lost=1");
    const Result result = run(command);
    EXPECT_EQ(result.exit_code(), code) << command;
    EXPECT_EQ(result.suffix(),
              "\n[The shell itself ended with exit code " + std::to_string(code) +
                  ". The next command gets a new one: its variables and functions are gone.]");
    if (command.find("before") != std::string::npos) {
      EXPECT_THAT(result.text, HasSubstr("before"));
    }
    EXPECT_EQ(run("echo \"[$lost]\" $PWD").text, "[] " + path("kept")) << command;
  }
}

TEST_F(ShellSessionTest, RedirectingTheShellItselfHidesOutputOnly) {
  EXPECT_EQ(run("exec >captured 2>&1").exit_code(), 0);
  const Result hidden = run("echo to the file; (exit 4)");
  EXPECT_EQ(hidden.text, "");
  EXPECT_EQ(hidden.exit_code(), 4);
  EXPECT_EQ(run("cat captured >/dev/tty").text, "to the file");
}

TEST_F(ShellSessionTest, ClosedDescriptorsDoNotHideTheEnd) {
  EXPECT_EQ(run("exec 2>&-").exit_code(), 0);
  EXPECT_EQ(run("(exit 5)").exit_code(), 5);
  EXPECT_EQ(run("exec >&-").exit_code(), 0);
  EXPECT_EQ(run("(exit 6)").exit_code(), 6);
}

TEST_F(ShellSessionTest, ReplacedPromptsStillReportTheEnd) {
  for (const char* command : {"PROMPT_COMMAND=", "unset PROMPT_COMMAND", "PROMPT_COMMAND='echo noise'",
                              "PROMPT_COMMAND=(true true)", "PS1='$ '", "PS1='\\u@\\h:\\w\\$ '; PS2='> '",
                              "unset PS1 PS2", "PS0='zero'"}) {
    session_.reset();
    const Result first = run(std::string(command) + "; (exit 8)");
    EXPECT_EQ(first.exit_code(), 8) << command;
    const Result second = run("echo after; (exit 9)");
    EXPECT_EQ(second.exit_code(), 9) << command;
    EXPECT_THAT(second.text, HasSubstr("after")) << command;
  }
}

TEST_F(ShellSessionTest, ADebugTrapSeesTheCommandOnly) {
  (void)run("trap 'seen=$BASH_COMMAND' DEBUG");
  const Result result = run("(exit 3)");
  EXPECT_EQ(result.exit_code(), 3);
  EXPECT_EQ(run("echo one").text, "one");
  EXPECT_EQ(run("trap - DEBUG").exit_code(), 0);
}

TEST_F(ShellSessionTest, TerminalModesACommandLeavesDoNotMatter) {
  for (const char* modes :
       {"stty -echo", "stty raw", "stty raw -echo", "stty -icanon", "stty igncr", "stty inlcr", "stty istrip",
        "stty -opost", "stty intr ^A eof ^B", "stty cols 20 rows 5"}) {
    session_.reset();
    EXPECT_EQ(run(modes).exit_code(), 0) << modes;
    const Result result = run("echo fine; (exit 2)");
    EXPECT_EQ(result.text, "fine") << modes;
    EXPECT_EQ(result.exit_code(), 2) << modes;
    EXPECT_EQ(run("echo again").text, "again") << modes;
  }
}

TEST_F(ShellSessionTest, ANestedShellIsAProgramLikeAnyOther) {
  (void)start("PS1='nested> ' bash --norc --noediting -i", "nested>");
  EXPECT_THAT(until(input("echo $((20 + 22))", kShort), "42\n"), HasSubstr("42"));
  const Result ended = finish(input("exit 17"));
  EXPECT_EQ(ended.exit_code(), 17);
  expect_good();
}

// Commands that take the hooks away leave a shell that can only be used as a program, until it ends.
TEST_F(ShellSessionTest, AShellWithoutHooksCanStillBeLeft) {
  for (const char* command :
       {"__sk_n=other", "unset -f __sk_report; unset PROMPT_COMMAND; PS1=", "exec bash --norc"}) {
    EXPECT_EQ(run(command, kShort).exit_code(), -1) << command;
    EXPECT_EQ(finish(input("exit 5")).exit_code(), 5) << command;
    expect_good();
  }
}

TEST_F(ShellSessionTest, AHookThatARcFileBreaksIsInstalledAfterIt) {
  write(".bashrc",
        "PROMPT_COMMAND='echo mine'; PS1='rc$ '; PS2='more '; echo printed by rc; set -u; alias ll='ls'\n");
  const Result result = run("echo first");
  EXPECT_EQ(result.text, "first");
  EXPECT_EQ(result.exit_code(), 0);
  EXPECT_EQ(run("alias ll").text, "alias ll='ls'");
}

TEST_F(ShellSessionTest, AnRcFileThatEndsTheShellIsReportedWithWhatItPrinted) {
  write(".bashrc", "echo 'no licence'; exit 4\n");
  try {
    (void)run("true");
    FAIL() << "a shell was started";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unavailable);
    EXPECT_THAT(error.what(), HasSubstr("no licence"));
  }
  write(".bashrc", "");
  expect_good();
}

TEST_F(ShellSessionTest, AnRcFileThatHangsIsReported) {
  write(".bashrc", "read -r answer\n");
  options_.start_timeout = 1s;
  try {
    (void)run("true");
    FAIL() << "a shell was started";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::deadline_exceeded);
    EXPECT_THAT(error.what(), HasSubstr(".bashrc"));
  }
  write(".bashrc", "");
  expect_good();
}

TEST_F(ShellSessionTest, AMissingWorkingFolderIsNoObstacle) {
  options_.working_dir = path("gone");
  EXPECT_EQ(run("pwd").text, "/");
}

// A cleaning command may take the session's own folder with it.
TEST_F(ShellSessionTest, SurvivesTheLossOfItsPrivateFolder) {
  (void)run("true");
  options_.soft_timeout = 1s;
  session_.reset();
  (void)run("kept=yes");
  const Result result = finish(run("rm -rf " + path("tmp") + "/sandkey-*; (exit 3)"));
  EXPECT_EQ(result.exit_code(), 3);
  EXPECT_EQ(run("echo $kept").text, "yes");
}

TEST_F(ShellSessionTest, ANulByteIsRefused) {
  const Result result = run(std::string("echo a\0b", 8));
  EXPECT_TRUE(result.error);
  expect_good();
}

// --- Commands that take their time ------------------------------------------------------------------------

TEST_F(ShellSessionTest, NothingToPollOrToFeed) {
  EXPECT_EQ(run("").text, "ERROR: No previous running command to retrieve logs from.");
  EXPECT_EQ(run("").exit_code(), -1);
  EXPECT_EQ(run("").suffix(), "");
  EXPECT_EQ(input("x").text, "ERROR: No previous running command to interact with.");
}

TEST_F(ShellSessionTest, SilenceIsReportedWithTheSoftTimeout) {
  options_.soft_timeout = 1s;
  const Result result = run("echo begun; cat", std::nullopt);
  EXPECT_EQ(result.text, "begun");
  EXPECT_EQ(result.exit_code(), -1);
  EXPECT_EQ(result.prefix(), "");
  EXPECT_EQ(result.suffix(),
            std::string("\n[The command has no new output after 1 seconds. ") + kWhatNow + "]");
  EXPECT_EQ(result.output.metadata.working_dir, std::nullopt);
  const Result again = run("", std::nullopt);
  EXPECT_EQ(again.prefix(), kContinued);
  EXPECT_EQ(again.text, "");
}

TEST_F(ShellSessionTest, TheHardTimeoutIsShownAsAFloat) {
  const Result result = run("cat", 0.5);
  EXPECT_EQ(result.exit_code(), -1);
  EXPECT_EQ(result.suffix(), std::string("\n[The command timed out after 0.5 seconds. ") + kWhatNow + "]");
  EXPECT_EQ(run("", 1).suffix(),
            std::string("\n[The command timed out after 1.0 seconds. ") + kWhatNow + "]");
}

TEST_F(ShellSessionTest, BlockingLeavesOnlyTheHardTimeout) {
  options_.soft_timeout = 1s;
  EXPECT_THAT(run(CmdRunAction{.command = "cat", .blocking = true}, 1.5).suffix(),
              HasSubstr("timed out after 1.5"));
}

TEST_F(ShellSessionTest, FeedsARunningProgram) {
  EXPECT_EQ(run("cat", kShort).text, "");
  EXPECT_THAT(until(input("hello", kShort), "hello"), HasSubstr("hello"));
  EXPECT_EQ(last_.prefix(), kContinued);
  const Result ended = finish(input("C-d"));
  EXPECT_EQ(ended.exit_code(), 0);
  EXPECT_EQ(ended.prefix(), "");
}

TEST_F(ShellSessionTest, TellsWhichKeyEndedTheCommand) {
  (void)run("cat", kShort);
  EXPECT_EQ(input("C-d").suffix(), "\n[The command completed with exit code 0. CTRL+D was sent.]");
  (void)start("trap 'exit 9' INT; echo ready; cat", "ready");
}

TEST_F(ShellSessionTest, AnswersAQuestion) {
  EXPECT_THAT(start("read -p 'Enter name: ' name && echo \"Hello $name\"", "Enter name:"),
              HasSubstr("Enter name:"));
  const Result result = finish(input("John"));
  EXPECT_EQ(result.text, "Hello John");
  EXPECT_EQ(result.prefix(), "");
  EXPECT_EQ(result.exit_code(), 0);
}

TEST_F(ShellSessionTest, InterruptsWithControlC) {
  (void)start("echo ready; while true; do :; done", "ready");
  const Result result = finish(input("C-c"));
  EXPECT_EQ(result.text, "^C");
  EXPECT_EQ(result.exit_code(), 130);
  EXPECT_EQ(result.suffix(), "\n[The command completed with exit code 130. CTRL+C was sent.]");
  expect_good();
}

TEST_F(ShellSessionTest, SuspendsAndResumesAJob) {
  (void)start("bash -c 'echo ready; exec cat'", "ready");
  const Result stopped = finish(input("C-z"));
  EXPECT_THAT(stopped.text, AllOf(StartsWith("^Z\n"), HasSubstr("Stopped")));
  EXPECT_EQ(stopped.exit_code(), 148);
  EXPECT_THAT(run("jobs").text, HasSubstr("Stopped"));
  EXPECT_THAT(until(run("fg", kShort), "cat"), HasSubstr("cat"));
  EXPECT_EQ(finish(input("C-d")).exit_code(), 0);
  EXPECT_EQ(run("jobs").text, "");
}

TEST_F(ShellSessionTest, RefusesACommandWhileAnotherRuns) {
  (void)start("echo first; cat", "first");
  const Result result = run("echo second");
  EXPECT_EQ(result.exit_code(), -1);
  EXPECT_EQ(result.prefix(), kContinued);
  EXPECT_EQ(
      result.suffix(),
      std::string(
          "\n[Your command \"echo second\" is NOT executed. The previous command is still running - You "
          "CANNOT send new commands until the previous command is completed. By setting `is_input` to "
          "`true`, you can interact with the current process: ") +
          kWhatNow + "]");
  EXPECT_THAT(run("C-c").suffix(), HasSubstr("NOT executed"));  // a key needs is_input as well
  EXPECT_EQ(finish(input("C-c")).exit_code(), 130);
}

TEST_F(ShellSessionTest, InputNobodyReadIsDroppedInsteadOfExecuted) {
  ASSERT_EQ(::mkfifo(path("gate").c_str(), 0600), 0);
  (void)start("echo ready; cat gate >/dev/null", "ready");
  (void)input("touch executed", kShort);
  { std::ofstream gate(path("gate")); }  // now the program ends, without having read
  (void)finish(run(""));
  EXPECT_EQ(run("ls executed 2>/dev/null").exit_code(), 2);
  EXPECT_EQ(run("echo next").text, "next");
}

TEST_F(ShellSessionTest, InputForACommandThatEndedIsNotSent) {
  ASSERT_EQ(::mkfifo(path("gate").c_str(), 0600), 0);
  (void)start("echo ready; cat gate; echo over; : >ended", "ready");
  { std::ofstream gate(path("gate")); }
  while (!fs::exists(path("ended"))) ::sched_yield();
  // Nothing was polled meanwhile, so the end is found out only now (or by this very call).
  while (io_.poll_one() != 0 || private_folder().empty()) {
  }
  Result result = input("touch executed", kShort);
  result = finish(result);
  EXPECT_THAT(result.text, HasSubstr("over"));
  EXPECT_FALSE(fs::exists(path("executed")));
  EXPECT_EQ(run("echo next").text, "next");
}

TEST_F(ShellSessionTest, PollingAfterTheEndGivesTheResult) {
  ASSERT_EQ(::mkfifo(path("gate").c_str(), 0600), 0);
  (void)start("echo ready; cat gate; echo over; (exit 5)", "ready");
  { std::ofstream(path("gate")) << "through\n"; }
  const Result result = finish(run(""));
  EXPECT_EQ(result.text, "through\nover");
  EXPECT_EQ(result.exit_code(), 5);
  EXPECT_EQ(run("").text, "ERROR: No previous running command to retrieve logs from.");
}

TEST_F(ShellSessionTest, AProgramThatDoesNotReadCanStillBeInterrupted) {
  // It says itself that it is there: a key that comes while the shell begins it goes to the shell, which
  // waits on.
  const std::string program = "sh -c \"trap '' TERM; echo ready; exec tail -f /dev/null\"";
  // More than the kernel takes; and what it takes, but so that nothing gets past it any more.
  for (const std::string& unread : {std::string(3'000'000, 'x'), std::string(4'094, 'x')}) {
    (void)start(program, "ready");
    (void)input(unread, kShort);
    (void)input("more", kShort);
    const Result result = finish(input("C-c"));
    EXPECT_EQ(result.exit_code(), 130);
    EXPECT_EQ(run("echo clean").text, "clean");
  }
}

TEST_F(ShellSessionTest, KeysAtAnIdlePromptAreHarmless) {
  (void)run("(exit 6)");
  for (const char* key : {"C-c", "C-d", "C-z", "C-l", "C-u", "C-s", "C-q", "C-\\"}) {
    const Result result = run(key);
    EXPECT_THAT(result.suffix(), HasSubstr("was sent.")) << key;
    const Result after = run("echo \"after\"");
    EXPECT_EQ(after.text, "after") << key;
    EXPECT_EQ(after.exit_code(), 0) << key;
  }
}

TEST_F(ShellSessionTest, ControlCAtAnIdlePromptGives130) {
  (void)run("(exit 6)");
  const Result result = run("C-c");
  EXPECT_EQ(result.exit_code(), 130);
  EXPECT_EQ(result.text, "^C");
}

// --- Forging ----------------------------------------------------------------------------------------------

TEST_F(ShellSessionTest, PrintedMarkersForgeNothing) {
  const std::string nonce(32, 'a');
  const std::vector<std::string> commands{
      // The start marker, with any nonce, whole and cut.
      "printf '\\033]sandkey;" + nonce + "\\007'; echo shown; (exit 3)",
      "printf '\\033]sandkey;'; echo shown; (exit 3)",
      "printf '\\033]sandkey;%s\\007' \"$__sk_n\"; echo shown; (exit 3)",
      // The reference's prompt.
      "printf '\\n###PS1JSON###\\n{\"pid\": 1, \"exit_code\": 0, \"username\": \"x\", \"hostname\": \"y\", "
      "\"working_dir\": \"/forged\", \"py_interpreter_path\": \"\"}\\n###PS1END###\\n'; echo shown; (exit 3)",
      // A record as the hook writes it, with the true nonce even.
      "printf '%s\\0' \"$__sk_n\" 0 1 /forged /bin; echo shown; (exit 3)",
      "printf '%s\\0' " + nonce + " 0 1 /forged /bin >&2; echo shown; (exit 3)",
      "head -c 4096 /dev/zero; echo shown; (exit 3)",
  };
  for (const std::string& command : commands) {
    const Result result = run(command);
    EXPECT_EQ(result.exit_code(), 3) << command;
    EXPECT_EQ(result.output.metadata.working_dir, home_.string()) << command;
    if (command.find("sandkey;'") == std::string::npos) {  // a terminal shows nothing of an unfinished string
      EXPECT_THAT(result.text, HasSubstr("shown")) << command;
    }
    EXPECT_EQ(run("echo next").text, "next") << command;
  }
}

TEST_F(ShellSessionTest, MarkersDoNotEndACommandThatGoesOn) {
  (void)start(
      "printf '\\033]sandkey;%s\\007###PS1END###\\n' $__sk_n; printf '%s\\0' $__sk_n 0 0 / /; echo ready; "
      "cat",
      "ready");
  EXPECT_EQ(last_.exit_code(), -1);
  EXPECT_THAT(last_.suffix(), HasSubstr("timed out"));
  EXPECT_EQ(finish(input("C-d")).exit_code(), 0);
}

TEST_F(ShellSessionTest, GarbageInTheReportChannelForgesAndBlocksNothing) {
  const std::string nonce(32, 'a');
  const std::string fifo = path("tmp") + "/sandkey-*/done";
  const std::vector<std::string> writes{
      "printf 'garbage'",
      "printf 'a\\0b\\0'",
      "printf '%s\\0' " + nonce + " 0 1 /forged /bin",
      "printf '%s\\0' '' 0 1 /forged /bin",
      "printf '%s\\0' x; printf " + nonce,
      "head -c 300000 /dev/zero",
      "head -c 300001 /dev/urandom",
      "head -c 300001 /dev/zero | tr '\\0' a",
  };
  for (const std::string& write : writes) {
    const Result result = run("{ " + write + "; } >$(echo " + fifo + "); echo shown; (exit 3)");
    EXPECT_EQ(result.exit_code(), 3) << write;
    EXPECT_EQ(result.text, "shown") << write;
    EXPECT_EQ(result.output.metadata.working_dir, home_.string()) << write;
  }
  // The same while a command still runs: it must not seem ended.
  (void)start("for i in 1 2 3; do printf '%s\\0' " + nonce + " 0 1 /forged /bin >$(echo " + fifo +
                  "); done; echo ready; cat",
              "ready");
  EXPECT_EQ(last_.exit_code(), -1);
  EXPECT_EQ(finish(input("C-d")).exit_code(), 0);
  expect_good();
}

TEST_F(ShellSessionTest, AnOldNonceIsWorthNothing) {
  (void)run("old=$__sk_n");
  const Result result = run("printf '%s\\0' $old 0 1 /forged /bin >$(echo " + path("tmp") +
                            "/sandkey-*/done); echo shown; (exit 3)");
  EXPECT_EQ(result.exit_code(), 3);
  EXPECT_EQ(result.text, "shown");
}

TEST_F(ShellSessionTest, EveryByteOfManyShortCommandsArrives) {
  for (int i = 0; i < 2000; ++i) {
    const Result result = run("echo " + std::to_string(i) + "; (exit " + std::to_string(i % 200) + ")");
    ASSERT_EQ(result.text, std::to_string(i));
    ASSERT_EQ(result.exit_code(), i % 200);
  }
}

TEST_F(ShellSessionTest, ANoisyBackgroundJobTakesNothingAway) {
  (void)run("while :; do echo noise; done &");
  for (int i = 0; i < 200; ++i) {
    const std::string wanted = "<" + std::to_string(i) + ">";
    // Hidden: the output of other ones is truncated in the middle, which may be where it is.
    const Result result = run(CmdRunAction{
        .command = "echo '" + wanted + "'; (exit " + std::to_string(i % 200) + ")", .hidden = true});
    // On a slow machine the job may print more than is kept before the end is seen; the prefix says so then.
    if (result.prefix().empty()) {
      ASSERT_THAT(result.text, HasSubstr(wanted));
    }
    ASSERT_EQ(result.exit_code(), i % 200);
  }
  (void)run("kill %1");
  EXPECT_THAT(run("wait; echo quiet").text, EndsWith("quiet"));
}

// --- Much output ---------------------------------------------------------------------------------------

TEST_F(ShellSessionTest, FiveThousandLinesAreAllThere) {
  // Hidden ones are not truncated in the middle.
  const Result result = run(CmdRunAction{.command = "seq 1 5000 | sed 's/^/Line /'", .hidden = true});
  EXPECT_EQ(result.prefix(), "");
  EXPECT_THAT(result.text, AllOf(StartsWith("Line 1\nLine 2\n"), EndsWith("Line 4999\nLine 5000")));
  EXPECT_EQ(std::count(result.text.begin(), result.text.end(), '\n'), 4999);
}

TEST_F(ShellSessionTest, OfFiftyThousandLinesTheLastAreKept) {
  const Result result = run(CmdRunAction{.command = "seq 1 50000 | sed 's/^/Line /'", .hidden = true});
  EXPECT_EQ(result.exit_code(), 0);
  const auto lines = std::count(result.text.begin(), result.text.end(), '\n') + 1;
  EXPECT_GE(lines, 10'001);
  EXPECT_LE(lines, 11'362);
  EXPECT_EQ(result.prefix(), "[Previous command outputs are truncated. Showing the last " +
                                 std::to_string(lines) + " lines of the output below.]\n");
  EXPECT_THAT(result.text, AllOf(StartsWith("Line "), HasSubstr("\nLine 40000\n"), EndsWith("Line 50000")));
}

TEST_F(ShellSessionTest, AHundredMegabytesNeedLittleMemory) {
  (void)run("true");
  const long before = peak_memory_kib();
  const Result result = run("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo END; (exit 7)", 100);
  EXPECT_EQ(result.exit_code(), 7);
  EXPECT_THAT(result.text, EndsWith("END"));
#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
  EXPECT_LT(peak_memory_kib() - before, 64 * 1024);
#else
  (void)before;
#endif
}

// --- The end of a session -------------------------------------------------------------------------------

TEST_F(ShellSessionTest, ClosingKillsAllThatTheSessionStarted) {
  const std::string text = start(
      "cat /dev/zero >/dev/null & echo \"job $!\"; set -m; (trap '' HUP TERM; echo \"sub "
      "$BASHPID\"; cat; cat) & echo \"shell $$\"; fg %1",
      "shell ");
  std::vector<pid_t> pids;
  for (const char* name : {"job ", "shell "}) {
    const std::size_t at = text.find(name);
    ASSERT_NE(at, std::string::npos) << text;
    pids.push_back(
        static_cast<pid_t>(std::strtol(text.c_str() + at + std::string_view(name).size(), nullptr, 10)));
  }
  for (const pid_t pid : pids) EXPECT_TRUE(is_alive(pid)) << pid;
  session_.reset();
  for (const pid_t pid : pids) EXPECT_TRUE(disappears(pid)) << pid;
  EXPECT_EQ(private_folder(), "");
}

TEST_F(ShellSessionTest, ClosingInMidCommandEndsTheWait) {
  (void)run("true");
  bool done = false;
  CmdRunAction action{.command = "cat"};
  std::exception_ptr failure;
  asio::co_spawn(io_, session().execute(std::move(action), kLong),
                 [&](std::exception_ptr error, Observation) {
                   failure = error;
                   done = true;
                 });
  io_.restart();
  while (io_.poll_one() != 0) {
  }
  session_.reset();
  const auto limit = std::chrono::steady_clock::now() + 10s;
  while (!done && std::chrono::steady_clock::now() < limit) io_.run_one_until(limit);
  ASSERT_TRUE(done);
  ASSERT_TRUE(failure);
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
}

// --- Without bash ------------------------------------------------------------------------------------------

class OtherShellTest : public ShellSessionTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    const std::string program = find_program(GetParam(), options_.environment);
    if (program.empty()) GTEST_SKIP() << GetParam() << " is not installed";
    use_shell(program, {"cat", "ls", "sleep", "env", "grep", "seq", "stty", "rm", "tail"});
  }
};

TEST_P(OtherShellTest, RunsCommandsWithTheirExitCodes) {
  const Result first = run("echo hello; (exit 42)");
  EXPECT_EQ(first.text, "hello");
  EXPECT_EQ(first.exit_code(), 42);
  EXPECT_EQ(run("echo $?").text, "42");
  EXPECT_EQ(run("false").exit_code(), 1);
  EXPECT_EQ(run("sandkey_no_such_program").exit_code(), 127);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(run("echo " + std::to_string(i)).text, std::to_string(i));
}

TEST_P(OtherShellTest, KeepsItsState) {
  fs::create_directory(home_ / "sub");
  EXPECT_EQ(run("cd sub; x=5; f() { echo \"f $x\"; }").output.metadata.working_dir, path("sub"));
  EXPECT_EQ(run("f; pwd").text, "f 5\n" + path("sub"));
  EXPECT_EQ(run("cat <<'END'\n$x\nEND").text, "$x");
  EXPECT_EQ(run("for i in 1 2; do\necho $i\ndone").text, "1\n2");
}

TEST_P(OtherShellTest, FeedsAndInterrupts) {
  EXPECT_EQ(run("cat", kShort).exit_code(), -1);
  EXPECT_THAT(until(input("hello", kShort), "hello"), HasSubstr("hello"));
  EXPECT_EQ(finish(input("C-d")).exit_code(), 0);
  (void)start("echo ready; tail -f /dev/null", "ready");
  EXPECT_EQ(finish(input("C-c")).exit_code(), 130);
  EXPECT_EQ(run("echo next").text, "next");
}

TEST_P(OtherShellTest, ASyntaxErrorOrAnUnboundVariableIsReported) {
  EXPECT_NE(finish(run("echo 'unclosed")).exit_code(), 0);
  EXPECT_EQ(run("echo next").text, "next");
  (void)run("set -u");
  EXPECT_NE(finish(run("echo $sandkey_unbound")).exit_code(), 0);
  EXPECT_EQ(run("echo next").text, "next");
}

TEST_P(OtherShellTest, AShellThatEndsIsReplaced) {
  const Result result = run("exit 3");
  EXPECT_EQ(result.exit_code(), 3);
  EXPECT_THAT(result.suffix(), HasSubstr("The shell itself ended with exit code 3."));
  EXPECT_EQ(run("echo next").text, "next");
}

TEST_P(OtherShellTest, PrintedMarkersForgeNothing) {
  const Result result =
      run("printf '\\033]sandkey;%s\\007' $__sk_n; printf '%s\\0' $__sk_n 0 1 / /; echo shown; (exit 3)");
  EXPECT_EQ(result.exit_code(), 3);
  EXPECT_THAT(result.text, HasSubstr("shown"));
  const Result garbage =
      run("printf 'gar\\0bage' >$(echo " + path("tmp") + "/sandkey-*/done); echo shown; (exit 3)");
  EXPECT_EQ(garbage.exit_code(), 3);
  EXPECT_EQ(garbage.text, "shown");
}

INSTANTIATE_TEST_SUITE_P(Shells, OtherShellTest, testing::Values("dash", "busybox"),
                         [](const auto& param) { return std::string(param.param); });

TEST_F(ShellSessionTest, WithoutAnyShellTheReasonIsGiven) {
  fs::create_directory(home_ / "empty");
  set_environment_value(options_.environment, "PATH", path("empty"));
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      (void)run("true");
      FAIL() << "a shell was started";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::not_found);
      EXPECT_THAT(error.what(), HasSubstr("'sh'"));
    }
  }
  EXPECT_EQ(private_folder(), "");
}

}  // namespace
}  // namespace sandkey::agent
