// Commands through a worker: every request may be sent again, and nothing is done, read or written twice.
#include "sandkey/providers/modal/task_router.h"
#include "sandkey/providers/modal/test_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace sandkey::modal {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

// Different wherever it is cut, and no text.
std::string some_bytes(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t state = 12345;
  for (char& c : bytes) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return bytes;
}

class ModalRouter : public testing::Test {
 protected:
  ModalRouter() : control(modal.sign_in()->control()) {
    AccessSource source = [this]() -> asio::awaitable<std::shared_ptr<const RouterAccess>> {
      ++asked;
      ModalCall call{.method = "SandboxGetCommandRouterAccess",
                     .request = {{"sandbox_id", "sb-1"}},
                     .operation = "asking for access"};
      const json::object reply = co_await control->call(std::move(call));
      auto access = std::make_shared<RouterAccess>();
      access->url = find_string(reply, "url").value_or("");
      access->token = Secret(find_string(reply, "jwt").value_or(""));
      co_return access;
    };
    router = std::make_shared<TaskRouter>(control, "ta-1V", nullptr, std::move(source));
  }

  ShellResult run(RouterCommand command = {.argv = {"true"}}) {
    command.operation = "running it";
    return modal.engine().wait(router->run(std::move(command), modal.engine().in(seconds(60))));
  }
  const ScriptedProcess& process() { return modal.router.processes.at(modal.router.last); }

  TestModal modal;
  std::shared_ptr<ControlPlane> control;
  std::shared_ptr<TaskRouter> router;
  std::atomic<int> asked = 0;
};

TEST_F(ModalRouter, ACommandHasItsInputOutputsAndCode) {
  modal.router.next = {.output = "out", .error_output = "err", .exit_code = 3};
  RouterCommand command{.argv = {"sh", "-c", "x"}, .environment = {{"A", "b"}}, .input = "typed"};
  const ShellResult result = run(std::move(command));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.output, "out");
  EXPECT_EQ(result.error_output, "err");
  EXPECT_THAT(process().argv, testing::ElementsAre("sh", "-c", "x"));
  EXPECT_EQ(process().environment.at("A"), "b");
  EXPECT_EQ(process().input, "typed");
  EXPECT_TRUE(process().input_ended);
}

TEST_F(ModalRouter, ASignalIsACodeAsInShells) {
  modal.router.next = {.exit_code = -9};
  EXPECT_EQ(run().exit_code, 137);
}

// Each break is a new request, which begins where the last piece ended.
TEST_F(ModalRouter, OutputThatIsCutEverywhereArrivesWhole) {
  const std::string all = some_bytes(60'000);
  modal.router.next = {.output = all, .error_output = all.substr(7)};
  for (const std::size_t every : {std::size_t{1'000}, std::size_t{1'999}, std::size_t{4'096}}) {
    SCOPED_TRACE(every);
    modal.router.cut_after = every;
    modal.router.offsets.clear();
    const ShellResult result = run();
    EXPECT_TRUE(result.output == all);
    EXPECT_TRUE(result.error_output == all.substr(7));
    EXPECT_GT(modal.router.offsets.size(), 2U * 10);
    // No offset twice, but for both outputs having one.
    std::map<std::uint64_t, int> times;
    for (const std::uint64_t offset : modal.router.offsets) ++times[offset];
    for (const auto& [offset, count] : times) EXPECT_LE(count, 2) << offset;
    EXPECT_EQ(times[0], 2);
  }
}

TEST_F(ModalRouter, OneByteAtATimeArrivesWhole) {
  const std::string all = some_bytes(200);
  modal.router.next = {.output = all};
  modal.router.cut_after = 1;
  EXPECT_TRUE(run().output == all);
  EXPECT_GE(modal.router.offsets.size(), 200U);
}

TEST_F(ModalRouter, WhatIsLostIsSentAgainAndDoneOnce) {
  const std::string input = some_bytes(3'000'000);
  modal.router.next = {.output = "done"};
  modal.router.lose_start = 2;
  modal.router.lose_writes = 4;
  modal.router.lose_waits = 3;
  RouterCommand command{.argv = {"cat"}, .input = input};
  EXPECT_EQ(run(std::move(command)).output, "done");
  EXPECT_EQ(modal.router.starts, 3);
  EXPECT_THAT(modal.router.processes, SizeIs(1));
  EXPECT_TRUE(process().input == input);
}

// All of a command's requests are refused at once, and one new token is asked for.
TEST_F(ModalRouter, ARefusedTokenIsReplacedOnce) {
  EXPECT_EQ(run().exit_code, 0);
  EXPECT_EQ(asked, 1);
  {
    const std::lock_guard lock(modal.control.mutex);
    modal.control.router_token = modal.router.token = "another-token";
  }
  modal.router.next = {.output = "hello", .exit_code = 0};
  EXPECT_EQ(run().output, "hello");
  EXPECT_EQ(asked, 2);
}

TEST_F(ModalRouter, ATokenThatIsNeverTakenIsSaidSo) {
  modal.router.token = "another-token";
  EXPECT_THAT(modal.failure([&] { (void)run(); }),
              AllOf(StartsWith("unavailable: running it: the sandbox's worker does not take the token that "
                               "Modal gave for it; UNAUTHENTICATED"),
                    HasSubstr("\"router: who are you\"")));
  EXPECT_EQ(modal.router.refusals, 2);
}

// Else it would wait for the rest, and we for it.
TEST_F(ModalRouter, ACommandWhoseInputIsNotTakenIsGivenUp) {
  modal.router.write_answer = {grpc::StatusCode::INVALID_ARGUMENT, "not so"};
  modal.router.lose_waits = 1'000'000;
  RouterCommand command{.argv = {"cat"}, .input = "typed", .operation = "running it"};
  EXPECT_THAT(modal.failure([&] { (void)run(std::move(command)); }),
              AllOf(StartsWith("invalid_argument: running it: "), HasSubstr("not so")));
}

// We may not be there to end it.
TEST_F(ModalRouter, ACommandEndsByItselfWhenNobodyWaitsForItAnyMore) {
  EXPECT_EQ(run().exit_code, 0);
  EXPECT_GT(process().timeout, 0U);
  EXPECT_LE(process().timeout, 60U);
}

TEST_F(ModalRouter, AWorkerThatIsGoneIsGivenUp) {
  EXPECT_EQ(run().exit_code, 0);
  modal.stop();
  EXPECT_THAT(modal.failure([&] { (void)run(); }), StartsWith("unavailable: running it: "));
}

}  // namespace
}  // namespace sandkey::modal
