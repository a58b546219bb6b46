// Each case needs the bus that secret_service_test.py makes for it.
#include "sandkey/credentials/keyring.h"

#include <gtest/gtest.h>

namespace sandkey {
namespace {

KeyringAnswer lookup(const std::string& profile, const std::string& part = "api_key") {
  return desktop_keyring(process_environment())->lookup({profile, "acme", part});
}

TEST(SecretService, NobodyAnswers) {
  EXPECT_EQ(lookup("work").reason, "cannot be reached (no Secret Service answers)");
}

TEST(SecretService, DoesNotAnswerInTime) {
  EXPECT_EQ(lookup("work").reason, "did not answer in time");
}

TEST(SecretService, GivesWhatIsUnlocked) {
  const KeyringAnswer work = lookup("work");
  ASSERT_TRUE(work.value) << work.reason;
  EXPECT_EQ(work.value->expose(), "CANARY");
  EXPECT_EQ(lookup("shut").reason, "is locked; unlock it");
  EXPECT_EQ(lookup("home").reason, "has no such item");
  EXPECT_EQ(lookup("work", "token").reason, "has no such item");
}

}  // namespace
}  // namespace sandkey
