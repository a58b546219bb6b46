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
    EXPECT_EQ(&find_provider(entry.name), &entry);
    if (entry.cloud) {
      EXPECT_EQ(entry.cloud->credential_spec().provider, entry.name);
    }
  }
  EXPECT_TRUE(names.contains("local"));
}

TEST(Registry, NoTwoProvidersHaveOneField) {
  std::set<std::string_view> keys;
  for (const ConfigField& field : provider_fields()) EXPECT_TRUE(keys.insert(field.key).second) << field.key;
  EXPECT_TRUE(keys.contains("e2b_api_key"));
  EXPECT_TRUE(keys.contains("daytona_api_url"));
  EXPECT_TRUE(keys.contains("modal_api_token_secret"));
  EXPECT_TRUE(keys.contains("runloop_api_key"));
}

TEST(Registry, AProviderWithoutSandboxesYetSaysSo) {
  Engine engine;
  for (const ProviderEntry& entry : providers()) {
    if (entry.open != nullptr) continue;
    try {
      (void)authenticate(engine, entry, OpenHandsConfig());
      ADD_FAILURE() << entry.name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported) << entry.name;
    }
  }
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
