#include "sandkey/providers/registry.h"

#include "sandkey/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace sandkey {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Registry, EveryProviderHasANameOfItsOwnAndIsFoundByIt) {
  std::set<std::string_view> names;
  for (const ProviderEntry& entry : providers()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_FALSE(entry.summary.empty()) << entry.name;
    EXPECT_EQ(find_provider(entry.name).authenticate, entry.authenticate);
  }
  EXPECT_TRUE(names.contains("local"));
}

TEST(Registry, AnUnknownNameListsTheKnownOnes) {
  Engine engine;
  OpenHandsConfig config;
  config.runtime = "nowhere";
  try {
    (void)make_runtime(engine, config);
    FAIL() << "there is one";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("'nowhere'"), HasSubstr("local")));
  }
}

TEST(Registry, TheBlockingFormIsRefusedOnAnEngineThread) {
  Engine engine;
  const auto call = [&engine]() -> asio::awaitable<void> {
    EXPECT_THROW((void)make_runtime(engine, OpenHandsConfig()), Error);
    co_return;
  };
  engine.wait(call());
}

}  // namespace
}  // namespace sandkey
