// connect() against what is not, or not yet, an agent: which error, which phase, which last cause.
#include "fake_cloud.h"
#include "fixtures.h"
#include "sandkey/base/error.h"
#include "sandkey/runtime/action_execution_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::runtime_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kHello =
    R"({"agent":"sandkey-agent","version":"9.9","protocol":1,"working_dir":"/","python":false})";

struct Failure {
  ErrorCode code = ErrorCode::internal;
  ErrorContext context;
  std::string message;
  RuntimeStatus status = RuntimeStatus::stopped;
  std::string told;  // to the status callback, with the last status
  bool authentication = false;
};

Failure failure_of(std::shared_ptr<Provider> provider, int seconds = 1, RuntimeOptions options = {}) {
  Engine engine;
  OpenHandsConfig config;
  config.sandbox.remote_runtime_init_timeout = std::chrono::seconds(seconds);
  Failure result;
  options.status_callback = [&result](std::string_view, RuntimeStatus, const std::string& message) {
    result.told = message;
  };
  ActionExecutionClient runtime(engine, std::move(provider), config, nullptr, "the-session",
                                std::move(options));
  try {
    runtime.connect();
    ADD_FAILURE() << "it connected";
  } catch (const Error& error) {
    result.code = error.code();
    result.context = error.context();
    result.message = error.what();
    result.authentication = dynamic_cast<const AuthenticationError*>(&error) != nullptr;
  }
  result.status = runtime.status();
  return result;
}

TEST(Connect, WhereNothingListensTheLastCauseIsNamed) {
  const TempDir dir;
  const Failure failure = failure_of(fixed("unix:" + (dir / "none.sock")));
  EXPECT_EQ(failure.code, ErrorCode::deadline_exceeded);
  EXPECT_EQ(failure.context.operation, "connect");
  EXPECT_EQ(failure.context.phase, "wait until the agent is alive");
  EXPECT_THAT(failure.message, AllOf(HasSubstr("wait until the agent is alive"), HasSubstr("within 1 s"),
                                     HasSubstr("the last try:"), HasSubstr("none.sock")));
  EXPECT_EQ(failure.status, RuntimeStatus::error);
  EXPECT_EQ(failure.told, failure.message);
}

TEST(Connect, AServerThatFailsIsAskedUntilTheDeadline) {
  ScriptedServer server(
      [](const ScriptedRequest&) { return ScriptedServer::reply(500, R"({"detail":"on fire"})"); });
  const Failure failure = failure_of(fixed(server.address()));
  EXPECT_EQ(failure.code, ErrorCode::deadline_exceeded);
  EXPECT_THAT(failure.message, AllOf(HasSubstr("HTTP 500"), HasSubstr("on fire")));
  EXPECT_GT(server.count("/alive"), 1U);
}

TEST(Connect, AServerThatRecoversIsConnectedTo) {
  std::atomic<int> asked{0};
  ScriptedServer server([&asked](const ScriptedRequest& request) -> std::optional<std::string> {
    if (request.line.find("/alive") != std::string::npos) {
      switch (asked++) {
        case 0:
          return "";  // breaks the connection
        case 1:
          return ScriptedServer::reply(503, "busy", "text/plain");
        case 2:
          return ScriptedServer::reply(200, R"({"status":"not initialized"})");
        default:
          return ScriptedServer::reply(200, R"({"status":"ok"})");
      }
    }
    return ScriptedServer::reply(200, kHello);
  });
  Engine engine;
  RuntimeOptions options;
  options.attach_to_existing = true;
  ActionExecutionClient runtime(engine, fixed(server.address()), quick_config(), nullptr, "s",
                                std::move(options));
  runtime.connect();
  EXPECT_EQ(runtime.status(), RuntimeStatus::ready);
  EXPECT_EQ(asked, 4);
}

TEST(Connect, WhatIsNoHttpIsAProtocolError) {
  ScriptedServer server([](const ScriptedRequest&) { return std::string("SSH-2.0-OpenSSH_9.2\r\n\r\n"); });
  const Failure failure = failure_of(fixed(server.address()), 60);
  EXPECT_EQ(failure.code, ErrorCode::protocol) << failure.message;
  EXPECT_EQ(failure.context.phase, "wait until the agent is alive");
}

TEST(Connect, AServerThatNeverAnswersEndsWithTheDeadline) {
  ScriptedServer server([](const ScriptedRequest&) { return std::optional<std::string>(); });
  const Failure failure = failure_of(fixed(server.address()));
  EXPECT_EQ(failure.code, ErrorCode::deadline_exceeded);
  EXPECT_EQ(failure.context.phase, "wait until the agent is alive");
}

TEST(Connect, ARefusedKeyIsNotTriedAgain) {
  ScriptedServer server(
      [](const ScriptedRequest&) { return ScriptedServer::reply(403, R"({"detail":"Invalid API Key"})"); });
  const Failure failure = failure_of(fixed(server.address(), "sk-canary-0123"), 60);
  EXPECT_EQ(failure.code, ErrorCode::unauthenticated);
  EXPECT_TRUE(failure.authentication);
  EXPECT_THAT(failure.message,
              AllOf(HasSubstr("Invalid API Key"), HasSubstr("key the agent was started with"),
                    Not(HasSubstr("sk-canary"))));
  EXPECT_EQ(server.count("/alive"), 1U);
  EXPECT_THAT(server.requests().at(0).head, HasSubstr("X-Session-API-Key: sk-canary-0123"));
}

TEST(Connect, AnotherRefusalIsAPermissionDenied) {
  ScriptedServer server(
      [](const ScriptedRequest&) { return ScriptedServer::reply(403, R"({"detail":"not from here"})"); });
  const Failure failure = failure_of(fixed(server.address()), 60);
  EXPECT_EQ(failure.code, ErrorCode::permission_denied);
  EXPECT_TRUE(failure.authentication);
}

TEST(Connect, AnAgentOfAnotherProtocolIsNamedWithBothVersions) {
  ScriptedServer server([](const ScriptedRequest& request) {
    if (request.line.find("/alive") != std::string::npos)
      return ScriptedServer::reply(200, R"({"status":"ok"})");
    return ScriptedServer::reply(200, R"({"agent":"sandkey-agent","version":"7.5.3","protocol":42})");
  });
  const Failure failure = failure_of(fixed(server.address()), 60);
  EXPECT_EQ(failure.code, ErrorCode::unsupported);
  EXPECT_EQ(failure.context.phase, "greet the agent");
  EXPECT_THAT(failure.message,
              AllOf(HasSubstr("protocol 42"), HasSubstr("7.5.3"), HasSubstr("same release")));
}

TEST(Connect, AGreetingThatIsNoneIsAProtocolError) {
  for (const char* body : {"[]", "{", "<html>"}) {
    ScriptedServer server([body](const ScriptedRequest& request) {
      if (request.line.find("/alive") != std::string::npos)
        return ScriptedServer::reply(200, R"({"status":"ok"})");
      return ScriptedServer::reply(200, body);
    });
    const Failure failure = failure_of(fixed(server.address()), 60);
    EXPECT_EQ(failure.code, ErrorCode::protocol) << body;
    EXPECT_EQ(failure.context.phase, "greet the agent");
  }
}

TEST(Connect, TheRealAgentsKeyIsNeeded) {
  const TempDir dir;
  write_file(dir / "keys", "the-right-key-0123456789\n");
  std::filesystem::permissions(dir / "keys", std::filesystem::perms(0600));
  AgentProcess agent({}, {"--session-key-file", dir / "keys"});
  EXPECT_EQ(failure_of(fixed(agent.address()), 60).code, ErrorCode::unauthenticated);
  EXPECT_EQ(failure_of(fixed(agent.address(), "the-wrong-key-0123456789"), 60).code,
            ErrorCode::unauthenticated);
  Engine engine;
  ActionExecutionClient runtime(engine, fixed(agent.address(), "the-right-key-0123456789"), quick_config(),
                                nullptr);
  runtime.connect();
  EXPECT_THAT(runtime.run(CmdRunAction{.command = "env; cat /proc/$PPID/environ"}).content,
              Not(HasSubstr("the-right-key-0123456789")));
}

TEST(Connect, AttachingToASessionThatIsNotThereNeverCreates) {
  const auto cloud = std::make_shared<FakeCloud>();
  RuntimeOptions options;
  options.attach_to_existing = true;
  const Failure failure = failure_of(cloud, 60, std::move(options));
  EXPECT_EQ(failure.code, ErrorCode::not_found);
  EXPECT_EQ(failure.context.phase, "find the sandbox");
  EXPECT_THAT(failure.message, HasSubstr("'the-session'"));
  EXPECT_THAT(cloud->calls, ::testing::ElementsAre("find the-session"));
}

TEST(Connect, AProvidersErrorKeepsItsCodeAndGetsThePhase) {
  const auto cloud = std::make_shared<FakeCloud>();
  cloud->on_create = [] { throw Error(ErrorCode::quota_exceeded, "five sandboxes are all you have"); };
  const Failure failure = failure_of(cloud, 60);
  EXPECT_EQ(failure.code, ErrorCode::quota_exceeded);
  EXPECT_EQ(failure.context.phase, "create the sandbox");
  EXPECT_THAT(failure.message, HasSubstr("five sandboxes"));
}

TEST(Connect, WhatWasCreatedIsDestroyedByCloseButNotWhatWasAttachedToOrIsToBeKept) {
  AgentProcess agent;
  Engine engine;
  for (const int kind : {0, 1, 2}) {
    const auto cloud = std::make_shared<FakeCloud>();
    cloud->agent = agent.address();
    if (kind == 1) cloud->sandbox = SandboxId{"box"};
    RuntimeOptions options;
    options.attach_to_existing = kind == 1;
    OpenHandsConfig config = quick_config();
    config.sandbox.keep_runtime_alive = kind == 2;
    ActionExecutionClient runtime(engine, cloud, config, nullptr, "s", std::move(options));
    runtime.connect();
    runtime.close();
    runtime.close();
    EXPECT_EQ(std::count(cloud->calls.begin(), cloud->calls.end(), "destroy box"), kind == 0 ? 1 : 0) << kind;
  }
}

TEST(Connect, ASandboxThatIsCreatedWhileTheRuntimeIsClosedIsNotLeftBehind) {
  Engine engine;
  const auto cloud = std::make_shared<FakeCloud>();
  cloud->agent = "unix:/nonexistent/sandkey.sock";
  auto runtime = std::make_unique<ActionExecutionClient>(engine, cloud, quick_config(), nullptr, "s");
  const auto both = [](ActionExecutionClient* at, FakeCloud* fake, Engine* on) -> asio::awaitable<ErrorCode> {
    TaskGroup closing(*on);
    fake->on_create = [&closing, at] { closing.spawn(at->async_close()); };
    ErrorCode code = ErrorCode::internal;
    try {
      co_await at->async_connect();
    } catch (const Error& error) {
      code = error.code();
    }
    co_await closing.join();
    co_return code;
  };
  EXPECT_EQ(engine.wait(both(runtime.get(), cloud.get(), &engine)), ErrorCode::cancelled);
  EXPECT_THAT(cloud->calls, ::testing::Contains("destroy box"));
}

TEST(Connect, PauseAndResumeReachTheProvider) {
  AgentProcess agent;
  Engine engine;
  const auto cloud = std::make_shared<FakeCloud>();
  cloud->agent = agent.address();
  ActionExecutionClient runtime(engine, cloud, quick_config(), nullptr, "s");
  runtime.connect();
  runtime.pause();
  runtime.resume();
  EXPECT_THAT(cloud->calls, ::testing::ElementsAre("find s", "create s", "pause", "resume"));
}

// Whose processes are gone after a pause: so are the shell's variables.
TEST(Connect, WherePausesKeepFilesOnlyTheAgentIsStartedAndSetUpAnew) {
  AgentProcess agent;
  Engine engine;
  const auto cloud = std::make_shared<FakeCloud>();
  cloud->agent = agent.address();
  cloud->can.pause_keeps_processes = false;
  RuntimeOptions options;
  options.env_vars["COLOUR"] = "red";
  ActionExecutionClient runtime(engine, cloud, quick_config(), nullptr, "s", std::move(options));
  runtime.connect();
  EXPECT_EQ(cloud->agents_started, 1);
  runtime.pause();
  (void)runtime.run(CmdRunAction{.command = "unset COLOUR"});
  runtime.resume();
  EXPECT_EQ(cloud->agents_started, 2);
  EXPECT_EQ(runtime.run(CmdRunAction{.command = "echo $COLOUR"}).content, "red");
}

TEST(Connect, WhatStandsBeforeASandboxThatEndedIsNotTakenForItsAgent) {
  const auto proxy_says = [](int status, std::string body) {
    std::atomic<bool> dead = false;
    ScriptedServer server([&](const ScriptedRequest& request) {
      if (dead) return ScriptedServer::reply(status, body);
      return ScriptedServer::reply(200, request.line.find("hello") == std::string::npos ? "{}" : kHello);
    });
    Engine engine;
    const auto cloud = std::make_shared<FakeCloud>();
    cloud->agent = server.address();
    RuntimeOptions options;
    options.setup_environment = false;
    ActionExecutionClient runtime(engine, cloud, quick_config(), nullptr, "s", std::move(options));
    runtime.connect();
    dead = true;
    cloud->sandbox.reset();
    cloud->why_dead = "it ran out of memory";
    try {
      (void)runtime.run(CmdRunAction{.command = "true"});
      return std::string("it ran");
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + error.what();
    }
  };
  const auto dead = ::testing::AllOf(::testing::StartsWith("sandbox_dead: "),
                                     ::testing::EndsWith("the sandbox has ended: it ran out of memory"));
  EXPECT_THAT(proxy_says(404, R"({"error":"tunnel_not_found"})"), dead);
  EXPECT_THAT(proxy_says(404, "<html>"), dead);
  EXPECT_THAT(proxy_says(502, ""), dead);
  EXPECT_THAT(proxy_says(404, R"({"detail":"no such file"})"), ::testing::StartsWith("not_found: "));
}

TEST(Connect, AFailedConnectMayBeTriedAgain) {
  const TempDir dir;
  Engine engine;
  OpenHandsConfig config;
  config.sandbox.remote_runtime_init_timeout = std::chrono::seconds(1);
  const auto cloud = std::make_shared<FakeCloud>();
  cloud->agent = "unix:" + (dir / "none.sock");
  ActionExecutionClient runtime(engine, cloud, config, nullptr, "s");
  EXPECT_THROW(runtime.connect(), Error);
  AgentProcess agent;
  cloud->agent = agent.address();
  // The agent may need longer to start than this deadline lets it on a busy machine.
  RuntimeOptions attach;
  attach.attach_to_existing = true;
  ActionExecutionClient waits(engine, fixed(agent.address()), quick_config(), nullptr, "w",
                              std::move(attach));
  waits.connect();
  runtime.connect();
  EXPECT_EQ(runtime.status(), RuntimeStatus::ready);
  EXPECT_EQ(runtime.run(CmdRunAction{.command = "echo hi"}).content, "hi");
}

TEST(Runtime, ASessionIdThatCannotBeWrittenDownIsRefused) {
  Engine engine;
  const auto cloud = std::make_shared<FakeCloud>();
  const std::vector<std::string> bad{"", "a\nb", "\xFF", std::string(257, 's')};
  for (const std::string& sid : bad) {
    EXPECT_THROW(ActionExecutionClient(engine, cloud, OpenHandsConfig(), nullptr, sid), Error) << sid;
  }
}

TEST(Runtime, WithoutAProviderThereIsNone) {
  Engine engine;
  EXPECT_THROW(ActionExecutionClient(engine, nullptr, OpenHandsConfig(), nullptr), Error);
}

}  // namespace
}  // namespace sandkey::runtime_test
