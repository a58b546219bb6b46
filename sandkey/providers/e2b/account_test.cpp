#include "sandkey/providers/e2b/account.h"

#include "sandkey/accounts/scripted_cloud.h"
#include "sandkey/providers/e2b/provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sandkey::e2b {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kList[] = "GET /v2/sandboxes?state=running&limit=1";
constexpr char kUnknownKey[] =
    R"({"code":401,"message":"Invalid API key, see the docs\nCannot get the team for the given API key"})";

class E2bAccount : public testing::Test {
 protected:
  E2bAccount() {
    cloud.variables["E2B_API_KEY"] = "e2b_0123456789abcdef";
    cloud.variables["E2B_API_URL"] = cloud.url();
  }
  ScriptedCloud cloud{*kEntry.cloud};
};

TEST_F(E2bAccount, IsProvedByOneShortList) {
  cloud.answer({{.body = "[]"}});
  (void)cloud.sign_in();
  EXPECT_THAT(cloud.lines(), ElementsAre(kList));
  EXPECT_THAT(cloud.heads().front(), HasSubstr("X-API-Key: e2b_0123456789abcdef\r\n"));
}

TEST_F(E2bAccount, One401IsNotTheLastWord) {
  cloud.answer({{.status = 401, .body = kUnknownKey}, {.body = "[]"}});
  (void)cloud.sign_in();
  EXPECT_THAT(cloud.lines(), ElementsAre(kList, kList));
}

TEST_F(E2bAccount, AnUnknownKeyFailsInTwoReadsAndSaysWhatToDo) {
  cloud.answer({{.status = 401, .body = kUnknownKey}});
  EXPECT_EQ(
      cloud.refusal(),
      "unauthenticated: checking the credential of e2b: E2B does not know this key: it is mistyped, deleted "
      "or "
      "revoked (an API key with the fingerprint 824721537519, from E2B_API_KEY in the environment); HTTP 401 "
      "from API, which says \"Invalid API key, see the docs Cannot get the team for the given API key\"; "
      "make a "
      "new one at https://e2b.dev/dashboard?tab=keys and run: sandkey auth login e2b");
  EXPECT_THAT(cloud.lines(), ElementsAre(kList, kList));
}

TEST_F(E2bAccount, AServerWithoutTheNewListHasTheOldOne) {
  cloud.answer({{.status = 404, .body = R"({"code":404,"message":"no matching operation was found"})"},
                {.body = "[]"}});
  (void)cloud.sign_in();
  EXPECT_THAT(cloud.lines(), ElementsAre(kList, "GET /sandboxes"));
}

TEST_F(E2bAccount, TellsItsFailuresApart) {
  struct Case {
    ScriptedAnswer answer;
    std::string_view error;
  };
  for (
      const Case& item : std::vector<Case>{
          {{.status = 401, .body = R"({"code":401,"message":"authorization header is malformed"})"},
           "unauthenticated: checking the credential of e2b: E2B does not take this for one of its keys ("},
          {{.status = 403, .body = R"({"code":403,"message":"team is banned"})"},
           "permission_denied: checking the credential of e2b: the key's team is banned ("},
          {{.status = 403, .body = R"({"code":403,"message":"team is blocked: unpaid"})"},
           "permission_denied: checking the credential of e2b: the key's team is blocked, "},
          {{.status = 429, .body = R"({"code":429,"message":"limit is 20"})"},
           "quota_exceeded: checking the credential of e2b: the team has as many sandboxes"},
          {{.status = 429, .headers = "Retry-After: 3600\r\n"},
           "rate_limited: checking the credential of e2b: E2B was asked too often; HTTP 429 from API; it "
           "asks to wait "
           "for 3600 s"},
          {{.status = 503,
          .body =
                R"({"code":503,"message":"Failed to place sandbox","error_code":"sandbox_capacity_unavailable"})"},
           "capacity_unavailable: "},
          {{.status = 503,
          .body = R"({"code":503,"message":"Failed","error_code":"sandbox_no_compatible_node"})"},
           "capacity_unavailable: "},
          {{.status = 504,
          .body = R"({"code":504,"message":"Failed","error_code":"sandbox_placement_timeout"})"},
           "capacity_unavailable: "},
          {{.status = 400, .body = R"({"code":400,"message":"validation error: limit"})"},
           "invalid_argument: "},
          {{.body = "{}"},
           "protocol: checking the credential of e2b: the answer is no list of sandboxes; is the address"},
          {{.body = "<html>welcome</html>"}, "protocol: "},
      }) {
    cloud.answer({item.answer});
    // 503 and 504 are asked again; a moved clock ends that soon.
    EXPECT_THAT(cloud.refusal(), StartsWith(item.error)) << item.answer.status << " " << item.answer.body;
  }
}

TEST_F(E2bAccount, NobodyAnswering) {
  cloud.variables["E2B_API_URL"] = "http://127.0.0.1:1";
  EXPECT_THAT(cloud.refusal(),
              AllOf(StartsWith("unavailable: checking the credential of e2b: "), HasSubstr("127.0.0.1")));
}

}  // namespace
}  // namespace sandkey::e2b
