// Every verb on sandboxes of this machine, as a user types it.
#include "sandkey/base/json.h"
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>
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
using ::testing::UnorderedElementsAre;

class CliLocal : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = why_no_sandboxes();
    if (!reason.empty()) GTEST_SKIP() << reason;
  }
  void TearDown() override {
    if (!IsSkipped()) (void)program_.run({"rm", "--all"});
  }

  // sandkey run OPTIONS -- COMMAND
  Result run(std::vector<std::string> options, const std::vector<std::string>& command,
             const std::string& input = {}) {
    options.insert(options.begin(), "run");
    options.emplace_back("--");
    options.insert(options.end(), command.begin(), command.end());
    return program_.run(std::move(options), input);
  }
  void keep(const std::string& sid) {
    const Result made = run({"--keep", "--sid", sid}, {"true"});
    ASSERT_EQ(made.code, 0) << made.err;
  }
  json::array sandboxes() { return program_.run_json({"ls", "--json"}).at("sandboxes").as_array(); }
  std::vector<std::string> sids() {
    std::vector<std::string> names;
    for (const json::value& sandbox : sandboxes()) names.emplace_back(sandbox.at("sid").as_string());
    return names;
  }
  // Without a trace: not in any list, nor on the disk.
  void expect_nothing_left() {
    EXPECT_THAT(sids(), IsEmpty());
    EXPECT_THAT(program_.run({"ls", "--quiet"}).out, IsEmpty());
  }

  TempDir here_;
  Program program_{here_};
};

TEST_F(CliLocal, RunPassesEverythingOnAndLeavesNothing) {
  const Result result = run({}, {"sh", "-c", "cat; echo err >&2; exit 7"}, "in\n");
  EXPECT_EQ(result.code, 7);
  EXPECT_EQ(result.out, "in\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_EQ(run({}, {"no-such-program"}).code, 127);
  EXPECT_EQ(run({}, {"ls", "/workspace"}).out, "");  // a verb's name is a command like any other
  expect_nothing_left();
}

TEST_F(CliLocal, RunIsIsolated) {
  write_file(here_ / "secret", "canary");
  EXPECT_NE(run({}, {"cat", here_ / "secret"}).code, 0);
  EXPECT_EQ(run({}, {"pwd"}).out, "/workspace\n");
}

TEST_F(CliLocal, RunTakesVariablesAFolderAndATimeLimit) {
  EXPECT_EQ(run({"--env", "a=x y", "--cwd", "/tmp"}, {"sh", "-c", "echo $a; pwd"}).out, "x y\n/tmp\n");
  const Result late = run({"--timeout", "200ms"}, {"sleep", "1000"});
  EXPECT_EQ(late.code, 128 + SIGTERM);
  EXPECT_THAT(late.err, HasSubstr("time limit"));
  expect_nothing_left();
}

TEST_F(CliLocal, RunPrintsOneDocument) {
  const json::object document = program_.run_json({"run", "--json", "--", "sh", "-c", "echo out; exit 3"});
  EXPECT_EQ(find_integer(document, "exit_code"), 3);
  EXPECT_EQ(find_string(document, "stdout"), "out\n");
  EXPECT_EQ(find(document, "sid"), nullptr);
  const json::object kept = program_.run_json({"run", "--json", "--keep", "--", "true"});
  EXPECT_THAT(sids(), ElementsAre(std::string(find_string(kept, "sid").value_or("none"))));
}

TEST_F(CliLocal, AWorkspaceIsAFolderHere) {
  fs::create_directory(here_ / "work");
  write_file(here_ / "work/in", "content");
  fs::permissions(here_ / "work", fs::perms(0777));
  fs::permissions(here_ / "work/in", fs::perms(0666));
  const Result result = run({"--workspace", here_ / "work"}, {"sh", "-c", "cat in; echo made > out"});
  EXPECT_EQ(result.out, "content") << result.err;
  EXPECT_EQ(read_file(here_ / "work/out"), "made\n");
  const Result missing = run({"--workspace", here_ / "none"}, {"true"});
  EXPECT_EQ(missing.code, 125);
  EXPECT_THAT(missing.err, AllOf(StartsWith("sandkey: "), HasSubstr(here_ / "none")));
  EXPECT_EQ(count_lines(missing.err), 1U) << missing.err;
}

TEST_F(CliLocal, ABadImageIsRefused) {
  for (const std::string& image : {here_ / "none", std::string("/etc/hostname")}) {
    const Result result = run({"--image", image}, {"true"});
    EXPECT_EQ(result.code, 125);
    EXPECT_THAT(result.err, AllOf(StartsWith("sandkey: "), HasSubstr(image)));
    EXPECT_EQ(count_lines(result.err), 1U) << result.err;
  }
  expect_nothing_left();
}

TEST_F(CliLocal, AKeptSandboxIsFoundByItsNameUntilItIsRemoved) {
  EXPECT_EQ(run({"--keep", "--sid", "work"}, {"sh", "-c", "echo text > /workspace/file"}).code, 0);
  EXPECT_EQ(run({"--sid", "work"}, {"cat", "/workspace/file"}).out, "text\n");
  EXPECT_EQ(run({"--sid", "work"}, {"cat", "/workspace/file"}).out, "text\n");  // and was not ended by that
  const json::array all = sandboxes();
  ASSERT_EQ(all.size(), 1U);
  const json::object& one = all.front().as_object();
  EXPECT_EQ(find_string(one, "sid"), "work");
  EXPECT_EQ(find_string(one, "provider"), "local");
  EXPECT_EQ(find_string(one, "state"), "running");
  EXPECT_EQ(find_bool(one, "kept"), true);
  EXPECT_TRUE(find_string(one, "lease_end"));
  const Result table = program_.run({"ls"});
  EXPECT_THAT(table.out, AllOf(StartsWith("SID"), HasSubstr("work"), HasSubstr("running"), HasSubstr("yes")));
  EXPECT_EQ(program_.run({"ls", "-q"}).out, "work\n");
  EXPECT_EQ(program_.run({"rm", "work"}).code, 0);
  expect_nothing_left();
}

TEST_F(CliLocal, AKeptSandboxWithoutANameSaysHowToReachIt) {
  const Result made = run({"--keep"}, {"true"});
  EXPECT_EQ(made.code, 0);
  EXPECT_THAT(made.err, AllOf(StartsWith("sandkey: kept as run-"), HasSubstr(" until ")));
  const std::string sid = made.err.substr(17, 12);
  EXPECT_THAT(made.err, HasSubstr("sandkey rm " + sid));
  EXPECT_EQ(program_.run({"rm", sid}).code, 0);
}

TEST_F(CliLocal, OptionsThatContradictAnExistingSandboxAreRefused) {
  keep("work");
  const Result image = run({"--sid", "work", "--image", here_.path()}, {"true"});
  EXPECT_EQ(image.code, 125);
  EXPECT_THAT(image.err, AllOf(HasSubstr("work"), HasSubstr("default image")));
  EXPECT_EQ(run({"--sid", "work", "--keep"}, {"true"}).code, 0);
  const Result quiet = run({"--sid", "work", "--network"}, {"true"});
  EXPECT_EQ(quiet.code, 0);
  EXPECT_THAT(quiet.err, IsEmpty());
  EXPECT_THAT(run({"--sid", "work", "--network", "-v"}, {"true"}).err, HasSubstr("not looked at: --network"));
}

TEST_F(CliLocal, PythonKeepsItsStateInAKeptSandbox) {
  if (!runtime_test::have_python()) GTEST_SKIP() << "there is no python3";
  EXPECT_EQ(program_.run({"python", "--keep", "--sid", "work", "x = 20"}).code, 0);
  EXPECT_EQ(program_.run({"python", "--sid", "work", "print(x * 2 + 2)"}).out, "42\n");
  EXPECT_EQ(program_.run({"python", "--env", "a=1", "import os; print(os.environ['a'])"}).out, "1\n");
}

TEST_F(CliLocal, CopiesFilesFoldersAndFromOneSandboxToAnother) {
  keep("one");
  keep("two");
  fs::create_directories(here_ / "tree/sub");
  write_file(here_ / "tree/sub/run", "#!/bin/sh\n");
  fs::permissions(here_ / "tree/sub/run", fs::perms(0755));
  fs::create_symlink("sub/run", here_ / "tree/link");
  write_file(here_ / "a:b", "colon");
  ASSERT_EQ(program_.run({"cp", here_ / "tree", "one:/workspace/"}).code, 0);
  EXPECT_EQ(run({"--sid", "one"}, {"sh", "-c", "test -x tree/sub/run && readlink tree/link"}).out,
            "sub/run\n");
  const Result across = program_.run({"cp", "one:/workspace/tree", "two:/workspace"});
  EXPECT_EQ(across.code, 0) << across.err;
  ASSERT_EQ(program_.run({"cp", "two:/workspace/tree", here_ / "back"}).code, 0);
  EXPECT_EQ(read_file(here_ / "back/sub/run"), "#!/bin/sh\n");
  EXPECT_EQ(mode_of(here_ / "back/sub/run"), 0755U);
  EXPECT_EQ(fs::read_symlink(here_ / "back/link"), "sub/run");
  EXPECT_EQ(program_.run({"cp", here_ / "a:b", "one:/workspace/"}).code, 0);
  EXPECT_EQ(program_.run({"cp", "one:/workspace/a:b", "two:/workspace/c"}).code, 0);
  EXPECT_EQ(run({"--sid", "two"}, {"cat", "c"}).out, "colon");
}

// What a server at 127.0.0.1:port sends until it closes; empty if nobody is there.
std::string fetch(int port) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  const std::string request = "GET /file HTTP/1.0\r\n\r\n";
  if (::write(fd.get(), request.data(), request.size()) != static_cast<ssize_t>(request.size())) return {};
  return read_all(fd.get());
}

class CliLocalPorts : public CliLocal {
 protected:
  void SetUp() override {
    CliLocal::SetUp();
    if (IsSkipped()) return;
    if (!runtime_test::have_python()) GTEST_SKIP() << "there is no python3";
    keep("work");
    ASSERT_EQ(run({"--sid", "work"}, {"sh", "-c", "echo from inside > file"}).code, 0);
    const Spawn spawn =
        program_.spawn({"run", "--sid", "work", "--", "python3", "-m", "http.server", "8000"});
    server_ = std::make_unique<Process>(spawn);
  }
  std::unique_ptr<Process> server_;
};

TEST_F(CliLocalPorts, ForwardCarriesConnectionsUntilItIsToldToStop) {
  for (const int number : {SIGINT, SIGTERM}) {
    Pipe out;
    Spawn spawn = program_.spawn({"forward", "--json", "work", "0:8000"});
    spawn.out = out.write.get();
    Process forward(spawn);
    out.write.reset();
    const std::string line = read_until(out.read.get(), "\n");
    const auto port = find_integer(parse_json(line, "what forward prints").as_object(), "port");
    ASSERT_TRUE(port);
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(fetch(static_cast<int>(*port)), AllOf(HasSubstr("200 OK"), HasSubstr("from inside")));
    }
    forward.signal(number);
    EXPECT_EQ(forward.wait(), 0);
    EXPECT_THAT(fetch(static_cast<int>(*port)), IsEmpty());
  }
}

TEST_F(CliLocalPorts, ForwardSaysWhatDoesNotListenAndEndsWithTheSandbox) {
  Pipe out;
  Pipe err;
  Spawn spawn = program_.spawn({"forward", "--json", "work", "0:8001"});
  spawn.out = out.write.get();
  spawn.err = err.write.get();
  Process forward(spawn);
  out.write.reset();
  err.write.reset();
  const std::string line = read_until(out.read.get(), "\n");
  const auto port = find_integer(parse_json(line, "what forward prints").as_object(), "port");
  ASSERT_TRUE(port);
  EXPECT_THAT(fetch(static_cast<int>(*port)), IsEmpty());
  EXPECT_THAT(read_until(err.read.get(), "\n"), HasSubstr("port 8001 of work accepted no connection"));
  EXPECT_EQ(program_.run({"rm", "work"}).code, 0);
  EXPECT_THAT(fetch(static_cast<int>(*port)), IsEmpty());
  EXPECT_EQ(forward.wait(), 125);
  EXPECT_THAT(read_until(err.read.get(), "\n"), HasSubstr("does not answer any more"));
}

TEST_F(CliLocalPorts, UrlLeadsInside) {
  const Result result = program_.run({"url", "work", "8000"});
  ASSERT_EQ(result.code, 0) << result.err;
  ASSERT_THAT(result.out, StartsWith("http://127.0.0.1:"));
  const int port = std::stoi(result.out.substr(17));
  EXPECT_TRUE(eventually([&] { return fetch(port).find("from inside") != std::string::npos; }));
  EXPECT_EQ(find_string(program_.run_json({"url", "--json", "work", "8000"}), "url"),
            result.out.substr(0, result.out.size() - 1));
}

TEST_F(CliLocal, PausedSandboxesStandStillAndGoOn) {
  keep("work");
  EXPECT_EQ(program_.run({"pause", "work"}).code, 0);
  EXPECT_EQ(program_.run({"pause", "work"}).code, 0);
  EXPECT_EQ(sandboxes().at(0).at("state").as_string(), "paused");
  EXPECT_EQ(program_.run({"resume", "work"}).code, 0);
  EXPECT_EQ(program_.run({"resume", "work"}).code, 0);
  EXPECT_EQ(sandboxes().at(0).at("state").as_string(), "running");
  EXPECT_EQ(program_.run({"pause", "work"}).code, 0);
  EXPECT_EQ(run({"--sid", "work"}, {"echo", "on"}).out, "on\n");  // which wakes it
}

TEST_F(CliLocal, RemoveTakesSeveralAndNamesThoseThatAreUnknown) {
  keep("one");
  keep("two");
  keep("three");
  const Result some = program_.run({"rm", "one", "unknown", "two"});
  EXPECT_EQ(some.code, 125);
  EXPECT_THAT(some.err, HasSubstr("unknown"));
  EXPECT_EQ(count_lines(some.err), 1U) << some.err;
  EXPECT_THAT(sids(), ElementsAre("three"));
  const Result told = program_.run({"rm", "--json", "unknown", "three"});
  EXPECT_EQ(told.code, 125);
  EXPECT_THAT(told.err, IsEmpty());
  const json::object document = parse_json(told.out, "the output").as_object();
  EXPECT_EQ(document.at("removed"), (json::array{"three"}));
  const json::array errors = document.at("errors").as_array();
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors.front().at("sid"), json::value("unknown"));
  EXPECT_EQ(errors.front().at("error"), json::value("not_found"));
  EXPECT_EQ(program_.run({"rm", "--all"}).code, 0);
  expect_nothing_left();
}

TEST_F(CliLocal, LimitsThatDoNotHoldAreTold) {
  const Result limited = run({"--keep", "--sid", "work", "--memory", "256M", "--processes", "100"}, {"true"});
  EXPECT_EQ(limited.code, 0);
  std::string expected;
  const Result table = program_.run({"ls"});
  for (const json::value& value : sandboxes().at(0).at("remarks").as_array()) {
    const std::string remark(value.as_string());
    EXPECT_THAT(table.out, HasSubstr("work: " + remark + "\n"));
    if (remark.find("freezing") == std::string::npos) expected += "sandkey: " + remark + "\n";
  }
  EXPECT_EQ(limited.err, expected);
}

TEST_F(CliLocal, CompletionOffersTheNames) {
  keep("work");
  Pipe out;
  Spawn spawn;
  spawn.argv = {"/bin/bash", "--norc", "-c",
                "source <(" SANDKEY_CLI " completion bash); for verb in rm cp; do COMP_WORDS=(" SANDKEY_CLI
                " $verb w) COMP_CWORD=2; _sandkey; echo \"${COMPREPLY[@]}\"; done"};
  spawn.environment = program_.spawn({}).environment;
  spawn.out = out.write.get();
  Process process(spawn);
  out.write.reset();
  EXPECT_EQ(read_all(out.read.get()), "work\nwork:\n");
  EXPECT_EQ(process.wait(), 0);
}

TEST_F(CliLocal, ProvidersSaysThatItCanBeUsed) {
  const json::object document = program_.run_json({"providers", "--json"});
  const json::object& local = document.at("providers").as_array().at(0).as_object();
  EXPECT_EQ(find_bool(local, "usable"), true);
  EXPECT_EQ(find_bool(local.at("capabilities").as_object(), "pause"), true);
}

TEST_F(CliLocal, SignalsReachTheCommandAndNothingIsLeft) {
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
  expect_nothing_left();
}

TEST_F(CliLocal, AClientThatIsKilledLeavesNothing) {
  Pipe out;
  Spawn spawn = program_.spawn({"run", "--", "sh", "-c", "echo ready; exec sleep 1000"});
  spawn.out = out.write.get();
  Process process(spawn);
  out.write.reset();
  ASSERT_THAT(read_until(out.read.get(), "ready"), HasSubstr("ready"));
  EXPECT_EQ(sandboxes().size(), 1U);
  process.signal(SIGKILL);
  (void)process.wait();
  EXPECT_TRUE(eventually([&] { return sandboxes().empty(); }));
  expect_nothing_left();
}

// With a bubblewrap that never gets ready.
class CliEndlessCreation : public CliLocal {
 protected:
  void SetUp() override {
    CliLocal::SetUp();
    if (IsSkipped()) return;
    const std::string bin = here_ / "bin";
    fs::create_directory(bin);
    fs::copy_file(SANDKEY_ENDLESS, bin + "/bwrap");
    const std::string pipe = bin + "/begun";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    // It may run as another user.
    for (const std::string& path : {here_.path(), bin, bin + "/bwrap"})
      ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
    ASSERT_EQ(::chmod(pipe.c_str(), 0666), 0);
    program_.environment["PATH"] = bin + ":/usr/bin:/bin";
    begun_.reset(::open(pipe.c_str(), O_RDWR | O_CLOEXEC));
  }
  void wait_until_begun() { ASSERT_EQ(read_until(begun_.get(), "begun\n"), "begun\n"); }

  UniqueFd begun_;
};

TEST_F(CliEndlessCreation, ASignalLeavesNothing) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    for (const std::vector<std::string>& arguments :
         std::vector<std::vector<std::string>>{{"run", "--", "true"}, {"run", "--keep", "--", "true"}}) {
      Process process(program_.spawn(arguments));
      wait_until_begun();
      process.signal(number);
      EXPECT_EQ(process.wait(), 128 + number);
      expect_nothing_left();
    }
  }
}

TEST_F(CliEndlessCreation, ATerminalShowsWhatIsWaitedForAndCtrlCEndsIt) {
  TerminalProgram program(program_, {"run", "--", "true"});
  EXPECT_THAT(program.read_until("1 s"), HasSubstr("creating the sandbox ... 1 s"));
  program.type("\x03");
  EXPECT_EQ(program.process().wait(), 128 + SIGINT);
  EXPECT_TRUE(program.read_rest().ends_with("\r\033[K"));
  expect_nothing_left();
}

TEST_F(CliEndlessCreation, TheStartTimeoutEndsItWithOneLine) {
  const Result result = run({"--start-timeout", "1s"}, {"true"});
  EXPECT_EQ(result.code, 125);
  EXPECT_THAT(result.err, StartsWith("sandkey: "));
  EXPECT_EQ(count_lines(result.err), 1U) << result.err;
  wait_until_begun();
  expect_nothing_left();
}

TEST_F(CliLocal, AShellThatIsEndedLeavesNothing) {
  for (const int number : {SIGTERM, SIGHUP}) {
    TerminalProgram shell(program_, {"shell"});
    shell.type("PS1=ready\"\"now\r");
    EXPECT_THAT(shell.read_until("readynow"), HasSubstr("readynow"));
    EXPECT_FALSE(shell.cooked());
    shell.process().signal(number);
    EXPECT_EQ(shell.process().wait(), 128 + number);
    EXPECT_TRUE(shell.cooked());
  }
  expect_nothing_left();
}

TEST_F(CliLocal, SeveralProcessesShareOneName) {
  std::vector<std::unique_ptr<Process>> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(std::make_unique<Process>(
        program_.spawn({"run", "--keep", "--sid", "shared", "--", "sh", "-c", "echo $$ >> /workspace/all"})));
  }
  for (const auto& process : all) EXPECT_EQ(process->wait(), 0);
  EXPECT_THAT(sids(), ElementsAre("shared"));
  EXPECT_EQ(count_lines(run({"--sid", "shared"}, {"cat", "/workspace/all"}).out), 4U);
}

}  // namespace
}  // namespace sandkey::cli_test
