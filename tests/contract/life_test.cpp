// A sandbox's life: what it may be asked to be, its lease, its sleep, its ports, its death.
#include "sandkey/base/blocking_task.h"
#include "sandkey/net/http_client.h"
#include "tests/contract/suite.h"

#include <boost/asio/this_coro.hpp>
#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::contract {
namespace {

using std::chrono::seconds;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class Life : public ContractTest {
 protected:
  [[nodiscard]] Capabilities capabilities() { return make_provider(*engine_, config())->capabilities(); }

  // The error of connecting with such a configuration, which must leave nothing.
  [[nodiscard]] Error refused(const std::function<void(OpenHandsConfig&)>& spoil) {
    OpenHandsConfig bad = config();
    spoil(bad);
    Error error = thrown([&] { (void)connected("refused", bad); });
    EXPECT_THAT(existing(), IsEmpty());
    return error;
  }
};
INSTANTIATE_TEST_SUITE_P(, Life, ::testing::ValuesIn(every_provider()), name_of);

MATCHER(RefusedAsWished, "") {
  return arg.code() == ErrorCode::unsupported || arg.code() == ErrorCode::invalid_argument;
}

TEST_P(Life, APausedSandboxKeepsItsFilesAndProcesses) {
  OpenHandsConfig config = ContractTest::config();
  config.sandbox.runtime_startup_env_vars["COLOUR"] = "red";
  const auto runtime = connected("sleepy", config);
  const Capabilities can = runtime->provider()->capabilities();
  if (!can.pause) {
    EXPECT_EQ(thrown([&] { runtime->pause(); }).code(), ErrorCode::unsupported);
    runtime->close();
    GTEST_SKIP() << subject().name << " cannot pause";
  }
  (void)output(*runtime, "echo kept > note; (while :; do echo x >> ticks; sleep 0.01; done) & echo $! > pid");
  runtime->pause();
  EXPECT_EQ(describe(*runtime).state, SandboxState::paused);
  runtime->pause();
  runtime->resume();
  EXPECT_EQ(describe(*runtime).state, SandboxState::running);
  runtime->resume();
  EXPECT_EQ(output(*runtime, "cat note; echo $COLOUR"), "kept\nred");
  if (can.pause_keeps_processes) {
    EXPECT_EQ(output(*runtime, "kill -0 $(cat pid) && echo alive"), "alive");
    const std::string before = output(*runtime, "wc -l < ticks");
    EXPECT_TRUE(eventually([&] { return output(*runtime, "wc -l < ticks") != before; }));
  }
  runtime->close();
}

TEST_P(Life, ConnectingWakesAPausedSandbox) {
  if (!capabilities().pause) GTEST_SKIP() << subject().name << " cannot pause";
  const auto first = connected("woken", kept());
  (void)output(*first, "echo kept > note");
  first->pause();
  first->close();
  const auto next = connected("woken");
  EXPECT_EQ(output(*next, "cat note"), "kept");
  EXPECT_EQ(describe(*next).state, SandboxState::running);
  destroy(next->provider(), next->sandbox_id());
}

TEST_P(Life, APausedSandboxCanBeDestroyed) {
  if (!capabilities().pause) GTEST_SKIP() << subject().name << " cannot pause";
  const auto runtime = connected("ended-asleep");
  runtime->pause();
  runtime->close();
  EXPECT_THAT(existing(), IsEmpty());
}

TEST_P(Life, RenewingExtendsTheLeaseAndNeverShortensIt) {
  const auto runtime = connected("leased", kept(seconds(600)));
  const Capabilities can = runtime->provider()->capabilities();
  if (!can.renew) {
    const SandboxId id = runtime->sandbox_id();
    const auto renew = [&] { (void)engine_->wait(runtime->provider()->renew(id, seconds(60), soon())); };
    EXPECT_EQ(thrown(renew).code(), ErrorCode::unsupported);
    destroy(runtime->provider(), id);
    GTEST_SKIP() << subject().name << " cannot renew a lease";
  }
  const auto now = engine_->system_now();
  const auto before = describe(*runtime).lease_end;
  ASSERT_TRUE(before);
  // Clocks need not agree to the second.
  EXPECT_GT(*before, now + seconds(500));
  EXPECT_LT(*before, now + seconds(700));
  const auto told = engine_->wait(runtime->provider()->renew(runtime->sandbox_id(), seconds(1200), soon()));
  const auto after = describe(*runtime).lease_end;
  ASSERT_TRUE(after);
  EXPECT_GE(*after, can.fixed_lease ? *before : *before + seconds(500));
  EXPECT_LT(std::chrono::abs(*after - told), seconds(5));
  // As a client would that needs it for a minute, while another does for long.
  (void)engine_->wait(runtime->provider()->renew(runtime->sandbox_id(), seconds(60), soon()));
  const auto still = describe(*runtime).lease_end;
  ASSERT_TRUE(still);
  EXPECT_GT(*still, *after - seconds(5));
  destroy(runtime->provider(), runtime->sandbox_id());
}

TEST_P(Life, AttachingNeverShortensTheLease) {
  if (!capabilities().renew) GTEST_SKIP() << subject().name << " cannot renew a lease";
  const auto owner = connected("long", kept(seconds(1200)));
  const auto before = describe(*owner).lease_end;
  ASSERT_TRUE(before);
  OpenHandsConfig short_lease = config();
  short_lease.sandbox.lease = seconds(60);
  for (const OpenHandsConfig& asked : {config(), short_lease}) {
    const auto guest = attached("long", asked);
    EXPECT_EQ(output(*guest, "echo used"), "used");
    guest->close();
    const auto after = describe(*owner).lease_end;
    ASSERT_TRUE(after);
    EXPECT_GT(*after, *before - seconds(5));
  }
  destroy(owner->provider(), owner->sandbox_id());
}

TEST_P(Life, AnExposedPortAnswersUnderItsUrl) {
  const auto runtime = connected("web");
  const SandboxId id = runtime->sandbox_id();
  if (!runtime->provider()->capabilities().expose) {
    const auto expose = [&] { (void)engine_->wait(runtime->provider()->expose(id, 8000, soon())); };
    EXPECT_EQ(thrown(expose).code(), ErrorCode::unsupported);
    runtime->close();
    GTEST_SKIP() << subject().name << " cannot expose ports";
  }
  (void)output(*runtime,
               "mkdir page && cd page && echo hello > index.html && "
               "(python3 -m http.server 8000 >/dev/null 2>&1 &)");
  const ExposedPort port = engine_->wait(runtime->provider()->expose(id, 8000, soon()));
  HttpClient http(*engine_);
  const auto get_page = [&](bool let_in) {
    HttpRequest request{.url = port.url + "/index.html"};
    if (let_in)
      for (const auto& [name, value] : port.headers) request.headers.set(name, value);
    request.deadline = soon();
    return engine_->wait(http.send(std::move(request)));
  };
  std::string last;
  EXPECT_TRUE(eventually([&] {
    try {
      const HttpResponse page = get_page(true);
      last = std::to_string(page.status) + " " + page.body;
    } catch (const Error& error) {
      last = error.what();
    }
    return last == "200 hello\n";
  })) << port.url
      << ": " << last;
  if (port.headers.empty()) {
    EXPECT_TRUE(Endpoint::parse(port.url).is_loopback()) << "everybody can reach " << port.url;
  } else {
    EXPECT_GE(get_page(false).status, 300);
  }
  EXPECT_EQ(engine_->wait(runtime->provider()->expose(id, 8000, soon())).url, port.url);
  runtime->close();
}

TEST_P(Life, WhatCannotBeHadIsRefusedBeforeAnythingIsCreated) {
  const Capabilities can = capabilities();
  const std::uint64_t mark = is_emulated() ? emulator().last_request() : 0;
  EXPECT_THAT(refused([](OpenHandsConfig& c) { c.sandbox.memory_limit = 1; }), RefusedAsWished());
  EXPECT_THAT(refused([](OpenHandsConfig& c) { c.sandbox.disk_limit = 1; }), RefusedAsWished());
  EXPECT_THAT(refused([](OpenHandsConfig& c) { c.sandbox.process_limit = 1; }), RefusedAsWished());
  EXPECT_THAT(refused([](OpenHandsConfig& c) { c.workspace_base = "/no/such/folder"; }), RefusedAsWished());
  if (!can.workspace) {
    EXPECT_EQ(refused([&](OpenHandsConfig& c) { c.workspace_base = dir_.path(); }).code(),
              ErrorCode::unsupported);
  }
  if (!can.network_switch) {
    EXPECT_EQ(refused([&](OpenHandsConfig& c) { c.sandbox.network = false; }).code(), ErrorCode::unsupported);
  }
  if (!can.image) {
    EXPECT_EQ(refused([&](OpenHandsConfig& c) { c.sandbox.base_container_image = "any"; }).code(),
              ErrorCode::unsupported);
  }
  if (!is_emulated()) return;
  for (const JournalEntry& entry : emulator().requests_since(mark)) {
    EXPECT_NE(entry.route, subject().facts->routes.create);
  }
}

TEST_P(Life, AnImageThatDoesNotExistIsSaidToBeMissing) {
  if (!capabilities().image) GTEST_SKIP() << subject().name << " has one image only";
  const std::string name(subject().facts->missing_image);
  const Error error = refused([&](OpenHandsConfig& c) { c.sandbox.base_container_image = name; });
  EXPECT_THAT(error.code(), AnyOf(ErrorCode::invalid_argument, ErrorCode::not_found));
  EXPECT_THAT(error.what(), ::testing::HasSubstr(name));
}

TEST_P(Life, ASandboxOfANamedImageWorks) {
  if (subject().facts->image.empty()) GTEST_SKIP() << subject().name << " has no image that everybody has";
  OpenHandsConfig config = ContractTest::config();
  config.sandbox.base_container_image = subject().facts->image;
  const auto runtime = connected("image", config);
  EXPECT_EQ(output(*runtime, "echo works"), "works");
  runtime->close();
}

TEST_P(Life, AWorkspaceOfThisMachineIsShared) {
  if (!capabilities().workspace) GTEST_SKIP() << subject().name << " cannot see this machine's folders";
  runtime_test::TempDir project;
  runtime_test::write_file(project / "in.txt", "from outside\n");
  OpenHandsConfig config = ContractTest::config();
  config.workspace_base = project.path();
  const auto runtime = connected("workspace", config);
  EXPECT_EQ(output(*runtime, "cat in.txt; echo from inside > out.txt"), "from outside");
  runtime->close();
  EXPECT_EQ(runtime_test::read_file(project / "out.txt"), "from inside\n");
}

// In the shell and beside it: an error soon, never an exit code.
TEST_P(Life, ASandboxThatDiesUnderACommandIsToldAtOnce) {
  const auto runtime = connected("dies");
  const SandboxId id = runtime->sandbox_id();
  std::vector<ErrorCode> codes;
  const auto action = [&]() -> asio::awaitable<void> {
    CmdRunAction wait{.command = "sleep 1000", .blocking = true};
    try {
      const Observation seen = co_await runtime->async_run(std::move(wait), 900);
      ADD_FAILURE() << "it gave " << seen.content;
    } catch (const Error& error) {
      codes.push_back(error.code());
    }
  };
  const auto process = [&]() -> asio::awaitable<void> {
    ExecCommand command;
    command.argv = {"sleep", "1000"};
    const auto stream = runtime->agent().exec(command);
    TaskGroup killing(*engine_, co_await asio::this_coro::executor);
    const auto kill = [&]() -> asio::awaitable<void> { co_await run_blocking([&] { kill_sandbox(id); }); };
    try {
      ExecSink nothing = [](std::size_t, std::span<const std::byte>) -> asio::awaitable<void> { co_return; };
      const ExecResult result = co_await stream->follow(nothing, [&] { killing.spawn(kill()); });
      ADD_FAILURE() << "it gave " << result.exit_code;
    } catch (const Error& error) {
      codes.push_back(error.code());
    }
    co_await killing.join();
  };
  const auto both = [&]() -> asio::awaitable<void> {
    TaskGroup group(*engine_);
    group.spawn(action());
    group.spawn(process());
    co_await group.join();
  };
  const auto begin = std::chrono::steady_clock::now();
  engine_->wait(both());
  EXPECT_THAT(codes, ElementsAre(ErrorCode::sandbox_dead, ErrorCode::sandbox_dead));
  // Well under the minute for which a broken connection is tried again.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(30));
  EXPECT_EQ(thrown([&] { (void)output(*runtime, "true"); }).code(), ErrorCode::sandbox_dead);
  EXPECT_FALSE(runtime->check_if_alive());
  runtime->close();
  const auto next = connected("dies");
  EXPECT_EQ(output(*next, "echo anew"), "anew");
  next->close();
}

}  // namespace
}  // namespace sandkey::contract
