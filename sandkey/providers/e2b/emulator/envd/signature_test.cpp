#include "sandkey/providers/e2b/emulator/envd/signature.h"

#include <gtest/gtest.h>

namespace sandkey::e2b_envd {
namespace {

// Made by E2B's own SDK.
TEST(Signature, AgreesWithTheVendorsOwn) {
  EXPECT_EQ(file_signature("a b/\xC3\xBC.txt", FileOperation::write, "", "deadbeef"),
            "v1_8ndaUUlcBVtrhSpjnnWsI+NIBjLVc8us9LOpscLR3hU");
  EXPECT_EQ(file_signature("/etc/x", FileOperation::read, "root", "deadbeef", 1795377125),
            "v1_wyEmCTakjjtZjjf87C+przyiJjrYwl/6fyfKvhW8Uww");
}

TEST(Signature, DependsOnEveryPart) {
  const std::string one = file_signature("/a", FileOperation::read, "user", "token", 1);
  EXPECT_NE(one, file_signature("/b", FileOperation::read, "user", "token", 1));
  EXPECT_NE(one, file_signature("/a", FileOperation::write, "user", "token", 1));
  EXPECT_NE(one, file_signature("/a", FileOperation::read, "", "token", 1));
  EXPECT_NE(one, file_signature("/a", FileOperation::read, "user", "other", 1));
  EXPECT_NE(one, file_signature("/a", FileOperation::read, "user", "token", 2));
  EXPECT_NE(one, file_signature("/a", FileOperation::read, "user", "token"));
}

TEST(Signature, SecretsAreEqualOnlyAsAWhole) {
  EXPECT_TRUE(equal_secrets("", ""));
  EXPECT_TRUE(equal_secrets("abc", "abc"));
  EXPECT_FALSE(equal_secrets("abc", "abd"));
  EXPECT_FALSE(equal_secrets("abc", "ab"));
  EXPECT_FALSE(equal_secrets("", "a"));
}

}  // namespace
}  // namespace sandkey::e2b_envd
