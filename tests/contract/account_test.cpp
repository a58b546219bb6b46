// Accounts: a runtime that exists holds a credential that its cloud accepted.
#include "tests/contract/suite.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace sandkey::contract {
namespace {

using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kFingerprint = "fingerprint [0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]";

class Accounts : public ContractTest {
 protected:
  // What make_runtime() throws in such a world. Of the cloud it may have asked at most two questions, both
  // harmless.
  [[nodiscard]] Error refused_in(const Overrides& world) {
    const std::uint64_t mark = is_emulated() ? emulator().last_request() : 0;
    const auto engine = make_engine(world);
    try {
      (void)make_runtime(*engine, config(), nullptr, sid("refused"));
      ADD_FAILURE() << "there is a runtime";
    } catch (const AuthenticationError& error) {
      if (is_emulated()) only_probed_since(mark);
      return error;
    } catch (const Error& error) {
      ADD_FAILURE() << "not an AuthenticationError: " << error.what();
    }
    return Error(ErrorCode::internal, "");
  }

  void only_probed_since(std::uint64_t mark) {
    requests_ = emulator().requests_since(mark);
    EXPECT_LE(requests_.size(), 2U);
    for (const JournalEntry& entry : requests_)
      EXPECT_THAT(subject().facts->routes.probes, Contains(entry.route));
  }

  static void expect_no_key(const std::string& text, const Overrides& world) {
    for (const KeyPart& part : subject().key) {
      const auto value = world.find(part.variable);
      if (value == world.end() || !value->second) continue;
      const std::string& key = *value->second;
      EXPECT_TRUE(text.find(key) == std::string::npos) << "the message holds " << part.variable;
      // Nor a part of it, as error texts of clouds like to have it.
      EXPECT_TRUE(key.size() < 16 || text.find(key.substr(key.size() - 8)) == std::string::npos)
          << "the message holds the end of " << part.variable;
    }
  }

  static Overrides without_key() {
    Overrides world;
    for (const std::string& variable : subject().key_variables) world[variable] = std::nullopt;
    return world;
  }

  std::vector<JournalEntry> requests_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Accounts);
INSTANTIATE_TEST_SUITE_P(, Accounts, ::testing::ValuesIn(providers_with_a_key()), name_of);

TEST_P(Accounts, AMissingKeyIsMissedBeforeAnythingIsSent) {
  const Error error = refused_in(without_key());
  EXPECT_EQ(error.code(), ErrorCode::credential_missing);
  EXPECT_THAT(requests_, IsEmpty());
  for (const KeyPart& part : subject().key) EXPECT_THAT(error.what(), HasSubstr(part.variable));
}

TEST_P(Accounts, WhatCannotBeAKeyIsRefusedBeforeAnythingIsSent) {
  Overrides world = without_key();
  for (const KeyPart& part : subject().key) world[part.variable] = "canary-with-a\nline-break";
  const Error error = refused_in(world);
  EXPECT_EQ(error.code(), ErrorCode::credential_malformed);
  EXPECT_THAT(requests_, IsEmpty());
  EXPECT_THAT(error.what(), HasSubstr(subject().key[0].variable));
  EXPECT_THAT(error.what(), Not(HasSubstr("canary")));
}

TEST_P(Accounts, ARefusedKeyIsToldWithItsSourceAndFingerprint) {
  if (!is_emulated()) GTEST_SKIP() << "only the emulator has accounts that are refused";
  for (const BadAccount& bad : subject().facts->refused) {
    SCOPED_TRACE(bad.name);
    const auto world = as_account(bad.name);
    ASSERT_TRUE(world) << "the emulator has no such account";
    const Error error = refused_in(*world);
    EXPECT_EQ(error.code(), bad.code) << error.what();
    EXPECT_EQ(error.context().provider, subject().name);
    EXPECT_FALSE(requests_.empty());
    EXPECT_THAT(error.what(), HasSubstr(subject().key[0].variable));
    EXPECT_THAT(error.what(), ContainsRegex(kFingerprint));
    expect_no_key(error.what(), *world);
  }
}

TEST_P(Accounts, AnAcceptedKeyCostsOneQuestion) {
  const std::uint64_t mark = is_emulated() ? emulator().last_request() : 0;
  const auto provider = make_provider(*engine_, config());
  if (is_emulated()) {
    only_probed_since(mark);
    EXPECT_EQ(requests_.size(), 1U);
  }
  EXPECT_EQ(provider->name(), subject().name);
  const Account account = provider->account();
  std::string told = account.name + account.blocked;
  for (const auto& [name, value] : account.details) told += value;
  for (const std::string& warning : account.warnings) told += warning;
  for (const KeyPart& part : subject().key) {
    const auto key = engine_->environment(part.variable);
    EXPECT_TRUE(!key || told.find(*key) == std::string::npos) << "it tells " << part.variable;
  }
}

TEST_P(Accounts, OneThatMayNotCreateIsToldWhenItDoes) {
  if (!is_emulated()) GTEST_SKIP() << "only the emulator has accounts that may not create";
  for (const BadAccount& bad : subject().facts->cannot_create) {
    SCOPED_TRACE(bad.name);
    const auto world = as_account(bad.name);
    ASSERT_TRUE(world) << "the emulator has no such account";
    const auto engine = make_engine(*world);
    const auto runtime = make_runtime(*engine, config(), nullptr, sid("not-created"));
    const Error error = thrown([&] { runtime->connect(); });
    EXPECT_EQ(error.code(), bad.code) << error.what();
    EXPECT_EQ(error.context().phase, "create the sandbox");
    expect_no_key(error.what(), *world);
    runtime->close();
    EXPECT_THAT(existing(), IsEmpty());
  }
}

TEST_P(Accounts, AreKeptApartOnOneEngine) {
  if (!is_emulated()) GTEST_SKIP() << "only the emulator has a second account";
  const auto second = as_account("second");
  if (!second) GTEST_SKIP() << "the emulator has no second account";
  const auto other_engine = make_engine(*second);
  const auto ours = connected("ours");
  const auto theirs = make_provider(*other_engine, config());
  EXPECT_EQ(other_engine->wait(theirs->find(ours->sid(), soon())), std::nullopt);
  EXPECT_EQ(thrown([&] { (void)other_engine->wait(theirs->describe(ours->sandbox_id(), soon())); }).code(),
            ErrorCode::not_found);
  EXPECT_EQ(output(*ours, "echo untouched"), "untouched");
  ours->close();
}

}  // namespace
}  // namespace sandkey::contract
