// Runtimes in real sandboxes on this machine.
#include "sandkey/base/error.h"
#include "sandkey/providers/local/local_runtime.h"
#include "sandkey/providers/registry.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/runtime/ledger.h"
#include "tests/runtime/fixtures.h"

#include <boost/asio/this_coro.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using runtime_test::TempDir;
using ::testing::HasSubstr;

// The world of a test: a state folder of its own.
EngineOptions options_of(const TempDir& state, std::size_t threads = 1) {
  EngineOptions options;
  options.threads = threads;
  options.environment = [path = state.path()](const std::string& name) -> std::optional<std::string> {
    if (name == "SANDKEY_STATE_DIR") return path;
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody sets any
    if (value == nullptr) return std::nullopt;
    return value;
  };
  return options;
}

class Local : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      Engine engine(options_of(state_));
      (void)authenticate(engine, local::kEntry, OpenHandsConfig());
    } catch (const Error& error) {
      GTEST_SKIP() << "this machine cannot make sandboxes: " << error.what();
    }
  }

  void TearDown() override {
    EXPECT_TRUE(eventually([this] { return sandboxes().empty(); }));
  }

  static OpenHandsConfig kept(int lease_seconds) {
    OpenHandsConfig config;
    config.sandbox.keep_runtime_alive = true;
    config.sandbox.lease = std::chrono::seconds(lease_seconds);
    return config;
  }

  [[nodiscard]] std::vector<std::string> sandboxes() const {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(state_ / "local", error))
      names.push_back(entry.path().filename().string());
    return names;
  }

  // For what another process does when it gets to it.
  static bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 2000; ++i) {
      if (holds()) return true;
      ::usleep(5000);
    }
    return false;
  }

  // A process of its own that calls `work` and then waits to be killed; returns when `work` has.
  [[nodiscard]] pid_t elsewhere(const std::function<void()>& work) const {
    std::array<int, 2> told{};
    if (::pipe(told.data()) != 0) throw system_error("making a pipe", errno);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(told[0]);
      try {
        work();
        if (::write(told[1], "y", 1) == 1) ::pause();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "elsewhere: %s\n", error.what());
      }
      ::_exit(1);
    }
    ::close(told[1]);
    char byte = 0;
    EXPECT_EQ(::read(told[0], &byte, 1), 1);
    ::close(told[0]);
    return child;
  }

  static void kill_and_reap(pid_t pid) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }

  TempDir state_;
};

std::string output_of(ActionExecutionClient& runtime, const std::string& command) {
  return runtime.run({.command = command}, 30).content;
}

TEST_F(Local, RunsActionsLikeAnyOther) {
  Engine engine(options_of(state_));
  OpenHandsConfig config;
  config.sandbox.runtime_startup_env_vars = {{"COLOUR", "blue"}};
  LocalRuntime runtime(engine, config, nullptr, "first");
  EXPECT_TRUE(sandboxes().empty());  // nothing before connect()
  runtime.connect();
  EXPECT_EQ(runtime.sandbox_id().value, "first");
  EXPECT_EQ(output_of(runtime, "pwd; echo $COLOUR; id -un; git config user.name"),
            "/workspace\nblue\nsandkey\nopenhands");
  EXPECT_THAT(runtime.run_ipython({.code = "print(6 * 7)"}).content, HasSubstr("42"));
  (void)runtime.write({.path = "/workspace/note.txt", .content = "hello"});
  EXPECT_EQ(output_of(runtime, "cat note.txt"), "hello");
  runtime.close();
  EXPECT_TRUE(sandboxes().empty());
  EXPECT_TRUE(open_user_ledger(engine)->list().empty());
}

TEST_F(Local, SessionsOfAnyNameFindTheirSandbox) {
  Engine engine(options_of(state_));
  const std::vector<std::string> sids{"a/b c", "../x", "\xC3\xA4", "-f", std::string(200, 'n')};
  for (const std::string& sid : sids) {
    LocalRuntime creates(engine, OpenHandsConfig(), nullptr, sid);
    creates.connect();
    (void)output_of(creates, "echo kept > note");
    RuntimeOptions attach;
    attach.attach_to_existing = true;
    LocalRuntime attaches(engine, OpenHandsConfig(), nullptr, sid, std::move(attach));
    attaches.connect();
    EXPECT_EQ(output_of(attaches, "cat note"), "kept") << sid;
    attaches.close();
    EXPECT_EQ(sandboxes().size(), 1U) << sid;
    creates.close();
    EXPECT_TRUE(sandboxes().empty()) << sid;
  }
}

TEST_F(Local, AProcessThatIsKilledTakesItsSandboxAlong) {
  const pid_t client = elsewhere([this] {
    auto* engine = new Engine(options_of(state_));
    auto* runtime = new LocalRuntime(*engine, OpenHandsConfig(), nullptr, "doomed");
    runtime->connect();
  });
  EXPECT_EQ(sandboxes().size(), 1U);
  kill_and_reap(client);
  EXPECT_TRUE(eventually([this] { return sandboxes().empty(); }));
  // And the session can be had again.
  Engine engine(options_of(state_));
  LocalRuntime runtime(engine, OpenHandsConfig(), nullptr, "doomed");
  runtime.connect();
  EXPECT_EQ(output_of(runtime, "echo again"), "again");
  runtime.close();
}

TEST_F(Local, AKeptSandboxOutlivesItsClientAndServesOthers) {
  const pid_t client = elsewhere([this] {
    auto* engine = new Engine(options_of(state_));
    auto* runtime = new LocalRuntime(*engine, kept(600), nullptr, "kept");
    runtime->connect();
    (void)output_of(*runtime, "echo mine > note; export COLOUR=red");
  });
  kill_and_reap(client);
  Engine engine(options_of(state_));
  LocalRuntime next(engine, OpenHandsConfig(), nullptr, "kept");
  next.connect();
  EXPECT_EQ(output_of(next, "cat note; echo $COLOUR"), "mine\nred");
  next.close();
  EXPECT_EQ(sandboxes().size(), 1U);
  engine.wait(next.provider()->destroy({"kept"}, engine.in(std::chrono::seconds(10))));
}

TEST_F(Local, UsingAKeptSandboxRenewsItsLeaseToItsOwnLength) {
  Engine engine(options_of(state_));
  LocalRuntime creates(engine, kept(600), nullptr, "leased");
  creates.connect();
  creates.close();
  LocalRuntime uses(engine, OpenHandsConfig(), nullptr, "leased");
  uses.connect();
  uses.close();
  const Deadline soon = engine.in(std::chrono::seconds(10));
  const SandboxInfo info = engine.wait(uses.provider()->describe({"leased"}, soon));
  EXPECT_EQ(info.lease, std::chrono::seconds(600));
  ASSERT_TRUE(info.lease_end);
  EXPECT_LE(*info.lease_end, engine.system_now() + std::chrono::seconds(600));
  engine.wait(uses.provider()->destroy({"leased"}, soon));
}

TEST_F(Local, AKeptSandboxEndsWithItsLease) {
  {
    Engine engine(options_of(state_));
    LocalRuntime runtime(engine, kept(1), nullptr, "short");
    runtime.connect();
    runtime.close();
    EXPECT_EQ(sandboxes().size(), 1U);
  }
  EXPECT_TRUE(eventually([this] { return sandboxes().empty(); }));
}

TEST_F(Local, TwoProcessesThatCreateOneSessionShareOneSandbox) {
  std::vector<pid_t> clients;
  std::array<int, 2> go{};
  ASSERT_EQ(::pipe(go.data()), 0);
  std::array<int, 2> names{};
  ASSERT_EQ(::pipe(names.data()), 0);
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(go[1]);
      try {
        Engine engine(options_of(state_));
        LocalRuntime runtime(engine, OpenHandsConfig(), nullptr, "one");
        char byte = 0;
        (void)!::read(go[0], &byte, 1);  // all at once
        runtime.connect();
        const std::string device = output_of(runtime, "stat -c %d /tmp");
        (void)!::write(names[1], (device + "\n").c_str(), device.size() + 1);
        (void)!::read(go[0], &byte, 1);  // until all have seen it
        ::_exit(0);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
      }
      ::_exit(1);
    }
    clients.push_back(child);
  }
  ::close(go[0]);
  ::close(names[1]);
  ASSERT_EQ(::write(go[1], "gggg", 4), 4);
  std::string seen;
  std::array<char, 256> buffer{};
  while (std::count(seen.begin(), seen.end(), '\n') < 4) {
    const ssize_t n = ::read(names[0], buffer.data(), buffer.size());
    ASSERT_GT(n, 0) << seen;
    seen.append(buffer.data(), static_cast<std::size_t>(n));
  }
  const std::string first = seen.substr(0, seen.find('\n') + 1);
  EXPECT_EQ(seen, first + first + first + first);
  EXPECT_EQ(sandboxes().size(), 1U);
  ::close(go[1]);
  for (const pid_t client : clients) {
    int status = -1;
    ::waitpid(client, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(Local, APausedSandboxStandsStillAndGoesOn) {
  Engine engine(options_of(state_));
  LocalRuntime runtime(engine, OpenHandsConfig(), nullptr, "sleepy");
  runtime.connect();
  // Counts as long as it runs.
  (void)output_of(runtime, "(while :; do echo x >> ticks; sleep 0.01; done) & true");
  runtime.pause();
  const auto state_of = [&] {
    return engine.wait(runtime.provider()->describe({"sleepy"}, engine.in(std::chrono::seconds(5)))).state;
  };
  EXPECT_EQ(state_of(), SandboxState::paused);
  runtime.pause();
  runtime.resume();
  EXPECT_EQ(state_of(), SandboxState::running);
  const std::string before = output_of(runtime, "wc -l < ticks");
  EXPECT_TRUE(eventually([&] { return output_of(runtime, "wc -l < ticks") != before; }));
  runtime.close();
}

TEST_F(Local, ManyAtOnceFromCoroutines) {
  Engine engine(options_of(state_, 2));
  std::vector<std::string> outputs(32);
  const auto one = [&](int number) -> asio::awaitable<void> {
    const std::string sid = "many-" + std::to_string(number);
    const OpenHandsConfig config;
    RuntimeOptions options;
    const auto runtime = co_await async_make_runtime(engine, config, nullptr, sid, std::move(options));
    co_await runtime->async_connect();
    CmdRunAction hello{.command = "echo " + sid};
    const Observation seen = co_await runtime->async_run(hello, 60);
    outputs[static_cast<std::size_t>(number)] = seen.content;
    co_await runtime->async_close();
  };
  const auto all = [&]() -> asio::awaitable<void> {
    TaskGroup group(engine);
    for (int i = 0; i < 32; ++i) group.spawn(one(i));
    co_await group.join();
  };
  engine.wait(all());
  for (int i = 0; i < 32; ++i) EXPECT_EQ(outputs[static_cast<std::size_t>(i)], "many-" + std::to_string(i));
}

TEST_F(Local, AWorkspaceOfThisMachineIsSharedWithTheSandbox) {
  TempDir project;
  runtime_test::write_file(project / "in.txt", "from outside\n");
  Engine engine(options_of(state_));
  OpenHandsConfig config;
  config.workspace_base = project.path();
  LocalRuntime runtime(engine, config, nullptr, "shared");
  runtime.connect();
  EXPECT_EQ(output_of(runtime, "cat in.txt; echo from inside > out.txt; stat -c %U out.txt"),
            "from outside\nsandkey");
  runtime.close();
  EXPECT_EQ(runtime_test::read_file(project / "out.txt"), "from inside\n");
  struct stat info {};
  ASSERT_EQ(::stat((project / "out.txt").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, ::getuid());  // whose folder it is, not the sandbox's
}

TEST_F(Local, APortInsideIsReachedByItsUrl) {
  Engine engine(options_of(state_));
  LocalRuntime runtime(engine, OpenHandsConfig(), nullptr, "web");
  runtime.connect();
  (void)output_of(
      runtime,
      "echo page > index.html; (python3 -m http.server 8000 >/dev/null 2>&1 &) ; "
      "for i in $(seq 100); do (: </dev/tcp/127.0.0.1/8000) 2>/dev/null && break; sleep 0.05; done");
  const std::string url =
      engine.wait(runtime.provider()->expose({"web"}, 8000, engine.in(std::chrono::seconds(10)))).url;
  HttpClient http(engine);
  HttpRequest request{.url = url + "/index.html"};
  const HttpResponse response = engine.wait(http.send(std::move(request)));
  EXPECT_EQ(response.body, "page\n");
  runtime.close();
}

TEST_F(Local, NothingInsideEndsTheSandbox) {
  Engine engine(options_of(state_));
  LocalRuntime runtime(engine, OpenHandsConfig(), nullptr, "sturdy");
  runtime.connect();
  EXPECT_EQ(output_of(runtime, "for s in TERM INT HUP KILL STOP; do kill -$s 1; done; echo still here"),
            "still here");
  runtime.close();
}

TEST_F(Local, ASandboxThatEndsUnderARunningCommandIsToldAtOnce) {
  Engine engine(options_of(state_));
  LocalRuntime runtime(engine, OpenHandsConfig(), nullptr, "ends");
  runtime.connect();
  std::vector<ErrorCode> codes;
  const auto action = [&]() -> asio::awaitable<void> {
    CmdRunAction wait{.command = "touch started; sleep 1000", .blocking = true};
    try {
      (void)co_await runtime.async_run(wait, 900);
    } catch (const Error& error) {
      codes.push_back(error.code());
    }
  };
  const auto process = [&]() -> asio::awaitable<void> {
    ExecCommand command;
    command.argv = {"sleep", "1000"};
    const auto stream = runtime.agent().exec(command);
    TaskGroup ending(engine, co_await asio::this_coro::executor);
    const auto destroy = [&]() -> asio::awaitable<void> {
      const Deadline soon = engine.in(std::chrono::seconds(30));
      SandboxId id{"ends"};
      co_await runtime.provider()->destroy(id, soon);
    };
    try {
      ExecSink nothing = [](std::size_t, std::span<const std::byte>) -> asio::awaitable<void> { co_return; };
      (void)co_await stream->follow(nothing, [&] { ending.spawn(destroy()); });
    } catch (const Error& error) {
      codes.push_back(error.code());
    }
    co_await ending.join();
  };
  const auto both = [&]() -> asio::awaitable<void> {
    TaskGroup group(engine);
    group.spawn(action());
    group.spawn(process());
    co_await group.join();
  };
  const auto begin = std::chrono::steady_clock::now();
  engine.wait(both());
  EXPECT_THAT(codes, ::testing::ElementsAre(ErrorCode::sandbox_dead, ErrorCode::sandbox_dead));
  // Well under the minute for which a broken connection is tried again.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  runtime.close();
}

TEST_F(Local, BadInputIsRefusedBeforeAnythingIsStarted) {
  Engine engine(options_of(state_));
  const auto refused = [&](const std::function<void(OpenHandsConfig&)>& spoil) {
    OpenHandsConfig config;
    spoil(config);
    LocalRuntime runtime(engine, config, nullptr, "bad");
    std::optional<ErrorCode> code;
    try {
      runtime.connect();
    } catch (const Error& error) {
      code = error.code();
    }
    EXPECT_TRUE(sandboxes().empty());
    EXPECT_TRUE(open_user_ledger(engine)->list().empty());
    return code;
  };
  EXPECT_EQ(refused([](OpenHandsConfig& c) { c.sandbox.base_container_image = "/no/such/image"; }),
            ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](OpenHandsConfig& c) { c.workspace_base = "/no/such/folder"; }),
            ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](OpenHandsConfig& c) { c.sandbox.memory_limit = 1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](OpenHandsConfig& c) { c.sandbox.process_limit = 1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](OpenHandsConfig& c) { c.sandbox.disk_limit = 1; }), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace sandkey
