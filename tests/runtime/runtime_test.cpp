// ActionExecutionClient against the real agent: what a user of the library does.
#include "fixtures.h"
#include "sandkey/base/error.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sandkey::runtime_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

template <typename Call>
Error thrown(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::internal, "");
}

class RuntimeTest : public ::testing::Test {
 protected:
  std::unique_ptr<ActionExecutionClient> make(RuntimeOptions options = {},
                                              OpenHandsConfig config = quick_config()) {
    return std::make_unique<ActionExecutionClient>(engine_, fixed(agent_.address()), config, nullptr,
                                                   "session", std::move(options));
  }
  std::unique_ptr<ActionExecutionClient> connected(RuntimeOptions options = {},
                                                   OpenHandsConfig config = quick_config()) {
    auto runtime = make(std::move(options), std::move(config));
    runtime->connect();
    return runtime;
  }
  static std::string output(ActionExecutionClient& runtime, const std::string& command,
                            bool is_static = false) {
    CmdRunAction action;
    action.command = command;
    action.is_static = is_static;
    const Observation observation = runtime.run(action, 60.0);
    const auto* run = observation.as<CmdOutputObservation>();
    EXPECT_NE(run, nullptr) << observation.type_name() << ": " << observation.content;
    if (run != nullptr) {
      EXPECT_EQ(run->metadata.exit_code, 0) << observation.content;
    }
    return observation.content;
  }

  AgentProcess agent_;
  Engine engine_;
};

// Values that anything less than exact quoting changes. Hex dumps tell them apart from look-alikes.
const std::map<std::string, std::string> kNasty = {
    {"N_EMPTY", ""},
    {"N_SINGLE", "it's 'quoted'"},
    {"N_DOUBLE", "say \"hi\""},
    {"N_DOLLAR", "$HOME ${PATH} $(id) $x $$"},
    {"N_TICKS", "`id` `"},
    {"N_NEWLINE", "one\ntwo\n\nfour\n"},
    {"N_EXPORT", "x\nexport N_SINGLE='forged'"},
    {"N_UNICODE", "h\xc3\xa9llo \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x8f\x9d"},
    {"N_BANG", "wow! !! !$ \"!x\""},
    {"N_BACKSLASH", "a\\b\\\\c\\n\\"},
    {"N_SPACES", "  both ends  "},
    {"N_GLOB", "* ? [a-z] ~ {1,2} # % & ; | < > ( )"},
    {"N_TAB", "a\tb"},
    {"N_CONTROL", "\x01\x03\x04\x1a\x1b[31m\x7f"},
    {"N_CARRIAGE", "a\rb\r\n"},
    {"N_LONG", std::string(20'000, 'x')},
};

std::string hex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(c));
    out += two;
  }
  return out;
}

std::string show_hex(const std::string& name) {
  return "printf %s \"$" + name + "\" | od -An -v -tx1 | tr -d ' \\n'";
}

TEST_F(RuntimeTest, RunsCommandsInOneShellThatKeepsItsState) {
  const auto runtime = connected();
  EXPECT_EQ(runtime->status(), RuntimeStatus::ready);
  EXPECT_TRUE(runtime->check_if_alive());
  EXPECT_THAT(output(*runtime, "echo hello"), HasSubstr("hello"));
  output(*runtime, "cd / && kept=yes");
  const Observation observation = runtime->run(CmdRunAction{.command = "echo $kept; (exit 7)"});
  ASSERT_NE(observation.as<CmdOutputObservation>(), nullptr);
  EXPECT_THAT(observation.content, HasSubstr("yes"));
  EXPECT_EQ(observation.as<CmdOutputObservation>()->metadata.exit_code, 7);
  EXPECT_EQ(observation.as<CmdOutputObservation>()->metadata.working_dir, "/");
}

TEST_F(RuntimeTest, RunsCellsThatKeepTheirState) {
  if (!have_python()) GTEST_SKIP() << "there is no python3";
  const auto runtime = connected();
  (void)runtime->run_ipython(IPythonRunCellAction{.code = "x = 20"});
  const Observation observation = runtime->run_ipython(IPythonRunCellAction{.code = "print(x * 2 + 2)"});
  ASSERT_NE(observation.as<IPythonRunCellObservation>(), nullptr);
  EXPECT_THAT(observation.content, StartsWith("42"));
}

TEST_F(RuntimeTest, WritesReadsAndEditsFiles) {
  const auto runtime = connected();
  const std::string path = agent_.work() + "/notes.txt";
  const Observation written = runtime->write(FileWriteAction{.path = path, .content = "first\nsecond"});
  EXPECT_NE(written.as<FileWriteObservation>(), nullptr) << written.content;
  const Observation read = runtime->read(FileReadAction{.path = path});
  EXPECT_NE(read.as<FileReadObservation>(), nullptr) << read.content;
  EXPECT_EQ(read.content, "first\nsecond\n");
  const Observation edited = runtime->edit(
      FileEditAction{.path = path, .command = "str_replace", .old_str = "second", .new_str = "zw\xc3\xb6lf"});
  EXPECT_NE(edited.as<FileEditObservation>(), nullptr) << edited.content;
  EXPECT_EQ(read_file(path), "first\nzw\xc3\xb6lf\n");
  const Observation missing = runtime->read(FileReadAction{.path = agent_.work() + "/none"});
  EXPECT_NE(missing.as<ErrorObservation>(), nullptr);
}

TEST_F(RuntimeTest, ListsFilesWithFoldersMarked) {
  const auto runtime = connected();
  write_file(agent_.work() + "/b.txt", "");
  fs::create_directory(agent_.work() + "/a");
  EXPECT_THAT(runtime->list_files(), ElementsAre("a/", "b.txt"));
  EXPECT_THAT(runtime->list_files(agent_.work() + "/a"), IsEmpty());
  EXPECT_THAT(runtime->list_files(agent_.work() + "/none"), IsEmpty());
}

TEST_F(RuntimeTest, CopiesFilesIn) {
  const auto runtime = connected();
  TempDir here;
  const std::string content("zero \0 and \xff\xfe", 13);
  write_file(here / "o'dd \"name\"", content);
  fs::permissions(here / "o'dd \"name\"", fs::perms(0751));
  runtime->copy_to(here / "o'dd \"name\"", agent_.work() + "/new/folder");
  const std::string there = agent_.work() + "/new/folder/o'dd \"name\"";
  EXPECT_EQ(read_file(there), content);
  EXPECT_EQ(mode_of(there), 0751U);
}

TEST_F(RuntimeTest, CopiesFoldersInWithAllThatIsInThem) {
  const auto runtime = connected();
  TempDir here;
  fs::create_directories(here / "tree/empty");
  write_file(here / "tree/run.sh", "#!/bin/sh\n");
  fs::permissions(here / "tree/run.sh", fs::perms(0755));
  fs::create_symlink("run.sh", here / "tree/link");
  runtime->copy_to(here / "tree/", agent_.work(), true);
  const std::string there = agent_.work() + "/tree";
  EXPECT_EQ(read_file(there + "/run.sh"), "#!/bin/sh\n");
  EXPECT_EQ(mode_of(there + "/run.sh"), 0755U);
  EXPECT_EQ(fs::read_symlink(there + "/link"), "run.sh");
  EXPECT_TRUE(fs::is_directory(there + "/empty"));
}

TEST_F(RuntimeTest, CopyToSaysWhatIsWrongWithTheSource) {
  const auto runtime = connected();
  TempDir here;
  const Error missing = thrown([&] { runtime->copy_to(here / "none", "/tmp"); });
  EXPECT_EQ(missing.code(), ErrorCode::not_found);
  EXPECT_THAT(missing.what(), HasSubstr(here / "none"));
  EXPECT_EQ(thrown([&] { runtime->copy_to(here.path(), "/tmp"); }).code(), ErrorCode::invalid_argument);
  write_file(here / "file", "");
  EXPECT_EQ(thrown([&] { runtime->copy_to(here / "file", "/tmp", true); }).code(),
            ErrorCode::invalid_argument);
}

TEST_F(RuntimeTest, CopiesAFolderOutAsAZipFile) {
  const auto runtime = connected();
  write_file(agent_.work() + "/result.txt", "42\n");
  const fs::path zip = runtime->copy_from(agent_.work());
  EXPECT_EQ(zip.extension(), ".zip");
  EXPECT_THAT(read_file(zip), AllOf(StartsWith("PK"), HasSubstr("result.txt")));
  fs::remove(zip);
}

TEST_F(RuntimeTest, CopyFromOfNothingIsAnErrorAndLeavesNoFile) {
  TempDir tmp;
  ::setenv("TMPDIR", tmp.path().c_str(), 1);
  const auto runtime = connected();
  EXPECT_EQ(thrown([&] { (void)runtime->copy_from(agent_.work() + "/none"); }).code(), ErrorCode::not_found);
  EXPECT_TRUE(fs::is_empty(tmp.path()));
  ::unsetenv("TMPDIR");
}

TEST_F(RuntimeTest, VariablesArriveExactlyInTheShellInNewShellsAndInPython) {
  RuntimeOptions options;
  const bool python = have_python();
  if (python) options.plugins = {PluginRequirement{"jupyter"}};
  const auto runtime = connected(std::move(options));
  runtime->add_env_vars(kNasty);
  for (const auto& [name, value] : kNasty) {
    if (value.size() > 10'000) continue;
    EXPECT_EQ(output(*runtime, show_hex(name)), hex(value)) << name << " in the shell";
    EXPECT_EQ(output(*runtime, show_hex(name), true), hex(value)) << name << " in a new shell";
    if (!python) continue;
    const Observation cell = runtime->run_ipython(IPythonRunCellAction{
        .code = "import os; print(os.environb[b'" + name + "'].hex())", .include_extra = false});
    EXPECT_EQ(cell.content, hex(value)) << name << " in Python";
  }
  EXPECT_EQ(output(*runtime, "echo ${#N_LONG}"), "20000");
  EXPECT_EQ(output(*runtime, "echo ${#N_LONG}", true), "20000");
}

TEST_F(RuntimeTest, ALaterValueIsTheOneThatNewShellsSee) {
  const auto runtime = connected();
  for (const char* value : {"one", "two\nlines", "one"}) {
    runtime->add_env_vars({{"CHANGING", value}});
    EXPECT_EQ(output(*runtime, show_hex("CHANGING")), hex(value));
    EXPECT_EQ(output(*runtime, show_hex("CHANGING"), true), hex(value));
  }
  const std::string before = read_file(agent_.home() + "/.bashrc");
  runtime->add_env_vars({{"CHANGING", "one"}});
  EXPECT_EQ(read_file(agent_.home() + "/.bashrc"), before);
}

TEST_F(RuntimeTest, NamesOfVariablesBecomeUpperCaseAndMustBeNames) {
  const auto runtime = connected();
  runtime->add_env_vars({{"lower_case", "up"}});
  EXPECT_EQ(output(*runtime, "echo $LOWER_CASE"), "up");
  for (const char* name : {"", "1X", "A-B", "A B", "A=B", "A;id", "A\n"}) {
    const Error error = thrown([&] { runtime->add_env_vars({{name, "x"}}); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << name;
  }
  EXPECT_EQ(thrown([&] {
              runtime->add_env_vars({{"A", std::string("x\0y", 3)}});
            }).code(),
            ErrorCode::invalid_argument);
  const Error bytes = thrown([&] { runtime->add_env_vars({{"A", "secret\xff"}}); });
  EXPECT_EQ(bytes.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(bytes.what(), Not(HasSubstr("secret")));
  RuntimeOptions options;
  options.env_vars = {{"not a name", "x"}};
  EXPECT_EQ(thrown([&] { (void)make(std::move(options)); }).code(), ErrorCode::invalid_argument);
}

TEST_F(RuntimeTest, ConnectSetsUpTheEnvironmentAndTheGitIdentity) {
  OpenHandsConfig config = quick_config();
  config.sandbox.runtime_startup_env_vars = {{"startup", "s'1"}};
  config.sandbox.enable_auto_lint = true;
  config.git_user_name = "O'Brien \"$x\"";
  config.git_user_email = "o@example.com";
  RuntimeOptions options;
  options.env_vars = {{"mine", "m 1"}};
  options.git_provider_tokens.emplace("github", Secret("token-123"));
  const auto runtime = connected(std::move(options), config);
  EXPECT_EQ(output(*runtime, "echo \"$STARTUP|$MINE|$ENABLE_AUTO_LINT|$GITHUB_TOKEN\""),
            "s'1|m 1|true|token-123");
  if (::access("/usr/bin/git", X_OK) == 0) {
    EXPECT_EQ(output(*runtime, "git config --global user.name"), config.git_user_name);
    EXPECT_EQ(output(*runtime, "git config --global user.email"), config.git_user_email);
  }
}

TEST_F(RuntimeTest, AttachingLeavesTheEnvironmentAlone) {
  const auto owner = connected();
  const std::string before = read_file(agent_.home() + "/.bashrc");
  std::vector<RuntimeStatus> seen;
  RuntimeOptions options;
  options.attach_to_existing = true;
  options.env_vars = {{"ATTACHED", "yes"}};
  options.status_callback = [&seen](std::string_view, RuntimeStatus status, const std::string&) {
    seen.push_back(status);
  };
  const auto runtime = connected(std::move(options));
  EXPECT_EQ(output(*runtime, "echo \"[$ATTACHED]\""), "[]");
  EXPECT_EQ(read_file(agent_.home() + "/.bashrc"), before);
  EXPECT_THAT(seen, ElementsAre(RuntimeStatus::ready));
  runtime->close();
  EXPECT_EQ(output(*owner, "echo still here"), "still here");
}

TEST_F(RuntimeTest, CloseIsIdempotentAndNothingRunsAfterwards) {
  const auto runtime = connected();
  runtime->close();
  runtime->close();
  EXPECT_EQ(runtime->status(), RuntimeStatus::stopped);
  const std::vector<std::function<void()>> calls = {
      [&] { (void)runtime->run(CmdRunAction{.command = "true"}); },
      [&] {
        runtime->add_env_vars({{"A", "1"}});
      },
      [&] { runtime->copy_to("/etc/hostname", "/tmp"); },
      [&] { (void)runtime->copy_from("/tmp"); },
      [&] { (void)runtime->list_files(); },
      [&] { (void)runtime->agent(); },
      [&] { runtime->connect(); },
  };
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const Error error = thrown(calls[i]);
    EXPECT_THAT(error.what(), HasSubstr("closed")) << i;
  }
}

TEST_F(RuntimeTest, NothingWorksBeforeConnect) {
  const auto runtime = make();
  EXPECT_FALSE(runtime->check_if_alive());
  const std::vector<std::function<void()>> calls = {
      [&] { (void)runtime->run(CmdRunAction{.command = "true"}); },
      [&] {
        runtime->add_env_vars({{"A", "1"}});
      },
      [&] { runtime->copy_to("/etc/hostname", "/tmp"); },
      [&] { (void)runtime->copy_from("/tmp"); },
      [&] { (void)runtime->list_files(); },
      [&] { (void)runtime->agent(); },
      [&] { runtime->pause(); },
      [&] { runtime->resume(); },
  };
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const Error error = thrown(calls[i]);
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << i;
    EXPECT_THAT(error.what(), HasSubstr("call connect() first")) << i;
    EXPECT_EQ(error.context().processed, Processed::no) << i;
  }
  runtime->close();
}

TEST_F(RuntimeTest, WhatAFixedAgentCannotDoIsUnsupported) {
  const auto runtime = connected();
  EXPECT_EQ(thrown([&] { runtime->pause(); }).code(), ErrorCode::unsupported);
  EXPECT_EQ(thrown([&] { runtime->resume(); }).code(), ErrorCode::unsupported);
}

TEST_F(RuntimeTest, ConnectingAgainChangesNothing) {
  const auto runtime = connected();
  output(*runtime, "kept=1");
  runtime->connect();
  EXPECT_EQ(output(*runtime, "echo $kept"), "1");
}

TEST_F(RuntimeTest, TellsItsStatusInOrder) {
  std::vector<std::string> seen;
  RuntimeOptions options;
  options.status_callback = [&seen](std::string_view level, RuntimeStatus status,
                                    const std::string& message) {
    seen.push_back(std::string(level) + " " + std::string(to_string(status)) + message);
  };
  const auto runtime = connected(std::move(options));
  runtime->close();
  EXPECT_THAT(seen,
              ElementsAre("info STATUS$STARTING_RUNTIME", "info STATUS$RUNTIME_STARTED",
                          "info STATUS$SETTING_UP_WORKSPACE", "info STATUS$READY", "info STATUS$STOPPED"));
}

TEST_F(RuntimeTest, ABlockingCommandNeedsATimeout) {
  const auto runtime = connected();
  const Error error = thrown([&] { (void)runtime->run(CmdRunAction{.command = "true", .blocking = true}); });
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(error.what(), HasSubstr("timeout"));
  const Observation fine = runtime->run(CmdRunAction{.command = "echo fine", .blocking = true}, 30.0);
  EXPECT_THAT(fine.content, HasSubstr("fine"));
}

TEST_F(RuntimeTest, ActionsThatAreNotExecutedAreAnsweredAsOpenHandsDoes) {
  const auto runtime = make();  // none of this needs a sandbox
  const Observation thought = runtime->run_action(Action(AgentThinkAction{.thought = "hm"}));
  EXPECT_NE(thought.as<AgentThinkObservation>(), nullptr);
  EXPECT_EQ(thought.content, "Your thought has been logged.");
  EXPECT_NE(runtime->run_action(Action(MessageAction{.content = "hi"})).as<NullObservation>(), nullptr);
  EXPECT_NE(runtime->run_action(Action(AgentFinishAction{})).as<NullObservation>(), nullptr);
  CmdRunAction command{.command = "true"};
  command.confirmation_state = ActionConfirmationStatus::awaiting_confirmation;
  EXPECT_NE(runtime->run_action(Action(command)).as<NullObservation>(), nullptr);
  command.confirmation_state = ActionConfirmationStatus::rejected;
  const Observation rejected = runtime->run_action(Action(command));
  EXPECT_NE(rejected.as<UserRejectObservation>(), nullptr);
  EXPECT_EQ(rejected.content, "Action has been rejected by the user! Waiting for further user input.");
}

TEST_F(RuntimeTest, ToolCallsAndEditsByAModelAreRefusedWithTheReason) {
  const auto runtime = make();
  const Observation tool = runtime->run_action(Action(MCPAction{.name = "search"}));
  ASSERT_NE(tool.as<ErrorObservation>(), nullptr);
  EXPECT_EQ(tool.as<ErrorObservation>()->error_id, "AGENT_ERROR$BAD_ACTION");
  const Observation edit =
      runtime->edit(FileEditAction{.path = "/x", .impl_source = FileEditSource::llm_based_edit});
  ASSERT_NE(edit.as<ErrorObservation>(), nullptr);
  EXPECT_EQ(edit.as<ErrorObservation>()->error_id, "AGENT_ERROR$BAD_ACTION");
  EXPECT_THAT(edit.content, HasSubstr("oh_aci"));
}

TEST_F(RuntimeTest, OneActionRunsAtATimeWhoeverSendsIt) {
  const auto runtime = connected();
  const std::string log = agent_.work() + "/log";
  // Each leaves a mark while it runs; none may find another's.
  const std::string command =
      "mkdir " + agent_.work() + "/busy && echo once >> " + log + " && rmdir " + agent_.work() + "/busy";
  const auto work = [&] {
    for (int i = 0; i < 25; ++i) output(*runtime, command, true);
  };
  std::thread first(work);
  std::thread second(work);
  first.join();
  second.join();
  std::string expected;
  for (int i = 0; i < 50; ++i) expected += "once\n";
  EXPECT_EQ(read_file(log), expected);
}

TEST_F(RuntimeTest, ActionsOfOneThreadRunInTheirOrder) {
  const auto runtime = connected();
  const auto all = [](Engine* engine, ActionExecutionClient* to, std::string log) -> asio::awaitable<void> {
    TaskGroup tasks(*engine);
    for (int i = 0; i < 10; ++i) {
      tasks.spawn([](ActionExecutionClient* at, std::string line) -> asio::awaitable<void> {
        CmdRunAction action;
        action.command = std::move(line);
        (void)co_await at->async_run(std::move(action));
      }(to, "echo " + std::to_string(i) + " >> " + log));
    }
    co_await tasks.join();
  };
  engine_.wait(all(&engine_, runtime.get(), agent_.work() + "/log"));
  EXPECT_EQ(read_file(agent_.work() + "/log"), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

TEST_F(RuntimeTest, AnActionThatWaitsWhileTheRuntimeIsClosedIsNotRun) {
  const auto runtime = connected();
  const auto all = [](Engine* engine, ActionExecutionClient* to,
                      std::string dir) -> asio::awaitable<std::string> {
    TaskGroup tasks(*engine);
    std::string answer;
    CmdRunAction action;
    action.command = "mkfifo " + dir + "/go; echo ready > " + dir + "/ready; read x < " + dir + "/go";
    tasks.spawn([](ActionExecutionClient* at, CmdRunAction what) -> asio::awaitable<void> {
      (void)co_await at->async_run(std::move(what), 60.0);
    }(to, std::move(action)));
    CmdRunAction late;
    late.command = "touch " + dir + "/late";
    tasks.spawn([](ActionExecutionClient* at, CmdRunAction what, std::string* into) -> asio::awaitable<void> {
      try {
        (void)co_await at->async_run(std::move(what), 60.0);
        *into = "it ran";
      } catch (const Error& error) {
        *into = error.what();
      }
    }(to, std::move(late), &answer));
    while (read_file(dir + "/ready").empty()) co_await engine->sleep_for(std::chrono::milliseconds(1));
    co_await to->async_close();
    std::ofstream(dir + "/go") << "x\n";
    co_await tasks.join();
    co_return answer;
  };
  const std::string answer = engine_.wait(all(&engine_, runtime.get(), agent_.work()));
  EXPECT_THAT(answer, HasSubstr("closed"));
  EXPECT_FALSE(fs::exists(agent_.work() + "/late"));
}

TEST_F(RuntimeTest, ABlockingCallOnAnEngineThreadThrows) {
  const auto runtime = connected();
  const auto call = [](ActionExecutionClient* to) -> asio::awaitable<ErrorCode> {
    co_return thrown([to] { (void)to->run(CmdRunAction{.command = "true"}); }).code();
  };
  EXPECT_EQ(engine_.wait(call(runtime.get())), ErrorCode::invalid_argument);
}

TEST_F(RuntimeTest, EveryBlockingCallHasItsCoroutine) {
  const auto runtime = make();
  TempDir here;
  write_file(here / "up.txt", "up");
  const auto all = [](ActionExecutionClient* to, std::string work,
                      std::string up) -> asio::awaitable<std::vector<std::string>> {
    std::vector<std::string> said;
    co_await to->async_connect();
    const bool alive = co_await to->async_check_if_alive();
    said.emplace_back(alive ? "alive" : "dead");
    CmdRunAction run;
    run.command = "echo ran";
    const Observation ran = co_await to->async_run(std::move(run));
    said.push_back(ran.content);
    FileWriteAction write;
    write.path = work + "/f";
    write.content = "written";
    (void)co_await to->async_write(std::move(write));
    FileReadAction read;
    read.path = work + "/f";
    const Observation got = co_await to->async_read(std::move(read));
    said.push_back(got.content);
    FileEditAction edit;
    edit.path = work + "/f";
    edit.command = "str_replace";
    edit.old_str = "written";
    edit.new_str = "edited";
    (void)co_await to->async_edit(std::move(edit));
    said.push_back(read_file(work + "/f"));
    co_await to->async_copy_to(up, work);
    const std::vector<std::string> names = co_await to->async_list_files();
    said.insert(said.end(), names.begin(), names.end());
    const fs::path zip = co_await to->async_copy_from(work);
    fs::remove(zip);
    std::map<std::string, std::string> variables;
    variables["V"] = "v";
    co_await to->async_add_env_vars(std::move(variables));
    CmdRunAction show;
    show.command = "echo $V";
    Action action{ActionBody(std::move(show))};
    const Observation shown = co_await to->async_run_action(std::move(action));
    said.push_back(shown.content);
    co_await to->async_close();
    co_return said;
  };
  EXPECT_THAT(engine_.wait(all(runtime.get(), agent_.work(), here / "up.txt")),
              ElementsAre("alive", "ran", "written\n", "edited\n", "f", "up.txt", "v"));
}

TEST_F(RuntimeTest, ARuntimeMayGoWhileItsActionRuns) {
  auto runtime = connected();
  const auto all = [](std::unique_ptr<ActionExecutionClient>* at) -> asio::awaitable<std::string> {
    CmdRunAction action;
    action.command = "echo done";
    auto running = (*at)->async_run(std::move(action));
    at->reset();
    const Observation observation = co_await std::move(running);
    co_return observation.content;
  };
  EXPECT_EQ(engine_.wait(all(&runtime)), "done");
}

TEST_F(RuntimeTest, ADeadAgentIsNotAlive) {
  const auto runtime = connected();
  agent_.kill();
  EXPECT_FALSE(runtime->check_if_alive());
}

}  // namespace
}  // namespace sandkey::runtime_test
