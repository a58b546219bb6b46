#include "sandkey/runtime/cloud_agent.h"

#include "sandkey/base/error.h"
#include "sandkey/runtime/agent_launch.h"
#include "tests/runtime/fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

// Says what a test writes; the last word again and again.
class ScriptedShell final : public CloudShell {
 public:
  asio::awaitable<ShellResult> run(std::string, std::map<std::string, std::string> environment,
                                   Deadline) override {
    environment_ = std::move(environment);
    ++runs;
    const std::string word = says.front();
    if (says.size() > 1) says.pop_front();
    if (word == "nobody") {
      throw Error(ErrorCode::unavailable, "running a command: nobody answers",
                  {.provider = "test",
                   .operation = "running a command",
                   .phase = {},
                   .request_id = {},
                   .processed = Processed::no});
    }
    co_return ShellResult{.exit_code = 0, .output = word + "\n"};
  }
  asio::awaitable<void> put(std::string path, std::string content, Deadline) override {
    files.emplace_back(std::move(path), std::move(content));
    co_return;
  }
  asio::awaitable<bool> put_unpacked(std::string path, std::string compressed, Deadline) override {
    if (unpacks) files.emplace_back(std::move(path), std::move(compressed));
    co_return unpacks;
  }
  asio::awaitable<void> require_sandbox(Deadline) override {
    if (dead) throw Error(ErrorCode::sandbox_dead, "it has ended");
    co_return;
  }
  [[nodiscard]] const std::string& variable(const std::string& name) const { return environment_.at(name); }

  std::deque<std::string> says;
  bool unpacks = false;
  bool dead = false;
  int runs = 0;
  std::vector<std::pair<std::string, std::string>> files;

 private:
  std::map<std::string, std::string> environment_;
};

class CloudAgent : public testing::Test {
 protected:
  void start() {
    engine_.wait(start_cloud_agent(engine_, shell_, Secret("a-key"), "/workspace", "the sandbox of test",
                                   engine_.in(std::chrono::minutes(1))));
  }
  // The error's text; empty if there was none.
  std::string failure() {
    try {
      start();
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  Engine engine_;
  ScriptedShell shell_;
};

TEST_F(CloudAgent, OneThatRunsIsLeftAlone) {
  shell_.says = {"running"};
  start();
  EXPECT_EQ(shell_.runs, 1);
  EXPECT_EQ(shell_.variable("SANDKEY_KEY"), "a-key");
  EXPECT_EQ(shell_.variable("SANDKEY_DIR"), "/workspace");
  EXPECT_TRUE(shell_.files.empty());
}

TEST_F(CloudAgent, IsUploadedAsSmallAsTheSandboxCanTakeIt) {
  const auto program = agent_program(engine_);
  for (const auto& [unpacks, word] : {std::pair{true, "absent"}, {false, "absent gzip"}, {false, "absent"}}) {
    shell_ = ScriptedShell();
    shell_.unpacks = unpacks;
    shell_.says = {word, "started"};
    start();
    ASSERT_EQ(shell_.files.size(), 1U);
    const auto& [path, content] = shell_.files.front();
    const bool packed = !unpacks && std::string(word) == "absent gzip";
    EXPECT_THAT(path, EndsWith(packed ? ".part.gz" : ".part"));
    EXPECT_EQ(content, unpacks || packed ? program->compressed : program->unpacked()) << word;
  }
}

TEST_F(CloudAgent, IsAskedForAgainWhileNobodyAnswers) {
  shell_.says = {"nobody", "nobody", "started"};
  start();
  EXPECT_EQ(shell_.runs, 3);
}

TEST_F(CloudAgent, NothingIsRepeatedInASandboxThatEnded) {
  shell_.says = {"nobody"};
  shell_.dead = true;
  EXPECT_EQ(failure(), "it has ended");
  EXPECT_EQ(shell_.runs, 1);
}

TEST_F(CloudAgent, WhatTheScriptSaysIsTheLastWord) {
  shell_.says = {"failed: cannot make the folder /root/.sandkey"};
  EXPECT_THAT(failure(), HasSubstr("cannot make the folder /root/.sandkey"));
  EXPECT_EQ(shell_.runs, 1);
}

TEST_F(CloudAgent, AnUploadThatVanishedIsToldAndNotRepeated) {
  shell_.says = {"absent gzip"};
  EXPECT_THAT(failure(), HasSubstr("is its disk full?"));
  EXPECT_EQ(shell_.files.size(), 1U);
}

}  // namespace
}  // namespace sandkey
