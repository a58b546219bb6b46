// EnvdServer in front of a real sandbox, spoken to by plain HTTP.
#include "sandkey/providers/e2b/emulator/envd/envd_server.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/net/connect_envelope.h"
#include "sandkey/providers/e2b/emulator/envd/test_sandbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::e2b_envd {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Headers = std::vector<std::pair<std::string, std::string>>;

// One sandbox for all tests that leave it as it was: they work in folders of their own.
class Envd : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    try {
      sandbox_ = std::make_unique<TestSandbox>();
    } catch (const Error& error) {
      reason_ = error.what();
    }
  }
  static void TearDownTestSuite() { sandbox_.reset(); }
  void SetUp() override {
    if (!sandbox_) GTEST_SKIP() << "this machine cannot make sandboxes: " << reason_;
  }

  static inline std::unique_ptr<TestSandbox> sandbox_;
  static inline std::string reason_;
};

TEST_F(Envd, IsHealthy) {
  SUCCEED();
}

}  // namespace
}  // namespace sandkey::e2b_envd
