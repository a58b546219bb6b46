#include "sandkey/providers/runloop/account.h"

#include "sandkey/accounts/scripted_cloud.h"
#include "sandkey/providers/runloop/provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sandkey::runloop {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;

constexpr char kMe[] = "GET /v1/accounts/me";
constexpr char kList[] = "GET /v1/devboxes?limit=1&include_total_count=false";

class RunloopAccount : public testing::Test {
 protected:
  RunloopAccount() {
    cloud.variables["RUNLOOP_API_KEY"] = "ak_0123456789abcdef";
    cloud.variables["RUNLOOP_BASE_URL"] = cloud.url();
  }
  ScriptedCloud cloud{*kEntry.cloud};
};

TEST_F(RunloopAccount, TellsWhoseKeyItIs) {
  cloud.answer(
      {{.body =
            R"({"id":"acc_1","name":"Ann's","account_status":"ACCOUNT_STATUS_ENABLED","tier":"ACCOUNT_TIER_PRO"})"}});
  const auto account = cloud.sign_in();
  EXPECT_THAT(cloud.lines(), ElementsAre(kMe));
  EXPECT_THAT(cloud.heads().front(), HasSubstr("Authorization: Bearer ak_0123456789abcdef\r\n"));
  EXPECT_EQ(account->account().name, "Ann's");
  EXPECT_THAT(account->account().details,
              ElementsAre(Pair("account", "acc_1"), Pair("tier", "pro"), Pair("status", "enabled")));
  EXPECT_EQ(account->account().blocked, "");
}

TEST_F(RunloopAccount, ADisabledAccountIsBlocked) {
  const auto blocked = [&](const std::string& status) {
    cloud.answer({{.body = R"({"id":"acc_1","account_status":"ACCOUNT_STATUS_)" + status + R"("})"}});
    cloud.skew = cloud.skew.load() + kAcceptanceLasts + std::chrono::seconds(1);
    return cloud.sign_in()->account().blocked;
  };
  EXPECT_THAT(blocked("DISABLED_BY_ADMIN"), HasSubstr("disabled by Runloop"));
  EXPECT_THAT(blocked("DISABLED_QUOTA_REACHED"), HasSubstr("used up its quota"));
  EXPECT_THAT(blocked("TRIAL_CANCELLED"), HasSubstr("trial was cancelled"));
  EXPECT_THAT(blocked("INVALID"), HasSubstr("not valid"));
  EXPECT_EQ(blocked("ONBOARDING"), "");
  EXPECT_EQ(blocked("SOMETHING_NEW"), "");
}

TEST_F(RunloopAccount, ARestrictedKeyOrAnOlderServerIsProvedByAList) {
  for (const int status : {403, 404}) {
    cloud.forget_requests();
    cloud.skew = cloud.skew.load() + kAcceptanceLasts + std::chrono::seconds(1);
    cloud.answer({{.status = status, .body = R"({"message":"no"})"}, {.body = R"({"devboxes":[]})"}});
    (void)cloud.sign_in();
    EXPECT_THAT(cloud.lines(), ElementsAre(kMe, kList)) << status;
  }
}

TEST_F(RunloopAccount, AnUnknownKeyFailsInOneReadAndSaysWhatToDo) {
  cloud.answer({{.status = 401,
                 .body = R"({"error":"unauthorized","message":"Invalid token"})",
                 .headers = "x-runloop-request-id: req-7\r\n"}});
  EXPECT_EQ(
      cloud.refusal(),
      "unauthenticated: checking the credential of runloop: Runloop does not know this key: it is mistyped, "
      "revoked or expired (an API key with the fingerprint 2c1f030e023d, from RUNLOOP_API_KEY in the "
      "environment); HTTP 401 from API, which says \"Invalid token\" (request req-7); make a new one at "
      "https://platform.runloop.ai/settings and run: sandkey auth login runloop");
  EXPECT_THAT(cloud.lines(), ElementsAre(kMe));
}

TEST_F(RunloopAccount, TellsItsFailuresApart) {
  struct Case {
    std::vector<ScriptedAnswer> answers;
    std::string_view error;
  };
  for (const Case& item : std::vector<Case>{
           {{{.status = 403}, {.status = 403, .body = R"({"message":"scope"})"}},
            "permission_denied: checking the credential of runloop: the key may not do this ("},
           {{{.status = 429, .headers = "retry-after-ms: 3600000\r\n"}},
            "rate_limited: checking the credential of runloop: Runloop was asked too often; HTTP 429 from "
            "API; it asks "
            "to wait for 3600 s"},
           {{{.status = 503, .headers = "x-should-retry: false\r\n"}},
            "unavailable: checking the credential of runloop: it has a failure of its own; HTTP 503"},
           {{{.status = 400, .body = R"({"message":"odd"})"}}, "invalid_argument: "},
           {{{.body = R"({"hello":"world"})"}},
            "protocol: checking the credential of runloop: the answer is none of Runloop's"},
       }) {
    cloud.answer(item.answers);
    EXPECT_THAT(cloud.refusal(), StartsWith(item.error)) << item.error;
  }
}

}  // namespace
}  // namespace sandkey::runloop
