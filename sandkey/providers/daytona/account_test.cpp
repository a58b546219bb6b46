#include "sandkey/providers/daytona/account.h"

#include "sandkey/accounts/scripted_cloud.h"
#include "sandkey/providers/daytona/provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sandkey::daytona {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::StartsWith;

constexpr char kRecord[] = "GET /api/api-keys/current";

class DaytonaAccount : public testing::Test {
 protected:
  DaytonaAccount() {
    cloud.variables["DAYTONA_API_KEY"] = "dtn_0123456789abcdef";
    cloud.variables["DAYTONA_API_URL"] = cloud.url() + "/api";
  }
  void answer_record(const std::string& permissions, const std::string& more = "") {
    cloud.answer(
        {{.body = R"({"name":"ci","value":"dtn****def","permissions":)" + permissions + more + "}"}});
  }
  ScriptedCloud cloud{*kEntry.cloud};
};

TEST_F(DaytonaAccount, AKeyTellsItsScopesAndItsEnd) {
  answer_record(R"(["write:sandboxes","delete:sandboxes"])",
                R"(,"userId":"u1","organizationId":"o1","expiresAt":"2030-01-31T12:00:00Z")");
  const auto account = cloud.sign_in();
  EXPECT_THAT(cloud.lines(), ElementsAre(kRecord));
  EXPECT_THAT(cloud.heads().front(), AllOf(HasSubstr("Authorization: Bearer dtn_0123456789abcdef\r\n"),
                                           Not(HasSubstr("Organization"))));
  EXPECT_EQ(account->account().name, "ci");
  EXPECT_THAT(account->account().details,
              ElementsAre(Pair("organization", "o1"), Pair("user", "u1"),
                          Pair("permissions", "write:sandboxes, delete:sandboxes")));
  EXPECT_TRUE(account->account().expires_at.has_value());
  EXPECT_THAT(account->account().warnings, IsEmpty());
  EXPECT_EQ(account->account().blocked, "");
}

TEST_F(DaytonaAccount, AKeyThatCannotDeleteIsWarnedOf) {
  answer_record(R"(["write:sandboxes"])");
  EXPECT_THAT(cloud.sign_in()->account().warnings,
              ElementsAre(StartsWith(
                  "the key may create sandboxes but not delete them (it lacks delete:sandboxes)")));
}

TEST_F(DaytonaAccount, AKeyThatCannotCreateIsBlocked) {
  answer_record("[]");
  const auto account = cloud.sign_in();
  EXPECT_THAT(account->account().blocked, StartsWith("the key lacks the permission write:sandboxes"));
  EXPECT_THAT(account->account().details, Contains(Pair("permissions", "none")));
}

TEST_F(DaytonaAccount, ATokenIsProvedByAListWithItsOrganization) {
  cloud.variables.erase("DAYTONA_API_KEY");
  cloud.variables["DAYTONA_JWT_TOKEN"] = "eyJ0123456789abcdef";
  cloud.variables["DAYTONA_ORGANIZATION_ID"] = "org-1";
  cloud.answer({{.body = R"({"items":[]})"}});
  EXPECT_THAT(cloud.sign_in()->account().details, ElementsAre(Pair("organization", "org-1")));
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /api/sandbox?limit=1"));
  EXPECT_THAT(cloud.heads().front(), AllOf(HasSubstr("Authorization: Bearer eyJ0123456789abcdef\r\n"),
                                           HasSubstr("X-Daytona-Organization-ID: org-1\r\n")));
}

TEST_F(DaytonaAccount, AServerWithoutTheRecordHasTheList) {
  cloud.answer({{.status = 404, .body = R"({"statusCode":404,"message":"Cannot GET"})"}, {.body = "[]"}});
  (void)cloud.sign_in();
  EXPECT_THAT(cloud.lines(), ElementsAre(kRecord, "GET /api/sandbox?limit=1"));
}

TEST_F(DaytonaAccount, AnUnknownKeyFailsInOneReadAndSaysWhatToDo) {
  cloud.answer({{.status = 401,
                 .body = R"({"statusCode":401,"error":"Unauthorized","message":"Invalid credentials"})"}});
  EXPECT_EQ(
      cloud.refusal(),
      "unauthenticated: checking the credential of daytona: Daytona does not know this credential: it is "
      "mistyped, revoked or expired (an API key with the fingerprint 7ee4bb62c244, from DAYTONA_API_KEY in "
      "the "
      "environment); HTTP 401 from API/api, which says \"Invalid credentials\"; make a new one at "
      "https://app.daytona.io/dashboard/keys and run: sandkey auth login daytona");
  EXPECT_THAT(cloud.lines(), ElementsAre(kRecord));
}

TEST_F(DaytonaAccount, TellsItsFailuresApart) {
  const auto body = [](int status, const std::string& error, const std::string& message) {
    return ScriptedAnswer{.status = status,
                          .body = R"({"statusCode":)" + std::to_string(status) + R"(,"error":")" + error +
                                  R"(","message":")" + message + R"("})"};
  };
  ScriptedAnswer throttled = body(429, "Too Many Requests", "ThrottlerException: Too Many Requests");
  throttled.headers = "Retry-After-failed-auth: 120\r\n";
  for (const auto& [answer, error] : std::vector<std::pair<ScriptedAnswer, std::string>>{
           {body(403, "Forbidden", "Organization is suspended: unpaid"),
            "permission_denied: checking the credential of daytona: the organization is suspended ("},
           {body(403, "Forbidden", "Invalid authentication context"),
            "permission_denied: checking the credential of daytona: the credential does not belong to this "
            "organization ("},
           {body(403, "Forbidden", "Access denied"),
            "permission_denied: checking the credential of daytona: the key lacks the permission for this ("},
           {throttled,
            "rate_limited: checking the credential of daytona: Daytona was asked too often, or had too many "
            "failed "
            "sign-ins from this address; HTTP 429 from API/api, which says \"ThrottlerException: Too Many "
            "Requests\"; it "
            "asks to wait for 120 s"},
           {body(503, "Service Unavailable", "The service is in maintenance mode"),
            "unavailable: checking the credential of daytona: Daytona is down for maintenance; "},
           {body(503, "Service Unavailable", "Temporary authentication service error"),
            "unavailable: checking the credential of daytona: Daytona cannot check credentials now; "},
           {{.body = R"({"hello":"world"})"},
            "protocol: checking the credential of daytona: the answer is none of Daytona's; its API's "
            "address ends in "
            "/api"},
       }) {
    cloud.answer({answer});
    EXPECT_THAT(cloud.refusal(), StartsWith(error)) << answer.body;
  }
}

}  // namespace
}  // namespace sandkey::daytona
