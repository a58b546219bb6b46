// What goes over the wire, against a scripted API. How a provider behaves is the contract suite's.
#include "sandkey/providers/_template/provider.h"

#include "sandkey/accounts/scripted_cloud.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sandkey::example {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

std::string sandbox(const std::string& id, const std::string& minute = "00",
                    const std::string& state = "running") {
  return R"({"id":")" + id + R"(","template":"base","state":")" + state + R"(","token":"tok-)" + id +
         R"(","created_at":"2026-01-01T00:)" + minute + R"(:00Z","expires_at":"2026-01-01T01:00:00Z",)" +
         R"("labels":{"sandkey":"true","sandkey-sid":"s","sandkey-kept":"true","sandkey-lease":"60",)" +
         R"("sandkey-directory":"/workspace"}})";
}

class TemplateProvider : public testing::Test {
 protected:
  TemplateProvider() {
    cloud.variables["EXAMPLE_API_KEY"] = "ex_0123456789abcdef";
    cloud.variables["EXAMPLE_API_URL"] = cloud.url();
    cloud.answer({{.body = R"({"name":"us","suspended":false})"}});
    provider = open(cloud.engine(), {}, cloud.sign_in());
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
  std::shared_ptr<Provider> provider;
};

TEST_F(TemplateProvider, TheAccountIsProvedByOneRequest) {
  EXPECT_EQ(provider->account().name, "us");
  ScriptedCloud other{*kEntry.cloud};
  other.variables = {{"HOME", other.home.path().string()},
                     {"EXAMPLE_API_KEY", "ex_secret"},
                     {"EXAMPLE_API_URL", other.url()}};
  other.answer({{.status = 403, .body = R"({"message":"account suspended"})"}});
  EXPECT_THAT(other.refusal(), StartsWith("permission_denied: "));
  EXPECT_THAT(other.lines(), ElementsAre("GET /v1/account"));
  EXPECT_THAT(other.heads().front(), HasSubstr("Authorization: Bearer ex_secret\r\n"));
}

TEST_F(TemplateProvider, CreatesOnceThoughTheAnswerIsLost) {
  cloud.answer({{.status = 502, .body = ""},
                {.status = 201, .body = sandbox("a")},
                {.body = R"({"items":[)" + sandbox("a") + "]}"}});
  EXPECT_EQ(wait(provider->create({.sid = "s", .working_dir = "/workspace", .keep = true}, soon())).id.value,
            "a");
  EXPECT_THAT(cloud.lines(), ElementsAre("POST /v1/sandboxes", "POST /v1/sandboxes",
                                         "GET /v1/sandboxes?label=sandkey-sid&value=s"));
  EXPECT_EQ(cloud.bodies()[0], cloud.bodies()[1]);
  EXPECT_THAT(cloud.bodies()[0], HasSubstr(R"("request_id":"0000000000000000")"));
}

TEST_F(TemplateProvider, OfTwoTwinsTheOlderStays) {
  cloud.answer({{.status = 201, .body = sandbox("a", "02")},
                {.body = R"({"items":[)" + sandbox("a", "02") + R"(],"next":"more"})"},
                {.body = R"({"items":[)" + sandbox("b", "01") + "]}"},
                {.status = 204, .body = ""}});
  const CreatedSandbox created = wait(provider->create({.sid = "s"}, soon()));
  EXPECT_EQ(created.id.value, "b");
  EXPECT_FALSE(created.own);
  EXPECT_EQ(cloud.lines().back(), "DELETE /v1/sandboxes/a");
}

TEST_F(TemplateProvider, PutsTheAgentInWhereItIsNot) {
  cloud.answer({{.body = sandbox("a")},
                {.body = R"({"exit_code":0,"stdout":"absent\n","stderr":""})"},
                {.body = "{}"},
                {.body = R"({"exit_code":0,"stdout":"started\n","stderr":""})"}});
  wait(provider->start_agent({"a"}, soon()));
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /v1/sandboxes/a", "POST /v1/sandboxes/a/run",
                                         "POST /v1/sandboxes/a/files", "POST /v1/sandboxes/a/run"));
  cloud.answer({{.body = sandbox("a")}, {.body = R"({"exit_code":0,"stdout":"failed: no room\n"})"}});
  EXPECT_THAT(failure(provider->start_agent({"a"}, soon())), HasSubstr("no room"));
}

TEST_F(TemplateProvider, TheAgentIsReachedByItsPort) {
  cloud.answer({{.body = sandbox("a")}, {.body = R"({"url":"https://p.cloud.example","token":"port"})"}});
  const AgentAccess access = wait(provider->agent_endpoint({"a"}, soon()));
  EXPECT_EQ(access.endpoint.to_string(), "https://p.cloud.example");
  EXPECT_TRUE(access.headers.contains("X-Port-Token"));
  EXPECT_FALSE(access.session_key.empty());
  EXPECT_THAT(cloud.lines(), ElementsAre("GET /v1/sandboxes/a", "POST /v1/sandboxes/a/ports/49990"));
}

TEST_F(TemplateProvider, DescribesRenewsPausesAndEnds) {
  cloud.answer({{.body = sandbox("a")}});
  const SandboxInfo info = wait(provider->describe({"a"}, soon()));
  EXPECT_EQ(info.sid, "s");
  EXPECT_EQ(info.lease, 60s);
  EXPECT_TRUE(info.kept && info.created && info.lease_end);
  EXPECT_GT(wait(provider->renew({"a"}, 90s, soon())), cloud.engine().system_now());
  EXPECT_EQ(cloud.bodies().back(), R"({"ttl_seconds":90})");
  cloud.answer({{.status = 409}, {.body = sandbox("a", "00", "paused")}});
  wait(provider->pause({"a"}, soon()));
  cloud.answer({{.status = 409}, {.body = sandbox("a", "00", "starting")}});
  EXPECT_THAT(failure(provider->resume({"a"}, soon())), StartsWith("conflict: "));
  cloud.answer({{.status = 404}});
  wait(provider->destroy({"a"}, soon()));
}

TEST_F(TemplateProvider, WhatItCannotGiveAndWhatIsNoIdIsRefusedWithoutAsking) {
  EXPECT_THAT(failure(provider->create({.workspace = "/tmp"}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->create({.network = true}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->create({.memory_bytes = 1}, soon())), StartsWith("unsupported: "));
  EXPECT_THAT(failure(provider->describe({"../x"}, soon())), StartsWith("not_found: "));
  EXPECT_THAT(cloud.lines(), SizeIs(0));
}

TEST_F(TemplateProvider, NonsenseIsAProtocolError) {
  cloud.answer({{.body = "[]"}});
  EXPECT_THAT(failure(provider->list(soon())), StartsWith("protocol: "));
  cloud.answer({{.body = R"({"items":[],"next":"again"})"}});
  EXPECT_THAT(failure(provider->list(soon())), HasSubstr("it has no end"));
}

}  // namespace
}  // namespace sandkey::example
