#include "sandkey/runtime/session_labels.h"

#include <gtest/gtest.h>

namespace sandkey {
namespace {

using namespace std::chrono_literals;

TEST(SessionLabels, ComeBackAsTheyWere) {
  const SessionLabels session{
      .sid = "a session/1", .kept = true, .lease = 90s, .working_dir = "/home/me/work", .attempt = "0123"};
  const Labels labels = to_labels(session);
  EXPECT_EQ(labels.at(kOursLabel), "true");
  EXPECT_EQ(labels.at(kSidLabel), "a session/1");
  const SessionLabels back = session_of(labels);
  EXPECT_EQ(back.sid, session.sid);
  EXPECT_TRUE(back.kept);
  EXPECT_EQ(back.lease, 90s);
  EXPECT_EQ(back.working_dir, "/home/me/work");
  EXPECT_EQ(back.attempt, "0123");
}

TEST(SessionLabels, ASessionsSandboxHasOneNameWhateverTheSessionIsCalled) {
  EXPECT_EQ(sandbox_name("box_1"), "sandkey-box_1");
  const std::string longest(48, 'x');
  EXPECT_EQ(sandbox_name(longest), "sandkey-" + longest);
  for (const std::string& odd :
       {std::string(), longest + "x", std::string("-x"), std::string("a b/../\xc3\xbc")}) {
    const std::string name = sandbox_name(odd);
    EXPECT_EQ(name.size(), 41U) << name;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string::npos) << name;
    EXPECT_EQ(name.substr(0, 9), "sandkey--")
        << "a session that is called what another one's digest is has no such name";
  }
}

TEST(SessionLabels, WhatIsMissingOrSpoiltHasItsDefault) {
  const SessionLabels none = session_of(Labels());
  EXPECT_EQ(none.sid, "");
  EXPECT_FALSE(none.kept);
  EXPECT_EQ(none.lease, std::nullopt);
  EXPECT_EQ(none.working_dir, "/workspace");
  for (const char* lease : {"", "soon", "-5", "0", "5m", "99999999999999999999"}) {
    EXPECT_EQ(session_of({{"sandkey-lease", lease}}).lease, std::nullopt) << lease;
  }
}

}  // namespace
}  // namespace sandkey
