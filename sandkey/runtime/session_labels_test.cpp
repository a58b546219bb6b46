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
