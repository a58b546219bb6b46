// Commands and cells: what a user does with a connected runtime.
#include "tests/contract/suite.h"

#include <boost/asio/this_coro.hpp>
#include <gmock/gmock.h>

#include <csignal>
#include <span>
#include <string>
#include <utility>

namespace sandkey::contract {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Commands : public ContractTest {};
INSTANTIATE_TEST_SUITE_P(, Commands, ::testing::ValuesIn(every_provider()), name_of);

TEST_P(Commands, RunInOneShellThatKeepsItsState) {
  const auto runtime = connected("shell");
  EXPECT_EQ(runtime->status(), RuntimeStatus::ready);
  EXPECT_TRUE(runtime->check_if_alive());
  EXPECT_EQ(output(*runtime, "pwd"), "/workspace");
  (void)output(*runtime, "mkdir -p /tmp/a/b && cd /tmp/a/b && kept=yes");
  const Observation seen = runtime->run({.command = "pwd; echo $kept"}, 60);
  EXPECT_EQ(seen.content, "/tmp/a/b\nyes");
  ASSERT_NE(seen.as<CmdOutputObservation>(), nullptr);
  EXPECT_EQ(seen.as<CmdOutputObservation>()->metadata.working_dir, "/tmp/a/b");
  CmdRunAction elsewhere{.command = "pwd", .is_static = true, .cwd = "/tmp/a"};
  EXPECT_EQ(runtime->run(elsewhere, 60).content, "/tmp/a");
  EXPECT_EQ(output(*runtime, "pwd"), "/tmp/a/b");
  runtime->close();
  EXPECT_EQ(thrown([&] { (void)output(*runtime, "true"); }).code(), ErrorCode::invalid_argument);
}

TEST_P(Commands, VariablesArriveAsTheyAre) {
  const std::string odd = "it's \"odd\" $HOME `id` \\ \xC3\xA4\nsecond line";
  OpenHandsConfig config = ContractTest::config();
  config.sandbox.runtime_startup_env_vars = {{"AT_STARTUP", odd}};
  RuntimeOptions options;
  options.env_vars = {{"OF_OURS", "blue"}};
  const auto runtime = connected("variables", config, std::move(options));
  runtime->add_env_vars({{"later", odd}});
  EXPECT_EQ(output(*runtime, "printf %s \"$AT_STARTUP\""), odd);
  EXPECT_EQ(output(*runtime, "printf %s \"$LATER\""), odd);
  EXPECT_EQ(output(*runtime, "echo $OF_OURS"), "blue");
  runtime->close();
}

TEST_P(Commands, ExitCodesAreThoseOfTheCommand) {
  const auto runtime = connected("codes");
  for (const int code : {0, 1, 7, 124, 126, 127, 128, 255})
    EXPECT_EQ(exit_code(*runtime, "(exit " + std::to_string(code) + ")"), code);
  EXPECT_EQ(exit_code(*runtime, "/no/such/program"), 127);
  EXPECT_EQ(exec(*runtime, {.argv = {"sh", "-c", "exit 7"}}).result.exit_code, 7);
  runtime->close();
}

TEST_P(Commands, ASignalThatEndsOneIsToldAs128AndItsNumber) {
  const auto runtime = connected("signals");
  EXPECT_EQ(exit_code(*runtime, "sh -c 'kill -KILL $$'"), 128 + SIGKILL);
  EXPECT_EQ(exit_code(*runtime, "sh -c 'kill -TERM $$'"), 128 + SIGTERM);
  const ExecResult result = exec(*runtime, {.argv = {"sh", "-c", "kill -SEGV $$"}}).result;
  EXPECT_EQ(result.exit_code, 128 + SIGSEGV);
  EXPECT_EQ(result.signal, SIGSEGV);
  runtime->close();
}

TEST_P(Commands, BothOutputsAndTheInputAreKeptApart) {
  const auto runtime = connected("streams");
  ExecCommand command{.argv = {"sh", "-c", "echo \"$V in $(pwd)\"; cat; echo wrong >&2"}};
  command.env = {{"V", "a b"}};
  command.cwd = "/tmp";
  const std::string bytes("zero \0 and \xFF\xFE", 13);
  const Ran ran = exec(*runtime, command, bytes);
  EXPECT_EQ(ran.output[0], "a b in /tmp\n" + bytes);
  EXPECT_EQ(ran.output[1], "wrong\n");
  command.argv = {"cat"};
  command.input = false;
  EXPECT_EQ(exec(*runtime, command).output[0], "");
  runtime->close();
}

TEST_P(Commands, MuchOutputArrivesWhole) {
  const auto runtime = connected("much");
  const Ran ran = exec(*runtime, {.argv = {"seq", "1000000"}, .input = false});
  EXPECT_EQ(ran.output[0].size(), 6'888'896U);
  EXPECT_TRUE(ran.output[0].ends_with("\n999999\n1000000\n"));
  runtime->close();
}

// It ends only when it is told to, and it is told once its first words are here.
TEST_P(Commands, OutputArrivesWhileTheCommandRuns) {
  const auto runtime = connected("streaming");
  ExecCommand command;
  command.argv = {"sh", "-c", "echo first; read line; echo \"then $line\""};
  const auto stream = runtime->agent().exec(command);
  std::string seen;
  const auto answer = [&]() -> asio::awaitable<void> {
    const std::string line = "on\n";
    const std::span<const char> text(line);
    (void)co_await stream->write(std::as_bytes(text));
  };
  const auto follow = [&]() -> asio::awaitable<void> {
    TaskGroup answering(*engine_, co_await asio::this_coro::executor);
    ExecSink sink = [&](std::size_t, std::span<const std::byte> bytes) -> asio::awaitable<void> {
      seen.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      if (seen == "first\n") answering.spawn(answer());
      co_return;
    };
    (void)co_await stream->follow(sink);
    co_await answering.join();
  };
  engine_->wait(engine_->with_deadline(follow(), soon(), "the test"));
  EXPECT_EQ(seen, "first\nthen on\n");
  runtime->close();
}

TEST_P(Commands, OneThatTakesTooLongIsLeftRunningAndCanBeInterrupted) {
  const auto runtime = connected("timeouts");
  const auto begin = std::chrono::steady_clock::now();
  const Observation late = runtime->run({.command = "sleep 1000", .blocking = true}, 0.5);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  ASSERT_NE(late.as<CmdOutputObservation>(), nullptr) << late.content;
  EXPECT_EQ(late.as<CmdOutputObservation>()->metadata.exit_code, -1);
  const Observation ended = runtime->run({.command = "C-c", .is_input = true}, 60);
  ASSERT_NE(ended.as<CmdOutputObservation>(), nullptr) << ended.content;
  EXPECT_EQ(ended.as<CmdOutputObservation>()->metadata.exit_code, 128 + SIGINT);
  EXPECT_EQ(output(*runtime, "echo usable"), "usable");

  ExecCommand command{.argv = {"sleep", "1000"}};
  command.timeout = std::chrono::milliseconds(200);
  EXPECT_TRUE(exec(*runtime, command).result.timed_out);
  runtime->close();
}

TEST_P(Commands, ARunningOneTakesSignalsAndInput) {
  const auto runtime = connected("interrupts");
  ExecCommand command;
  command.argv = {"sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.01; done"};
  const auto stream = runtime->agent().exec(command);
  std::string seen;
  ExecResult result;
  const auto follow = [&]() -> asio::awaitable<void> {
    TaskGroup signalling(*engine_, co_await asio::this_coro::executor);
    ExecSink sink = [&](std::size_t, std::span<const std::byte> bytes) -> asio::awaitable<void> {
      seen.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      if (seen == "ready\n") signalling.spawn(stream->signal(SIGINT));
      co_return;
    };
    result = co_await stream->follow(sink);
    co_await signalling.join();
  };
  engine_->wait(engine_->with_deadline(follow(), soon(), "the test"));
  EXPECT_EQ(seen, "ready\ncaught\n");
  EXPECT_EQ(result.exit_code, 3);

  // The same in the shell: a program that waits for a line.
  const Observation asks =
      runtime->run({.command = "read -r name; echo \"hello $name\"", .blocking = true}, 0.5);
  ASSERT_NE(asks.as<CmdOutputObservation>(), nullptr) << asks.content;
  EXPECT_EQ(asks.as<CmdOutputObservation>()->metadata.exit_code, -1);
  EXPECT_THAT(runtime->run({.command = "you", .is_input = true}, 60).content, HasSubstr("hello you"));
  runtime->close();
}

TEST_P(Commands, PythonKeepsItsStateOverCells) {
  RuntimeOptions options;
  options.plugins = {PluginRequirement{"jupyter"}};
  options.env_vars = {{"COLOUR", "blue"}};
  const auto runtime = connected("python", config(), std::move(options));
  (void)runtime->run_ipython({.code = "x = 20\ndef double(n): return 2 * n"}, 60);
  const IPythonRunCellAction uses{.code = "import os; print(double(x) + 2, os.environ['COLOUR'])",
                                  .include_extra = false};
  EXPECT_EQ(runtime->run_ipython(uses, 60).content, "42 blue");
  const Observation wrong = runtime->run_ipython({.code = "1 / 0"}, 60);
  EXPECT_THAT(wrong.content, HasSubstr("ZeroDivisionError"));
  EXPECT_THAT(runtime->run_ipython({.code = "print(x)"}, 60).content, StartsWith("20"));
  runtime->close();
}

TEST_P(Commands, KeyAndSessionKeysAreNotInTheirEnvironment) {
  const auto runtime = connected("secrets");
  const std::string everything = output(*runtime, "env; cat /proc/self/environ | tr '\\0' '\\n'");
  for (const KeyPart& part : subject().key) {
    EXPECT_THAT(everything, Not(HasSubstr(part.variable))) << "the variable's name";
    const auto value = engine_->environment(part.variable);
    EXPECT_TRUE(!value || everything.find(*value) == std::string::npos) << "the value of " << part.variable;
  }
  EXPECT_THAT(everything, Not(HasSubstr("SESSION_API_KEY")));
  EXPECT_THAT(everything, Not(HasSubstr("SANDKEY_EMULATOR")));
  runtime->close();
}

}  // namespace
}  // namespace sandkey::contract
