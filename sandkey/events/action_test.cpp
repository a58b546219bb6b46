#include "sandkey/events/action.h"

#include "sandkey/events/test_events.h"

#include <gtest/gtest.h>

namespace sandkey {
namespace {

TEST(Action, OnlyWhatTheSandboxExecutesIsRunnable) {
  std::vector<std::string> runnable;
  for (const Action& action : events_test::every_action()) {
    if (action.runnable() && (runnable.empty() || runnable.back() != action.type_name())) {
      runnable.emplace_back(action.type_name());
    }
  }
  EXPECT_EQ(runnable, (std::vector<std::string>{"run", "run_ipython", "read", "write", "edit", "browse",
                                                "browse_interactive", "call_tool_mcp"}));
}

TEST(Action, IsMadeFromABody) {
  const Action action(CmdRunAction{.command = "make", .is_static = true}, 600);
  ASSERT_NE(action.as<CmdRunAction>(), nullptr);
  EXPECT_EQ(action.as<CmdRunAction>()->command, "make");
  EXPECT_EQ(action.as<FileReadAction>(), nullptr);
  EXPECT_EQ(action.timeout, 600.0);
  EXPECT_EQ(action.id, EventHeader::kNoId);
  EXPECT_EQ(action.type_name(), "run");
  EXPECT_EQ(Action().type_name(), "null");
}

TEST(Action, OnlySomeCanAwaitConfirmation) {
  EXPECT_EQ(
      Action(CmdRunAction{.confirmation_state = ActionConfirmationStatus::rejected}).confirmation_state(),
      ActionConfirmationStatus::rejected);
  EXPECT_EQ(Action(FileReadAction{}).confirmation_state(), ActionConfirmationStatus::confirmed);
}

TEST(Action, AHardTimeoutMakesACommandBlocking) {
  Action action(CmdRunAction{.command = "make"});
  action.set_hard_timeout(5);
  EXPECT_TRUE(action.as<CmdRunAction>()->blocking);
  action.set_hard_timeout(std::nullopt, false);
  EXPECT_FALSE(action.as<CmdRunAction>()->blocking);
  EXPECT_EQ(action.timeout, std::nullopt);
  Action read(FileReadAction{.path = "/a"});
  read.set_hard_timeout(5);
  EXPECT_EQ(read.timeout, 5.0);
}

}  // namespace
}  // namespace sandkey
