// The real agent behind a proxy that breaks connections: actions run once, streams deliver every byte once.
#include "fixtures.h"
#include "sandkey/base/error.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/agent_client.h"

#include <boost/asio/awaitable.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <span>
#include <string>
#include <utility>

namespace sandkey::runtime_test {
namespace {

using ::testing::HasSubstr;

bool is(const std::string& line, std::string_view path) {
  return line.find(path) != std::string::npos;
}

class BrokenConnection : public ::testing::Test {
 protected:
  // Connected through a proxy with that plan. connect() itself is spared.
  ActionExecutionClient& through(CuttingProxy::Plan plan) {
    proxy_ = std::make_unique<CuttingProxy>(
        agent_.socket(),
        [this, plan = std::move(plan)](const std::string& line) { return armed_ ? plan(line) : Cut{}; });
    {
      // Waits for the agent itself, so that the proxy finds one.
      ActionExecutionClient direct(engine_, fixed(agent_.address()), quick_config(), nullptr);
      direct.connect();
    }
    runtime_ =
        std::make_unique<ActionExecutionClient>(engine_, fixed(proxy_->address()), quick_config(), nullptr);
    runtime_->connect();
    armed_ = true;
    return *runtime_;
  }

  AgentProcess agent_;
  Engine engine_;
  std::atomic<bool> armed_{false};
  std::unique_ptr<CuttingProxy> proxy_;
  std::unique_ptr<ActionExecutionClient> runtime_;
};

// --- actions ---

class CutAction : public BrokenConnection,
                  public ::testing::WithParamInterface<std::pair<Cut::Where, std::size_t>> {};

TEST_P(CutAction, RunsOnceAndItsObservationArrives) {
  std::atomic<int> left{3};
  ActionExecutionClient& runtime = through([&left](const std::string& line) {
    if (!is(line, "/execute_action") || left-- <= 0) return Cut{};
    return Cut{GetParam().first, GetParam().second};
  });
  const std::string counter = agent_.work() + "/counter";
  const Observation observation =
      runtime.run(CmdRunAction{.command = "echo x >> " + counter + "; echo the answer"}, 60.0);
  EXPECT_EQ(observation.content, "the answer");
  EXPECT_EQ(read_file(counter), "x\n");
  EXPECT_EQ(proxy_->cuts(), 3);
  // The next one is another action, not the cached answer of this.
  EXPECT_EQ(runtime.run(CmdRunAction{.command = "wc -l < " + counter}).content, "1");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, CutAction,
                         ::testing::Values(std::pair{Cut::Where::reply, std::size_t{0}},
                                           std::pair{Cut::Where::reply, std::size_t{1}},
                                           std::pair{Cut::Where::reply, std::size_t{40}},
                                           std::pair{Cut::Where::reply, std::size_t{200}},
                                           std::pair{Cut::Where::request, std::size_t{1}},
                                           std::pair{Cut::Where::request, std::size_t{100}},
                                           std::pair{Cut::Where::request, std::size_t{400}}));

TEST_F(BrokenConnection, AnActionWhoseReplyIsNeverHeardIsGivenUpAfterItsTime) {
  ActionExecutionClient& runtime = through([](const std::string& line) {
    return is(line, "/execute_action") ? Cut{Cut::Where::reply, 0} : Cut{};
  });
  const std::string counter = agent_.work() + "/counter";
  try {
    (void)runtime.run(CmdRunAction{.command = "echo x >> " + counter}, 0.2);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::unavailable || error.code() == ErrorCode::deadline_exceeded);
    EXPECT_NE(error.context().processed, Processed::no);  // it may have run, and did
  }
  EXPECT_EQ(read_file(counter), "x\n");
  EXPECT_GT(proxy_->cuts(), 3);
}

// --- output ---

// What the command below writes on one channel: lines that say where they belong.
std::string expected_output(char channel, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; text.size() < bytes; ++i) text += channel + std::to_string(i) + "\n";
  text.resize(bytes);
  return text;
}

std::string writer(std::size_t bytes) {
  const std::string n = std::to_string(bytes);
  // Two writers at once, so that the channels interleave as they like.
  return "seq -f 'o%.0f' 0 99999999 | head -c " + n + " & seq -f 'e%.0f' 0 99999999 | head -c " + n +
         " >&2; wait";
}

struct Captured {
  std::array<std::string, 2> text;
  ExecResult result;
};

asio::awaitable<Captured> follow(AgentClient* agent, ExecCommand command) {
  Captured captured;
  const auto stream = agent->exec(command);
  ExecSink sink = [&captured](std::size_t channel,
                              std::span<const std::byte> bytes) -> asio::awaitable<void> {
    captured.text.at(channel).append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    co_return;
  };
  const ExecResult result = co_await stream->follow(std::move(sink));
  captured.result = result;
  co_return captured;
}

struct OutputCase {
  std::size_t every = 0;  // bytes of payload
  std::size_t total = 0;  // on each channel
};
class CutOutput : public BrokenConnection, public ::testing::WithParamInterface<OutputCase> {};

TEST_P(CutOutput, DeliversEachByteOnce) {
  const auto [every, total] = GetParam();
  ActionExecutionClient& runtime = through([every = every](const std::string& line) {
    return is(line, "/output") || is(line, "/exec") ? Cut{Cut::Where::payload, every} : Cut{};
  });
  ExecCommand command;
  command.argv = {"sh", "-c", writer(total) + "; exit 7"};
  const Captured got = engine_.wait(follow(&runtime.agent(), std::move(command)));
  EXPECT_EQ(got.result.exit_code, 7);
  EXPECT_TRUE(got.text[0] == expected_output('o', total)) << got.text[0].size() << " bytes";
  EXPECT_TRUE(got.text[1] == expected_output('e', total)) << got.text[1].size() << " bytes";
  EXPECT_GT(proxy_->cuts(), 10);
}

INSTANTIATE_TEST_SUITE_P(Sizes, CutOutput,
                         ::testing::Values(OutputCase{1, 40}, OutputCase{2, 100}, OutputCase{7, 300},
                                           OutputCase{100, 5'000}, OutputCase{4096, 400'000},
                                           OutputCase{65'537, 3'000'000}),
                         [](const auto& one) { return "Every" + std::to_string(one.param.every); });

TEST_F(BrokenConnection, OutputIsDeliveredOnceWhenAnyReplyMayBreakAnywhere) {
  // Acknowledgements too, and streams in the middle of a head.
  std::size_t step = 0;
  ActionExecutionClient& runtime = through([&step](const std::string& line) {
    if (!is(line, "/sandkey/v1/")) return Cut{};
    step = (step * 31 + 17) % 1009;
    if (step % 3 == 0) return Cut{Cut::Where::request, step / 4};
    if (step % 3 == 1) return Cut{Cut::Where::reply, step};
    return Cut{Cut::Where::payload, step * 300};
  });
  ExecCommand command;
  command.argv = {"sh", "-c", writer(1'000'000)};
  const Captured got = engine_.wait(follow(&runtime.agent(), std::move(command)));
  EXPECT_EQ(got.result.exit_code, 0);
  EXPECT_TRUE(got.text[0] == expected_output('o', 1'000'000)) << got.text[0].size() << " bytes";
  EXPECT_TRUE(got.text[1] == expected_output('e', 1'000'000)) << got.text[1].size() << " bytes";
  EXPECT_GT(proxy_->cuts(), 10);
}

TEST_F(BrokenConnection, TheCommandOfAStreamIsStartedOnce) {
  std::atomic<int> left{4};
  ActionExecutionClient& runtime = through([&left](const std::string& line) {
    return is(line, "/exec") && left-- > 0 ? Cut{Cut::Where::reply, 0} : Cut{};
  });
  const std::string counter = agent_.work() + "/counter";
  ExecCommand command;
  command.argv = {"sh", "-c", "echo x >> " + counter + "; echo out"};
  const Captured got = engine_.wait(follow(&runtime.agent(), std::move(command)));
  EXPECT_EQ(got.text[0], "out\n");
  EXPECT_EQ(read_file(counter), "x\n");
  EXPECT_EQ(proxy_->cuts(), 4);
}

TEST_F(BrokenConnection, WhatTheSinkThrowsEndsTheFollowing) {
  ActionExecutionClient& runtime = through([](const std::string&) { return Cut{}; });
  const auto failing = [](AgentClient* agent, int* calls) -> asio::awaitable<void> {
    ExecCommand command;
    command.argv = {"yes"};
    const auto stream = agent->exec(command);
    ExecSink sink = [calls](std::size_t, std::span<const std::byte>) -> asio::awaitable<void> {
      ++*calls;
      throw Error(ErrorCode::unavailable, "writing output: Broken pipe");
      co_return;
    };
    std::exception_ptr failure;
    try {
      (void)co_await stream->follow(std::move(sink));
    } catch (...) {
      failure = std::current_exception();
    }
    co_await stream->kill();
    if (failure) std::rethrow_exception(failure);
  };
  int calls = 0;
  try {
    engine_.wait(failing(&runtime.agent(), &calls));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("Broken pipe"));
  }
  EXPECT_EQ(calls, 1);
}

// --- input ---

asio::awaitable<Captured> feed(Engine* engine, AgentClient* agent, ExecCommand command, std::string input,
                               std::size_t piece) {
  Captured captured;
  const auto stream = agent->exec(command);
  ExecSink sink = [&captured](std::size_t channel,
                              std::span<const std::byte> bytes) -> asio::awaitable<void> {
    captured.text.at(channel).append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    co_return;
  };
  const auto send = [](AgentStream* to, const std::string* all, std::size_t size) -> asio::awaitable<void> {
    for (std::size_t at = 0; at < all->size(); at += size) {
      const std::string_view part = std::string_view(*all).substr(at, size);
      const bool open = co_await to->write(std::as_bytes(std::span(part.data(), part.size())));
      if (!open) co_return;
    }
    co_await to->close_input();
  };
  TaskGroup sending(*engine);
  AgentStream* const at = stream.get();
  const auto begin = [&sending, &send, at, &input, piece] { sending.spawn(send(at, &input, piece)); };
  const ExecResult result = co_await stream->follow(std::move(sink), begin);
  captured.result = result;
  co_await sending.join();
  co_return captured;
}

class CutInput : public BrokenConnection,
                 public ::testing::WithParamInterface<std::pair<Cut::Where, std::size_t>> {};

TEST_P(CutInput, ArrivesOnceAndInOrder) {
  std::atomic<int> count{0};
  const auto [where, after] = GetParam();
  ActionExecutionClient& runtime = through([&count, where = where, after = after](const std::string& line) {
    // Every other one, or nothing would ever get through.
    return is(line, "/input") && count++ % 2 == 0 ? Cut{where, after} : Cut{};
  });
  const std::string input = expected_output('i', 700'000);
  ExecCommand command;
  command.argv = {"sh", "-c", "cat; echo end >&2"};
  const Captured got = engine_.wait(feed(&engine_, &runtime.agent(), std::move(command), input, 50'000));
  EXPECT_TRUE(got.text[0] == input) << got.text[0].size() << " bytes";
  EXPECT_EQ(got.text[1], "end\n");
  EXPECT_GT(proxy_->cuts(), 10);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, CutInput,
                         ::testing::Values(std::pair{Cut::Where::reply, std::size_t{0}},
                                           std::pair{Cut::Where::reply, std::size_t{40}},
                                           std::pair{Cut::Where::request, std::size_t{1}},
                                           std::pair{Cut::Where::request, std::size_t{300}}));

TEST_F(BrokenConnection, InputCutInTheMiddleOfItsBytesGoesOnWhereItWas) {
  std::atomic<int> count{0};
  ActionExecutionClient& runtime = through([&count](const std::string& line) {
    return is(line, "/input") && count++ % 2 == 0 ? Cut{Cut::Where::request, std::size_t{20'000}} : Cut{};
  });
  const std::string input = expected_output('i', 1'500'000);
  ExecCommand command;
  command.argv = {"cat"};
  const Captured got = engine_.wait(feed(&engine_, &runtime.agent(), std::move(command), input, 100'000));
  EXPECT_TRUE(got.text[0] == input) << got.text[0].size() << " bytes";
  EXPECT_GT(proxy_->cuts(), 10);
}

}  // namespace
}  // namespace sandkey::runtime_test
