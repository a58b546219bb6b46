// What goes over the wire, against a scripted API. How it behaves is the contract suite's, under the
// emulator.
#include "sandkey/providers/e2b/provider.h"

#include "sandkey/accounts/scripted_cloud.h"
#include "sandkey/base/json.h"
#include "sandkey/providers/e2b/control_plane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sandkey::e2b {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

const std::string kMade =
    R"({"templateID":"base","sandboxID":"iaaa","envdVersion":"0.6.13","envdAccessToken":"envd","trafficAccessToken":"traffic"})";

std::string listed(const std::string& id, const std::string& more = "") {
  return R"({"templateID":"rki5dems9wqfm4r03t7g","alias":"base","sandboxID":")" + id +
         R"(","startedAt":"2026-01-01T00:00:00Z","endAt":"2026-01-01T00:05:00Z","state":"running",)" +
         R"("metadata":{"sandkey":"true","sandkey-sid":"s","sandkey-lease":"60","sandkey-kept":"true"})" +
         more + "}";
}

class E2bProvider : public testing::Test {
 protected:
  E2bProvider() {
    cloud.variables["E2B_API_KEY"] = "e2b_0123456789abcdef";
    cloud.variables["E2B_API_URL"] = cloud.url();
    cloud.answer({{.body = "[]"}});
    account = cloud.sign_in();
    provider = open(cloud.engine(), {}, account);
    cloud.forget_requests();
  }
  template <typename T>
  T wait(asio::awaitable<T> task) {
    return cloud.engine().wait(std::move(task));
  }
  template <typename T>
  std::string failure(asio::awaitable<T> task) {
    try {
      (void)cloud.engine().wait(std::move(task));
      return "";
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + cloud.shortened(error.what());
    }
  }
  Deadline soon() { return cloud.engine().in(10s); }

  ScriptedCloud cloud{*kEntry.cloud};
  std::shared_ptr<AuthenticatedAccount> account;
  std::shared_ptr<Provider> provider;
};

TEST_F(E2bProvider, CreatesInTheSecondVersionAndLooksForAnOlderTwin) {
  cloud.answer({{.status = 201, .body = kMade}, {.body = "[" + listed("iaaa") + "]"}});
  EXPECT_EQ(
      wait(provider->create({.sid = "s", .environment = {{"A", "b"}}, .network = false}, soon())).id.value,
      "iaaa");
  EXPECT_EQ(
      cloud.bodies().front(),
      R"({"templateID":"base","timeout":300,"metadata":{"sandkey":"true","sandkey-attempt":"0000000000000000",)"
      R"("sandkey-directory":"","sandkey-kept":"false","sandkey-lease":"300","sandkey-sid":"s"},)"
      R"("envVars":{"A":"b"},"allow_internet_access":false,"network":{"allowPublicTraffic":false},"secure":true})");
  EXPECT_THAT(
      cloud.lines(),
      ElementsAre("POST /v2/sandboxes",
                  "GET /v2/sandboxes?state=running%2Cpaused&limit=100&order=asc&metadata=sandkey-sid%3Ds"));
}

TEST_F(E2bProvider, OfTwoTwinsTheOlderStays) {
  cloud.answer({{.status = 201, .body = kMade},
                {.body = "[" + listed("ibbb") + "," + listed("iaaa") + "]"},
                {.status = 204, .body = ""}});
  const CreatedSandbox created = wait(provider->create({.sid = "s"}, soon()));
  EXPECT_EQ(created.id.value, "ibbb");
  EXPECT_FALSE(created.own);
  EXPECT_EQ(cloud.lines().back(), "DELETE /sandboxes/iaaa");
}

TEST_F(E2bProvider, AServerWithoutTheSecondVersionIsAskedInTheFirstFromThenOn) {
  const ScriptedAnswer absent{
      .status = 404, .body = R"({"code":404,"message":"validation error: no matching operation was found"})"};
  cloud.answer({absent,
                {.status = 201, .body = kMade},
                {.body = "[]"},
                {.status = 201, .body = kMade},
                {.body = "[]"}});
  (void)wait(provider->create({.sid = "s"}, soon()));
  (void)wait(provider->create({.sid = "s"}, soon()));
  std::vector<std::string> posts;
  for (const std::string& line : cloud.lines()) {
    if (line.starts_with("POST")) posts.push_back(line);
  }
  EXPECT_THAT(posts, ElementsAre("POST /v2/sandboxes", "POST /sandboxes", "POST /sandboxes"));
}

TEST_F(E2bProvider, AnUnknownTemplateIsNotTakenForAnOlderServer) {
  cloud.answer({{.status = 404, .body = R"({"code":404,"message":"template 'x' not found"})"}});
  EXPECT_THAT(failure(provider->create({.sid = "s", .image = "x"}, soon())),
              StartsWith("not_found: creating a sandbox at e2b: "));
  EXPECT_THAT(cloud.lines(), SizeIs(1));
}

TEST_F(E2bProvider, RenewingShortensNothing) {
  cloud.answer({{.body = listed("iaaa")}, {.status = 204, .body = ""}});
  EXPECT_GT(wait(provider->renew({"iaaa"}, 90s, soon())), cloud.engine().system_now() + 80s);
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /sandboxes/iaaa", "POST /sandboxes/iaaa/timeout"));
  EXPECT_EQ(cloud.bodies().back(), R"({"timeout":90})");
  cloud.forget_requests();
  std::string long_lived = listed("iaaa");
  long_lived.replace(long_lived.find("2026-01-01T00:05"), 4, "2199");
  cloud.answer({{.body = long_lived}});
  EXPECT_GT(wait(provider->renew({"iaaa"}, 90s, soon())),
            cloud.engine().system_now() + std::chrono::hours(24));
  EXPECT_THAT(cloud.lines(), SizeIs(1));
}

// Its agent's key would be everybody's.
TEST_F(E2bProvider, ASandboxWithoutATokenIsNotUsed) {
  cloud.answer({{.body = listed("iaaa")}, {.body = R"({"templateID":"base","sandboxID":"iaaa"})"}});
  EXPECT_THAT(failure(provider->agent_endpoint({"iaaa"}, soon())),
              StartsWith("unsupported: reaching the sandbox iaaa of e2b: it has no token"));
}

TEST_F(E2bProvider, ALostAnswerIsLookedForBeforeAnythingIsMadeAgain) {
  cloud.answer({{.status = 502, .body = "bad gateway"},
                {.body = "[]"},
                {.body = "[" + listed("iaaa") + "]"},
                {.body = kMade},
                {.body = "[" + listed("iaaa") + "]"}});
  EXPECT_EQ(wait(provider->create({.sid = "s"}, soon())).id.value, "iaaa");
  EXPECT_THAT(cloud.lines(),
              ElementsAre("POST /v2/sandboxes", HasSubstr("metadata=sandkey-attempt"),
                          HasSubstr("metadata=sandkey-attempt"), "POST /v2/sandboxes/iaaa/connect",
                          HasSubstr("metadata=sandkey-sid")));
}

TEST_F(E2bProvider, ListsAllPagesAndDecodesThem) {
  cloud.answer({{.body = "[" + listed("iaaa") + "]", .headers = "X-Next-Token: more/1=\r\n"},
                {.body = "[" + listed("ibbb", R"(,"state":"paused")") + "]"}});
  const std::vector<SandboxInfo> all = wait(provider->list(soon()));
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].sid, "s");
  EXPECT_EQ(all[0].state, SandboxState::running);
  EXPECT_EQ(all[0].lease, 60s);
  EXPECT_TRUE(all[0].kept);
  EXPECT_EQ(all[0].image, "base");
  EXPECT_TRUE(all[0].lease_end.has_value());
  EXPECT_EQ(all[1].state, SandboxState::paused);
  EXPECT_FALSE(all[1].lease_end.has_value());
  EXPECT_THAT(cloud.lines().back(), HasSubstr("nextToken=more%2F1%3D"));
}

TEST_F(E2bProvider, NamesOfSessionsAreEncodedAsItsServerDecodesThem) {
  (void)wait(provider->find("a b&=ü/", soon()));
  // Each name and value twice, and the whole once more as a query's value.
  EXPECT_THAT(cloud.lines().back(),
              HasSubstr("metadata=sandkey-sid%3Da%252520b%252526%25253D%2525C3%2525BC%25252F"));
}

TEST_F(E2bProvider, PausingWhatIsPausedIsNoFailure) {
  cloud.answer({{.status = 409, .body = R"({"code":409,"message":"already paused"})"},
                {.body = listed("iaaa", R"(,"state":"paused")")}});
  wait(provider->pause({"iaaa"}, soon()));
  cloud.answer(
      {{.status = 409, .body = R"({"code":409,"message":"in transition"})"}, {.body = listed("iaaa")}});
  EXPECT_THAT(failure(provider->pause({"iaaa"}, soon())),
              StartsWith("conflict: pausing the sandbox iaaa of e2b"));
}

TEST_F(E2bProvider, DestroyingWhatIsGoneIsNoFailure) {
  cloud.answer({{.status = 404, .body = R"({"code":404,"message":"no such sandbox"})"}});
  wait(provider->destroy({"iaaa"}, soon()));
  EXPECT_THAT(cloud.lines(), ElementsAre("DELETE /sandboxes/iaaa"));
}

TEST_F(E2bProvider, AnIdThatIsNoneIsNotFoundWithoutAsking) {
  for (const char* id : {"", "../x", "a/b", "A", "i?x=1"}) {
    EXPECT_THAT(failure(provider->describe({id}, soon())), StartsWith("not_found: ")) << id;
  }
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(E2bProvider, PortsNeedTheirToken) {
  cloud.answer({{.body = listed("iaaa")}, {.body = kMade}});
  const ExposedPort direct = wait(provider->expose({"iaaa"}, 8000, soon()));
  EXPECT_EQ(direct.url, "https://8000-iaaa.e2b.app");
  EXPECT_EQ(direct.headers.at("E2B-Traffic-Access-Token").expose(), "traffic");
  const AgentAccess agent = wait(provider->agent_endpoint({"iaaa"}, soon()));
  EXPECT_EQ(agent.endpoint.to_string(), "https://sandbox.e2b.app");
  EXPECT_TRUE(agent.headers.contains("E2b-Sandbox-Id"));
  EXPECT_TRUE(agent.headers.contains("E2B-Traffic-Access-Token"));
  EXPECT_FALSE(agent.session_key.empty());
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /sandboxes/iaaa", "POST /v2/sandboxes/iaaa/connect"));
}

TEST_F(E2bProvider, WhatItCannotGiveIsRefusedBeforeAnythingIsMade) {
  EXPECT_THAT(failure(provider->create({.workspace = "/tmp"}, soon())),
              AllOf(StartsWith("unsupported: creating a sandbox at e2b: "), HasSubstr("sandkey cp")));
  EXPECT_THAT(failure(provider->create({.memory_bytes = 1}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->create({.disk_bytes = 1}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->create({.processes = 1}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(E2bProvider, NonsenseIsAProtocolError) {
  cloud.answer({{.body = "{}"}});
  EXPECT_THAT(failure(provider->list(soon())), StartsWith("protocol: "));
  cloud.answer({{.body = R"([{"sandboxID":7}])"}});
  EXPECT_THAT(failure(provider->list(soon())), StartsWith("protocol: "));
  cloud.answer({{.body = "[]", .headers = "X-Next-Token: again\r\n"}});
  EXPECT_THAT(failure(provider->list(soon())), HasSubstr("it has no end"));
}

}  // namespace
}  // namespace sandkey::e2b
