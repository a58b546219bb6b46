// The verbs that reach an agent somebody else started.
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::cli_test {
namespace {

namespace fs = std::filesystem;
using runtime_test::AgentProcess;
using runtime_test::have_python;
using runtime_test::ScriptedRequest;
using runtime_test::ScriptedServer;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class CliOnAgent : public ::testing::Test {
 protected:
  CliOnAgent() { program_.environment["SANDKEY_AGENT"] = agent_.address(); }

  Result run(std::vector<std::string> command, const std::string& input = {}) {
    return with({}, std::move(command), input);
  }
  Result with(std::vector<std::string> options, std::vector<std::string> command,
              const std::string& input = {}) {
    options.insert(options.begin(), "run");
    options.emplace_back("--");
    options.insert(options.end(), command.begin(), command.end());
    return program_.run(std::move(options), input);
  }

  AgentProcess agent_;
  TempDir here_;
  Program program_{here_};
};

TEST_F(CliOnAgent, RunPassesOutputsAndTheExitCodeOn) {
  for (const int code : {0, 1, 7, 125, 126, 127, 255}) {
    const Result result = run({"sh", "-c", "echo out; echo err >&2; exit " + std::to_string(code)});
    EXPECT_EQ(result.code, code);
    EXPECT_EQ(result.out, "out\n");
    EXPECT_EQ(result.err, "err\n");
  }
  EXPECT_EQ(run({"sh", "-c", "kill -TERM $$"}).code, 128 + SIGTERM);
}

TEST_F(CliOnAgent, RunPassesArgumentsOnAsTheyAre) {
  const Result result = run({"printf", "[%s]", "a b", "", "$HOME", "--json", "--", "*", "it's", "\n"});
  EXPECT_EQ(result.out, "[a b][][$HOME][--json][--][*][it's][\n]");
  EXPECT_EQ(result.code, 0);
  for (const char* word : {"[a,b]", "[]", "{}", "%%", "a,b", "++"}) {
    EXPECT_EQ(run({"printf", "%s", word}).out, word);
  }
  EXPECT_EQ(run({"[", "-n", "x", "]"}).code, 0);
  const Result bytes =
      run({"printf", "%s", "\xff"});  // JSON cannot carry it, so it is not sent as something else
  EXPECT_EQ(bytes.code, 125);
  EXPECT_THAT(bytes.err, HasSubstr("UTF-8"));
  const Result short_form = program_.run({"run", "--env", "A=[1,2]", "sh", "-c", "echo $A $0", "--json"});
  EXPECT_EQ(short_form.out, "[1,2] --json\n") << short_form.err;
}

TEST_F(CliOnAgent, RunPassesEveryByteOfItsInputAndOutputOn) {
  std::string bytes;
  for (int i = 0; i < 1'000'000; ++i) bytes += static_cast<char>(i * 7 + i / 256);
  const Result result = run({"cat"}, bytes);
  EXPECT_EQ(result.code, 0);
  EXPECT_TRUE(result.out == bytes) << result.out.size();
  EXPECT_EQ(run({"sh", "-c", "true"}, bytes).code, 0);  // it does not have to be read
}

TEST_F(CliOnAgent, RunTakesVariablesAndAWorkingFolder) {
  program_.environment["OURS"] = "our own";
  fs::create_directory(agent_.work() + "/sub");
  const Result result =
      with({"--env", "A=x=y z", "--env", "OURS", "--env", "E=", "--cwd", agent_.work() + "/sub"},
           {"sh", "-c", "echo \"$A|$OURS|${E-unset}\"; pwd"});
  EXPECT_EQ(result.out, "x=y z|our own|\n" + agent_.work() + "/sub\n");
  for (const char* wrong : {"=x", "", "NOT_SET_ANYWHERE"}) {
    const Result refused = with({"--env", wrong}, {"true"});
    EXPECT_EQ(refused.code, 125) << wrong;
    EXPECT_EQ(count_lines(refused.err), 1U) << refused.err;
  }
}

TEST_F(CliOnAgent, RunEndsACommandAfterItsTimeLimit) {
  const Result result = with({"--timeout", "200ms"}, {"sh", "-c", "echo begun; exec sleep 1000"});
  EXPECT_EQ(result.code, 128 + SIGTERM);
  EXPECT_EQ(result.out, "begun\n");
  EXPECT_THAT(result.err, HasSubstr("time limit"));
  for (const char* wrong : {"", "soon", "-1s", "0", "1w", "nan", "inf"}) {
    EXPECT_EQ(with({std::string("--timeout=") + wrong}, {"true"}).code, 125) << wrong;
  }
}

TEST_F(CliOnAgent, RunPrintsOneJsonDocumentOnDemand) {
  const Result result = with({"--json"}, {"sh", "-c", "printf 'out\\377'; echo err >&2; exit 3"});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_EQ(count_lines(result.out), 1U);
  EXPECT_EQ(
      parse_json(result.out, "the output"),
      parse_json("{\"exit_code\":3,\"timed_out\":false,\"stdout\":\"out\xef\xbf\xbd\",\"stderr\":\"err\\n\","
                 "\"truncated\":false}",
                 "the expectation"));
  const Result killed = with({"--json"}, {"sh", "-c", "kill -9 $$"});
  EXPECT_EQ(killed.code, 137);
  EXPECT_EQ(find_integer(parse_json(killed.out, "x").as_object(), "signal"), 9);
  const Result late = with({"--json", "--timeout", "100ms"}, {"sleep", "1000"});
  EXPECT_EQ(find_bool(parse_json(late.out, "x").as_object(), "timed_out"), true);
}

TEST_F(CliOnAgent, WhatCannotBeStartedIs127Or126AsInAShell) {
  const Result missing = run({"no-such-program-anywhere"});
  EXPECT_EQ(missing.code, 127);
  EXPECT_EQ(count_lines(missing.err), 1U) << missing.err;
  write_file(agent_.work() + "/plain", "not a program");
  const Result plain = run({agent_.work() + "/plain"});
  EXPECT_EQ(plain.code, 126);
  EXPECT_EQ(count_lines(plain.err), 1U) << plain.err;
}

TEST_F(CliOnAgent, OwnFailuresAre125WithOneLine) {
  struct Case {
    std::vector<std::string> arguments;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{"run", "--agent", "unix:" + (here_ / "none"), "--start-timeout", "1s", "--", "true"}, "the last try"},
      {{"run", "--agent", "ftp://x", "--", "true"}, "--agent"},
      {{"run", "--agent", "", "--", "true"}, "--agent"},
      {{"run", "--session-key-file", here_ / "none", "--", "true"}, "session key file"},
      {{"run", "--session-key-file", "/dev/null", "--", "true"}, "no key in it"},
      {{"cp", "a", "b"}, "one of the two"},
      {{"cp", ":a", "b"}, "absolute"},
      {{"cp", here_ / "none", ":/tmp"}, "no such file"},
      {{"cp", ":" + agent_.work() + "/none", here_.path()}, "no such file"},
      {{"shell"}, "not a terminal"},
  };
  for (const Case& each : cases) {
    const Result result = program_.run(each.arguments);
    EXPECT_EQ(result.code, 125) << each.says;
    EXPECT_THAT(result.out, IsEmpty()) << each.says;
    EXPECT_THAT(result.err, AllOf(StartsWith("sandkey: "), HasSubstr(each.says)));
    EXPECT_EQ(count_lines(result.err), 1U) << result.err;
  }
  EXPECT_EQ(program_.run({"run"}).code, 125);
  EXPECT_EQ(program_.run({}).code, 125);
  EXPECT_EQ(program_.run({"no-such-command"}).code, 125);
}

TEST_F(CliOnAgent, FailuresAreJsonOnDemandOnStandardErrorToo) {
  const Result result = program_.run({"cp", "--json", here_ / "none", ":/tmp/x"});
  EXPECT_EQ(result.code, 125);
  EXPECT_THAT(result.out, IsEmpty());
  const json::value document = parse_json(result.err, "the error");
  EXPECT_EQ(find_string(document.as_object(), "error"), "not_found");
  EXPECT_TRUE(find_string(document.as_object(), "message"));
}

TEST_F(CliOnAgent, AnExitCodeIsNotInventedForAServerThatIsNotSandkeys) {
  ScriptedServer server([](const ScriptedRequest& request) {
    if (request.line.find("/alive") != std::string::npos)
      return ScriptedServer::reply(200, R"({"status":"ok"})");
    return ScriptedServer::reply(404, R"({"detail":"Not Found"})");
  });
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", "--", "true"}, {"cp", "/etc/hostname", ":/tmp/x"}}) {
    program_.environment["SANDKEY_AGENT"] = server.address();
    const Result result = program_.run(arguments);
    EXPECT_EQ(result.code, 125);
    EXPECT_THAT(result.err, HasSubstr("not Sandkey's"));
  }
}

TEST_F(CliOnAgent, SignalsReachTheCommand) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    Pipe out;
    Spawn spawn =
        program_.spawn({"run", "--", "sh", "-c",
                        "trap 'echo got; exit 9' INT TERM HUP; echo ready; while :; do sleep 0.01; done"});
    spawn.out = out.write.get();
    Process process(spawn);
    out.write.reset();
    const std::string begun = read_until(out.read.get(), "ready");
    ASSERT_THAT(begun, HasSubstr("ready"));
    process.signal(number);
    EXPECT_THAT(read_until(out.read.get(), "got\n", begun), HasSubstr("got\n"));
    EXPECT_EQ(process.wait(), 9);
  }
}

TEST_F(CliOnAgent, WhenNobodyReadsItsOutputTheCommandIsEnded) {
  Pipe out;
  Spawn spawn = program_.spawn({"run", "--", "sh", "-c", "echo $$; exec yes"});
  const UniqueFd err(::open((here_ / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  spawn.out = out.write.get();
  spawn.err = err.get();
  Process process(spawn);
  out.write.reset();
  const std::string begun = read_until(out.read.get(), "\n");
  out.read.reset();
  EXPECT_EQ(process.wait(), 125);
  EXPECT_THAT(read_file(here_ / "err"), HasSubstr("writing output"));
  const std::string pid = begun.substr(0, begun.find('\n'));
  // Gone, or about to be: waited for inside the sandbox.
  EXPECT_EQ(run({"sh", "-c", "while kill -0 " + pid + " 2>/dev/null; do sleep 0.01; done"}).code, 0);
}

TEST_F(CliOnAgent, PythonKeepsItsStateBetweenInvocations) {
  if (!have_python()) GTEST_SKIP() << "there is no python3";
  EXPECT_EQ(program_.run({"python", "x = 20"}).code, 0);
  const Result result = program_.run({"python", "print(x * 2 + 2)"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, "42\n");
  EXPECT_EQ(program_.run({"python", "-"}, "for i in range(2):\n    print(i)\n").out, "0\n1\n");
  const Result document = program_.run({"python", "--json", "print('hi')"});
  EXPECT_EQ(find_string(parse_json(document.out, "x").as_object(), "observation"), "run_ipython");
  EXPECT_EQ(find_string(parse_json(document.out, "x").as_object(), "content"), "hi");
  EXPECT_EQ(program_.run({"python", "[1, 2][1]"}).out, "2\n");
  EXPECT_THAT(program_.run({"python", "1/0"}).out, HasSubstr("ZeroDivisionError"));
  const Result late = program_.run({"python", "--timeout", "200ms", "import time; time.sleep(1000)"});
  EXPECT_EQ(late.code, 125);
  EXPECT_THAT(late.out, HasSubstr("timed out"));
  EXPECT_EQ(program_.run({"python", "print('[Execution timed out (120.0 seconds).]')"}).code, 0);
}

TEST_F(CliOnAgent, CopiesAFileUpAndDownWithItsMode) {
  const std::string name = "odd 'name'\n\xc3\xa4 ?#%&+";
  write_file(here_ / name, std::string("zero\0\xff", 6));
  fs::permissions(here_ / name, fs::perms(0750));
  const std::string there = agent_.work() + "/" + name;
  const Result up = program_.run({"cp", here_ / name, ":" + agent_.work()});
  EXPECT_EQ(up.code, 0) << up.err;
  EXPECT_THAT(up.out + up.err, IsEmpty());
  EXPECT_EQ(read_file(there), std::string("zero\0\xff", 6));
  EXPECT_EQ(mode_of(there), 0750U);
  EXPECT_EQ(program_.run({"cp", ":" + there, here_ / "down"}).code, 0);
  EXPECT_EQ(read_file(here_ / "down"), std::string("zero\0\xff", 6));
  EXPECT_EQ(mode_of(here_ / "down"), 0750U);
  const Result document = program_.run({"cp", "--json", here_ / name, ":" + there + "2"});
  EXPECT_EQ(find_integer(parse_json(document.out, "x").as_object(), "bytes"), 6);
  EXPECT_EQ(find_string(parse_json(document.out, "x").as_object(), "destination"), ":" + there + "2");
}

void make_tree(const std::string& at) {
  fs::create_directories(at + "/empty/er");
  fs::create_directories(at + "/sub dir");
  write_file(at + "/sub dir/run", "#!/bin/sh\n");
  fs::permissions(at + "/sub dir/run", fs::perms(0755));
  write_file(at + "/secret", "s");
  fs::permissions(at + "/secret", fs::perms(0600));
  write_file(at + "/-n *'\"\n", "odd");
  fs::create_symlink("sub dir/run", at + "/link");
  fs::create_symlink("nowhere", at + "/dangling");
  fs::create_directory_symlink("sub dir", at + "/dirlink");
}

void expect_tree(const std::string& at) {
  EXPECT_TRUE(fs::is_directory(at + "/empty/er"));
  EXPECT_EQ(read_file(at + "/sub dir/run"), "#!/bin/sh\n");
  EXPECT_EQ(mode_of(at + "/sub dir/run"), 0755U);
  EXPECT_EQ(mode_of(at + "/secret"), 0600U);
  EXPECT_EQ(read_file(at + "/-n *'\"\n"), "odd");
  for (const auto& [link, target] :
       {std::pair{"/link", "sub dir/run"}, {"/dangling", "nowhere"}, {"/dirlink", "sub dir"}}) {
    ASSERT_TRUE(fs::is_symlink(fs::symlink_status(at + link))) << at << link;
    EXPECT_EQ(fs::read_symlink(at + link), target);
  }
}

TEST_F(CliOnAgent, CopiesFoldersUpAndDownWithAllThatIsInThem) {
  make_tree(here_ / "tree");
  const Result renamed = program_.run({"cp", here_ / "tree", ":" + agent_.work() + "/renamed"});
  EXPECT_EQ(renamed.code, 0) << renamed.err;
  expect_tree(agent_.work() + "/renamed");
  const Result into = program_.run({"cp", here_ / "tree/", ":" + agent_.work()});
  EXPECT_EQ(into.code, 0) << into.err;
  expect_tree(agent_.work() + "/tree");
  const Result down = program_.run({"cp", ":" + agent_.work() + "/tree", here_ / "down"});
  EXPECT_EQ(down.code, 0) << down.err;
  expect_tree(here_ / "down");
  fs::create_directory(here_ / "existing");
  EXPECT_EQ(program_.run({"cp", ":" + agent_.work() + "/tree", here_ / "existing"}).code, 0);
  expect_tree(here_ / "existing/tree");
}

TEST_F(CliOnAgent, CopiesVirtualEnvironmentsUpAndDown) {
  fs::create_directories(here_ / "venv/bin");
  fs::create_symlink("/usr/bin/python3", here_ / "venv/bin/python3");
  fs::create_directory_symlink("bin/../../lib", here_ / "venv/lib64");
  EXPECT_EQ(program_.run({"cp", here_ / "venv", ":" + agent_.work() + "/venv"}).code, 0);
  const Result down = program_.run({"cp", ":" + agent_.work() + "/venv", here_ / "down"});
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_EQ(fs::read_symlink(here_ / "down/bin/python3"), "/usr/bin/python3");
  EXPECT_EQ(fs::read_symlink(here_ / "down/lib64"), "bin/../../lib");
}

TEST_F(CliOnAgent, ALinkInAFolderDoesNotSayWhereACopyGoes) {
  write_file(agent_.work() + "/f", "theirs");
  fs::create_directory(agent_.work() + "/d");
  write_file(agent_.work() + "/d/f", "theirs");
  fs::create_directories(here_ / "outside");
  write_file(here_ / "outside/f", "ours");
  fs::create_directory(here_ / "in");
  fs::create_symlink(here_ / "outside/f", here_ / "in/f");
  fs::create_directory_symlink(here_ / "outside", here_ / "in/d");
  for (const char* name : {"/f", "/d"}) {
    const Result result = program_.run({"cp", ":" + agent_.work() + name, here_ / "in"});
    EXPECT_EQ(result.code, 125);
    EXPECT_THAT(result.err, HasSubstr("symbolic link"));
  }
  EXPECT_EQ(read_file(here_ / "outside/f"), "ours");
}

TEST_F(CliOnAgent, CopyingSaysHowManySpecialFilesItLeftOut) {
  fs::create_directory(here_ / "tree");
  write_file(here_ / "tree/f", "x");
  ASSERT_EQ(::mkfifo((here_ / "tree/fifo").c_str(), 0600), 0);
  const Result result = program_.run({"cp", here_ / "tree", ":" + agent_.work()});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.err, "sandkey: skipped 1 special file\n");
  EXPECT_EQ(read_file(agent_.work() + "/tree/f"), "x");
}

TEST_F(CliOnAgent, ClosedDescriptorsAreNoInputAndNoOutput) {
  for (const char* closed : {"<&-", "<&- >&- 2>&-"}) {
    Spawn spawn = program_.spawn({});
    spawn.argv = {"/bin/sh", "-c",
                  "\"$0\" run -- sh -c 'test $(wc -c) -eq 0 && exit 9' " + std::string(closed), SANDKEY_CLI};
    Process process(spawn);
    EXPECT_EQ(process.wait(), 9) << closed;
  }
}

TEST_F(CliOnAgent, AReadOfOurInputThatLastsDoesNotHoldUsUp) {
  int master = -1;
  int slave = -1;
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  const UniqueFd own_master(master);
  const UniqueFd own_slave(slave);
  termios patient{};
  ASSERT_EQ(::tcgetattr(slave, &patient), 0);
  // One byte makes it readable, and a read then waits for 200 more, or 25 s.
  ::cfmakeraw(&patient);
  patient.c_cc[VMIN] = 200;
  patient.c_cc[VTIME] = 250;
  ASSERT_EQ(::tcsetattr(slave, TCSANOW, &patient), 0);
  ASSERT_EQ(::write(master, "x", 1), 1);
  Spawn spawn = program_.spawn({"run", "--", "sleep", "0.2"});
  spawn.in = slave;
  const auto begun = std::chrono::steady_clock::now();
  Process process(spawn);
  EXPECT_EQ(process.wait(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
}

TEST_F(CliOnAgent, CopyingToWhatIsNoPlainFileWritesIntoIt) {
  write_file(agent_.work() + "/f", "content");
  const std::string source = ":" + agent_.work() + "/f";
  ASSERT_EQ(::mkfifo((here_ / "fifo").c_str(), 0600), 0);
  const UniqueFd both(::open((here_ / "fifo").c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(program_.run({"cp", source, here_ / "fifo"}).code, 0);
  EXPECT_EQ(read_until(both.get(), "content"), "content");
  EXPECT_TRUE(fs::is_fifo(here_ / "fifo"));
  EXPECT_EQ(program_.run({"cp", source, "/dev/null"}).code, 0);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  write_file(here_ / "target", "old");
  fs::permissions(here_ / "target", fs::perms(0604));
  fs::create_symlink("target", here_ / "link");
  EXPECT_EQ(program_.run({"cp", source, here_ / "link"}).code, 0);
  EXPECT_TRUE(fs::is_symlink(fs::symlink_status(here_ / "link")));
  EXPECT_EQ(read_file(here_ / "target"), "content");
  EXPECT_EQ(mode_of(here_ / "target"), 0604U);
}

TEST_F(CliOnAgent, ShellIsATerminalOfItsOwnWithOurSizeAndExitCode) {
  TerminalProgram shell(program_, {"shell"}, 41, 133);
  EXPECT_THAT(shell.read_until(::getuid() == 0 ? "# " : "$ "), Not(IsEmpty()));  // the prompt
  // The answers are spelt differently from the questions, which the terminal echoes.
  shell.type("stty size; test -t 0 && echo is\"\"atty; PS1=ready\"\"now\r");
  EXPECT_THAT(shell.read_until("readynow"), AllOf(HasSubstr("41 133"), HasSubstr("isatty")));
  shell.resize(50, 99);
  shell.type(
      "trap 'stty size' WINCH; until [ \"$(stty size)\" = '50 99' ]; do sleep 0.01; done; echo "
      "resi\"\"zed\r");
  EXPECT_THAT(shell.read_until("resized"), HasSubstr("resized"));
  shell.type("exit 7\r");
  (void)shell.read_rest();
  EXPECT_EQ(shell.process().wait(), 7);
}

TEST_F(CliOnAgent, ASignalEndsAShellAndLeavesTheTerminalAsItWas) {
  for (const int number : {SIGTERM, SIGHUP, SIGINT}) {
    TerminalProgram shell(program_, {"shell"});
    ASSERT_TRUE(shell.cooked());
    shell.type("echo pid=$$; PS1=ready\"\"now\r");
    const std::string begun = shell.read_until("readynow");
    EXPECT_FALSE(shell.cooked());
    const std::size_t at = begun.rfind("pid=") + 4;
    const std::string pid = begun.substr(at, begun.find_first_not_of("0123456789", at) - at);
    shell.process().signal(number);
    EXPECT_EQ(shell.process().wait(), 128 + number);
    EXPECT_TRUE(shell.cooked());
    // And nothing of it goes on in the sandbox.
    EXPECT_EQ(run({"sh", "-c", "while kill -0 " + pid + " 2>/dev/null; do sleep 0.01; done"}).code, 0)
        << begun;
  }
}

TEST_F(CliOnAgent, OptionsOfASandboxDoNotGoWithAnAgent) {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--image", "/x"},
                                             {"--network"},
                                             {"--keep"},
                                             {"--lease", "1h"},
                                             {"--workspace", "."},
                                             {"--memory", "1G"},
                                             {"--disk", "1G"},
                                             {"--processes", "10"}}) {
    const Result refused = with(options, {"true"});
    EXPECT_EQ(refused.code, 125);
    EXPECT_THAT(refused.err, AllOf(HasSubstr(options.front()), HasSubstr("SANDKEY_AGENT")));
  }
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--sid", "x"}, {"--provider", "local"}}) {
    std::vector<std::string> both = options;
    both.insert(both.end(), {"--agent", agent_.address()});
    const Result refused = with(both, {"true"});
    EXPECT_EQ(refused.code, 125);
    EXPECT_THAT(refused.err, AllOf(HasSubstr(options.front()), HasSubstr("--agent")));
  }
}

TEST_F(CliOnAgent, PythonTakesVariablesAndAFolder) {
  if (!have_python()) GTEST_SKIP() << "there is no python3";
  fs::create_directory(agent_.work() + "/sub");
  const Result result =
      program_.run({"python", "--env", "a=it's \"\n\\ \xc3\xa4", "--cwd", agent_.work() + "/sub",
                    "import os; print(os.environ['a']); print(os.getcwd())"});
  EXPECT_EQ(result.out, "it's \"\n\\ \xc3\xa4\n" + agent_.work() + "/sub\n") << result.err;
  const Result nowhere = program_.run({"python", "--cwd", "/nowhere", "print(1)"});
  EXPECT_EQ(nowhere.code, 125);
  EXPECT_THAT(nowhere.out, IsEmpty());
  EXPECT_THAT(nowhere.err, HasSubstr("/nowhere"));
}

TEST_F(CliOnAgent, VerboseSaysWhatHappensWhenOnStandardErrorOnly) {
  const Result result = with({"-v"}, {"echo", "hi"});
  EXPECT_EQ(result.out, "hi\n");
  EXPECT_THAT(result.err, AllOf(HasSubstr(" ms  begun"), HasSubstr("STATUS$READY"), HasSubstr("closed")));
  EXPECT_EQ(program_.run({"-v", "run", "--", "echo", "hi"}).out, "hi\n");
}

class CliOnAgentWithKey : public ::testing::Test {
 protected:
  static constexpr std::string_view kKey = "sk-canary-9f2c7b";
  static std::vector<std::string> key_arguments(const TempDir& dir) {
    write_file(dir / "keys", "# ours\n\n" + std::string(kKey) + "\n");
    fs::permissions(dir / "keys", fs::perms(0600));
    return {"--session-key-file", dir / "keys"};
  }
  TempDir here_;
  AgentProcess agent_{{}, key_arguments(here_)};
  Program program_{here_};
};

TEST_F(CliOnAgentWithKey, TheKeyOpensTheAgentAndNoOtherDoes) {
  EXPECT_EQ(
      program_.run({"run", "--agent", agent_.address(), "--session-key-file", here_ / "keys", "--", "true"})
          .code,
      0);
  const Result without = program_.run({"run", "--agent", agent_.address(), "--", "true"});
  EXPECT_EQ(without.code, 125);
  EXPECT_THAT(without.err, HasSubstr("key"));
  write_file(here_ / "wrong", "sk-canary-wrong\n");
  const Result wrong =
      program_.run({"run", "--agent", agent_.address(), "--session-key-file", here_ / "wrong", "--", "true"});
  EXPECT_EQ(wrong.code, 125);
  EXPECT_EQ(count_lines(wrong.err), 1U);
  EXPECT_THAT(wrong.err, Not(HasSubstr("canary")));
}

TEST_F(CliOnAgentWithKey, TheKeyIsSeenNowhere) {
  program_.environment["SANDKEY_AGENT"] = agent_.address();
  program_.environment["SANDKEY_SESSION_KEY_FILE"] = here_ / "keys";
  // From inside, while both programs run: every command line, every environment that can be read, all output.
  const Result seen = program_.run(
      {"run", "--", "sh", "-c",
       "env; cat /proc/[0-9]*/cmdline /proc/self/environ /proc/$PPID/environ 2>&1 | tr '\\0' '\\n'"});
  EXPECT_EQ(seen.code, 0);
  EXPECT_THAT(seen.out, HasSubstr("sandkey"));
  EXPECT_THAT(seen.out + seen.err, Not(HasSubstr(std::string(kKey))));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"cp", "--json", "/nonexistent", ":/x"},
        {"run", "--json", "--", "no-such-program"},
        {"cp", ":/nonexistent", "x"}}) {
    const Result result = program_.run(arguments);
    EXPECT_THAT(result.out + result.err, Not(HasSubstr(std::string(kKey))));
  }
}

}  // namespace
}  // namespace sandkey::cli_test
