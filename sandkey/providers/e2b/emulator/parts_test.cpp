// What E2B's emulator decides without any sandbox: keys, filters, pages, requests, templates, routing.
#include "sandkey/providers/e2b/emulator/api_error.h"
#include "sandkey/providers/e2b/emulator/api_key.h"
#include "sandkey/providers/e2b/emulator/data_plane.h"
#include "sandkey/providers/e2b/emulator/listing.h"
#include "sandkey/providers/e2b/emulator/requests.h"
#include "sandkey/providers/e2b/emulator/templates.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace sandkey::e2b::emulator {
namespace {

namespace emu = sandkey::emulator;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

json::object object(const char* text) {
  return json::parse(text).as_object();
}

std::pair<int, std::string> refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const ApiError& error) {
    return {error.status(), error.what()};
  }
  return {0, ""};
}

// ---- Keys

class Keys : public ::testing::Test {
 protected:
  [[nodiscard]] std::pair<int, std::string> answer(std::string_view key) const {
    return refusal([&] { (void)authenticate(accounts_, key); });
  }
  [[nodiscard]] std::pair<int, std::string> answer_to(std::string_view account) const {
    return answer(accounts_.named(account).key);
  }

  Engine engine_;
  emu::KnownSecrets secrets_;
  emu::Accounts accounts_{{std::string(kBanned), std::string(kBlocked), std::string(kNotHex)},
                          [this](std::string_view name) { return make_key(engine_, name); },
                          secrets_};
};

TEST_F(Keys, HaveTheCloudsForm) {
  EXPECT_THAT(accounts_.named("valid").key, ::testing::MatchesRegex("e2b_[0-9a-f]{40}"));
  EXPECT_THAT(accounts_.named("revoked").key, ::testing::MatchesRegex("e2b_[0-9a-f]{40}"));
  EXPECT_FALSE(accounts_.named("malformed").key.starts_with("e2b_"));
}

TEST_F(Keys, AreLookedAtInTheCloudsOrder) {
  const std::string invalid =
      "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\n";
  EXPECT_THAT(answer(""), Pair(401, "authorization header is missing"));
  EXPECT_THAT(answer_to("malformed"), Pair(401, "authorization header is malformed"));
  EXPECT_THAT(answer_to(kNotHex), Pair(401, invalid + "Invalid API key format"));
  EXPECT_THAT(answer("e2b_abc"), Pair(401, invalid + "Invalid API key format"));  // an odd number of digits
  for (const char* account : {"unknown", "revoked"}) {
    EXPECT_THAT(answer_to(account), Pair(401, invalid + "Cannot get the team for the given API key"));
  }
  EXPECT_THAT(answer("e2b_ABCD"), Pair(401, invalid + "Cannot get the team for the given API key"));
  EXPECT_THAT(answer_to(kBanned), Pair(403, "team is banned"));
  for (const char* account : {"valid", "second", "blocked", "over_quota"}) {
    EXPECT_EQ(answer_to(account).first, 0) << account;
  }
}

TEST_F(Keys, OfABlockedAccountMayLook) {
  EXPECT_THAT(refusal([&] { require_unblocked(accounts_.named("blocked")); }),
              Pair(403, HasSubstr("team is blocked")));
  EXPECT_EQ(refusal([&] { require_unblocked(accounts_.named("valid")); }).first, 0);
  EXPECT_EQ(concurrency_limit(accounts_.named("over_quota")), 0U);
}

// ---- Lists

TEST(MetadataFilter, IsDecodedThreeTimesInAll) {
  // As the SDK sends it: metadata=k%2525201%3Dv%252526, of which the query's own decoding leaves this.
  EXPECT_THAT(parse_metadata_filter("k%25201=v%2526"), ElementsAre(Pair("k 1", "v&")));
  EXPECT_THAT(parse_metadata_filter("user=abc&app=prod"),
              ElementsAre(Pair("app", "prod"), Pair("user", "abc")));
  EXPECT_THAT(parse_metadata_filter("a=%253D&b=%2526"), ElementsAre(Pair("a", "="), Pair("b", "&")));
  EXPECT_THAT(parse_metadata_filter("a="), ElementsAre(Pair("a", "")));
  for (const char* bad : {"a", "a=b=c", "a=1&", "a=%zz", "a=%25zz"}) {
    EXPECT_EQ(refusal([&] { (void)parse_metadata_filter(bad); }).first, 400) << bad;
  }
}

TEST(MetadataFilter, WantsEveryPairExactly) {
  const std::map<std::string, std::string> metadata{{"a", "1"}, {"b", "2"}};
  EXPECT_TRUE(matches({}, metadata));
  EXPECT_TRUE(matches({{"a", "1"}}, metadata));
  EXPECT_TRUE(matches({{"a", "1"}, {"b", "2"}}, metadata));
  EXPECT_FALSE(matches({{"a", "2"}}, metadata));
  EXPECT_FALSE(matches({{"a", "1"}, {"c", "2"}}, metadata));
  EXPECT_FALSE(matches({{"A", "1"}}, metadata));
}

TEST(PageTokens, AreReadBackInTheirOwnOrderOnly) {
  const PageToken token{emu::Time{1234567890123456789ns}, "iabc"};
  for (const bool ascending : {false, true}) {
    const std::string text = write_page_token(token, ascending);
    EXPECT_EQ(text.find_first_of("+/"), std::string::npos);
    EXPECT_EQ(read_page_token(text, ascending), token);
    EXPECT_EQ(refusal([&] { (void)read_page_token(text, !ascending); }).first, 400);
  }
  for (const char* bad : {"", "x", "!!!!", "bm9uZQ==", "MjAyNi0xMS0yOFQwMjozNzowMFpfXw=="}) {
    EXPECT_EQ(refusal([&] { (void)read_page_token(bad, false); }).first, 400) << bad;
  }
}

// ---- Requests

TEST(Requests, OfBothVersionsHaveDefaultsOfTheirOwn) {
  const CreateRequest v1 = parse_create(object(R"({"templateID":"base"})"), ApiVersion::v1);
  EXPECT_EQ(v1.timeout, 15s);
  EXPECT_FALSE(v1.secure);
  const CreateRequest v2 = parse_create(object(R"({"templateID":"base","unknown":{"a":1}})"), ApiVersion::v2);
  EXPECT_EQ(v2.timeout, 300s);
  EXPECT_TRUE(v2.secure);
  EXPECT_FALSE(v2.auto_pause);
  EXPECT_TRUE(v2.auto_pause_memory);
  EXPECT_FALSE(v2.internet);
}

TEST(Requests, AreReadWhole) {
  const CreateRequest request = parse_create(
      object(R"({"templateID":"base","timeout":86400,"metadata":{"a":"1"},"envVars":{"B":"2"},"secure":true,
                 "allow_internet_access":false,"autoPause":true,"autoPauseMemory":true,
                 "autoResume":{"enabled":true},"mcp":null,
                 "network":{"allowOut":["1.1.1.1","*.example.com"],"denyOut":["0.0.0.0/0"],
                            "allowPublicTraffic":false,"maskRequestHost":"localhost:${PORT}",
                            "egressProxy":{"address":"proxy.example:1080","username":"u","password":"p"}}})"),
      ApiVersion::v1);
  EXPECT_EQ(request.timeout, 24h);
  EXPECT_THAT(request.metadata, ElementsAre(Pair("a", "1")));
  EXPECT_THAT(request.variables, ElementsAre(Pair("B", "2")));
  EXPECT_EQ(request.internet, false);
  EXPECT_TRUE(request.auto_resume);
  ASSERT_TRUE(request.network);
  EXPECT_FALSE(request.network->public_traffic);
  EXPECT_EQ(request.network->mask_request_host, "localhost:${PORT}");
  EXPECT_EQ(json::serialize(request.network->shown.at("egressProxy")),
            R"({"address":"proxy.example:1080","username":"u"})");
}

TEST(Requests, ThatTheCloudRefuses) {
  for (const auto& each : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({})", "\"templateID\" is missing"},
           {R"({"templateID":1})", "must be a string"},
           {R"({"templateID":"base","timeout":-1})", "at least 0"},
           {R"({"templateID":"base","timeout":0})", "greater than 0"},
           {R"({"templateID":"base","timeout":1.5})", "must be an integer"},
           {R"({"templateID":"base","timeout":86401})", "Timeout cannot be greater than 24 hours"},
           {R"({"templateID":"base","timeout":99999999999})", "int32"},
           {R"({"templateID":"base","metadata":{"a":1}})", "must be a string"},
           {R"({"templateID":"base","metadata":null})", "not nullable"},
           {R"({"templateID":"base","autoPauseMemory":false})", "autoPause"},
           {R"({"templateID":"base","autoPause":true,"autoPauseMemory":false,"autoResume":{"enabled":true}})",
            "autoResume"},
           {R"({"templateID":"base","autoResume":{}})", "\"enabled\" is missing"},
           {R"({"templateID":"base","network":{"allowPublicTraffic":false}})", "secure"},
           {R"({"templateID":"base","network":{"denyOut":["example.com"]}})",
            "invalid denied CIDR example.com"},
           {R"({"templateID":"base","network":{"allowOut":["example.com"]}})", "ALL_TRAFFIC"},
           {R"({"templateID":"base","network":{"allowOut":["1.2.3.4/33"]}})", "invalid allowed address"},
           {R"({"templateID":"base","network":{"egressProxy":{"address":"nowhere"}}})", "host:port"},
           {R"({"templateID":"base","network":{"httpsPorts":[49983]}})", "invalid https port"},
           {R"({"templateID":"base","volumeMounts":[{"name":"a","path":"/b"}]})",
            "Volume mounts are not enabled."},
           {R"({"templateID":"base","iam":{"tokens":{"a":{"audience":"x","tokenType":"JWT-SVID"}}}})",
            "identity"}}) {
    const auto [status, message] = refusal([&] { (void)parse_create(object(each.first), ApiVersion::v1); });
    EXPECT_EQ(status, 400) << each.first;
    EXPECT_THAT(message, HasSubstr(each.second)) << each.first;
  }
}

TEST(Requests, BoundTheRulesOfANetwork) {
  const auto answer = [](const std::function<void(json::object&)>& change) {
    json::object network = object(R"({"rules":{"api.example.com":[{"transform":{"headers":{}}}]}})");
    change(network);
    return refusal([&] { (void)parse_network(network); }).first;
  };
  const auto headers = [](json::object& network) -> json::object& {
    return network["rules"]
        .as_object()["api.example.com"]
        .as_array()[0]
        .as_object()["transform"]
        .as_object()["headers"]
        .as_object();
  };
  const auto domains = [](json::object& network, int count) {
    for (int i = 1; i < count; ++i)
      network["rules"].as_object()["d" + std::to_string(i) + ".example"] = json::array();
  };
  EXPECT_EQ(answer([](json::object&) {}), 0);
  EXPECT_EQ(answer([&](json::object& n) { domains(n, 10); }), 0);
  EXPECT_EQ(answer([&](json::object& n) { domains(n, 11); }), 400);
  EXPECT_EQ(answer([&](json::object& n) { headers(n)[std::string(64, 'x')] = std::string(2048, 'v'); }), 0);
  EXPECT_EQ(answer([&](json::object& n) { headers(n)[std::string(65, 'x')] = "v"; }), 400);
  EXPECT_EQ(answer([&](json::object& n) { headers(n)["x"] = std::string(2049, 'v'); }), 400);
  EXPECT_EQ(answer([&](json::object& n) { headers(n)["x"] = "a\r\nb"; }), 400);
  EXPECT_EQ(answer([&](json::object& n) { headers(n)[""] = "v"; }), 400);
  const auto many = [&](int count) {
    return answer([&](json::object& n) {
      for (int i = 0; i < count; ++i) headers(n)["h" + std::to_string(i)] = "v";
    });
  };
  EXPECT_EQ(many(20), 0);
  EXPECT_EQ(many(21), 400);
  EXPECT_EQ(answer([](json::object& n) { n["rules"].as_object()["no domain"] = json::array(); }), 400);
}

TEST(Requests, MayBeEmptyWhereTheApiSaysSo) {
  for (const char* body : {"", " \r\n", "{}", "null"}) EXPECT_TRUE(parse_body(body, true).empty()) << body;
  for (const char* body : {"", "[]", "nothing", "{", "null"}) {
    const auto [status, message] = refusal([&] { (void)parse_body(body, false); });
    EXPECT_EQ(status, 400) << body;
    EXPECT_TRUE(message.starts_with("validation error: ")) << message;
  }
  EXPECT_EQ(parse_timeout({}, 300s), 300s);
  EXPECT_EQ(refusal([] { (void)parse_timeout({}, std::nullopt); }).first, 400);
  EXPECT_EQ(parse_any_timeout(object(R"({"timeout":99999999})")), 99999999s);
  EXPECT_EQ(refusal([] { (void)parse_any_timeout(object(R"({"timeout":-1})")); }).first, 400);
}

TEST(SandboxIds, MayHaveTheOldClientBehindThem) {
  EXPECT_EQ(parse_sandbox_id("iabc0"), "iabc0");
  EXPECT_EQ(parse_sandbox_id("iabc0-6532622b"), "iabc0");
  for (const char* bad : {"", "-x", "a-b-c", "A", "i_1"}) {
    EXPECT_THAT(refusal([&] { (void)parse_sandbox_id(bad); }), Pair(400, "Invalid sandbox ID")) << bad;
  }
}

// ---- Templates

TEST(TemplateReferences, AreNamespaceAliasAndTag) {
  EXPECT_EQ(parse_template_reference("Base").name, "base");
  EXPECT_EQ(parse_template_reference("base").tag, "default");
  EXPECT_FALSE(parse_template_reference("base").has_tag);
  const TemplateReference full = parse_template_reference("my-team/my_alias:v1.2");
  EXPECT_EQ(full.name, "my-team/my_alias");
  EXPECT_EQ(full.tag, "v1.2");
  for (const char* bad : {"", "/", "a/b/c", "a b", ":v1", "base:", "base:a b", "/base", "base/"}) {
    EXPECT_EQ(refusal([&] { (void)parse_template_reference(bad); }).first, 400) << bad;
  }
}

TEST(TemplateCatalogue, KnowsWhoSeesWhat) {
  Engine engine;
  Templates templates(engine, {});
  const auto answer = [&](const char* reference, const char* account) {
    return refusal([&] { (void)templates.resolve(parse_template_reference(reference), account); });
  };
  EXPECT_EQ(answer("base", "valid").first, 0);
  EXPECT_EQ(answer("code-interpreter-v1", "valid").first, 0);
  EXPECT_EQ(answer(templates.find("base")->id.c_str(), "valid").first, 0);
  EXPECT_THAT(answer("nothing", "valid"), Pair(404, HasSubstr("'nothing' not found")));
  EXPECT_THAT(answer("base:v9", "valid"), Pair(404, HasSubstr("tag 'v9' does not exist")));
  EXPECT_EQ(answer("second/private-of-second", "valid").first, 403);
  EXPECT_EQ(answer("private-of-second", "second").first, 0);
}

TEST(TemplateCatalogue, KeepsSnapshotsUntilTheyAreRemoved) {
  Engine engine;
  Templates templates(engine, {});
  const Template like;
  const auto name = parse_template_reference("mine:v1");
  const Templates::Found first = templates.add_snapshot(like, "valid", "isource", name, {}, {});
  const Templates::Found again =
      templates.add_snapshot(like, "valid", "isource", parse_template_reference("valid/mine:v2"), {}, {});
  EXPECT_EQ(first.made_of, again.made_of);
  EXPECT_EQ(first.made_of->builds.size(), 2U);
  EXPECT_EQ(templates.resolve(name, "valid").made_of, first.made_of);
  EXPECT_EQ(refusal([&] {
              (void)templates.add_snapshot(like, "valid", "isource", parse_template_reference("other/mine"),
                                           {}, {});
            }).first,
            400);
  EXPECT_FALSE(templates.remove(name, "second"));
  EXPECT_TRUE(templates.remove(name, "valid"));
  EXPECT_EQ(refusal([&] { (void)templates.resolve(name, "valid"); }).first, 404);
  EXPECT_TRUE(templates.remove(parse_template_reference("mine"), "valid"));
  EXPECT_EQ(templates.find("mine"), nullptr);
  EXPECT_FALSE(templates.remove(parse_template_reference("base"), "valid"));
}

// ---- Routing

TEST(Routing, ByHeadersOnThisMachineAndOnTheSharedHost) {
  for (const char* host : {"127.0.0.1:1234", "localhost", "[::1]:80", "sandbox.e2b.localhost:1"}) {
    const auto found = find_destination(host, "iabc", "49983", "/x");
    ASSERT_TRUE(found) << host;
    EXPECT_EQ(found->sandbox, "iabc");
    EXPECT_EQ(found->port, kEnvdPort);
  }
  EXPECT_EQ(find_destination("localhost", "iabc", "", "/x")->problem, "missing header");
  EXPECT_EQ(find_destination("localhost", "", "80", "/x")->problem, "missing header");
  EXPECT_EQ(find_destination("localhost", "iabc", "x", "/x")->problem, "Invalid sandbox port");
  EXPECT_EQ(find_destination("localhost", "iabc", "65536", "/x")->problem, "Invalid sandbox port");
  EXPECT_EQ(find_destination("localhost", "i_c", "80", "/x")->problem, "Invalid sandbox ID");
}

TEST(Routing, ByTheHostsName) {
  const auto found = find_destination("3000-iabc.e2b.localhost:443", "", "", "/x");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->sandbox, "iabc");
  EXPECT_EQ(found->port, 3000U);
  // Headers count on shared hosts only.
  EXPECT_EQ(find_destination("3000-iabc.e2b.localhost", "iother", "1", "/x")->sandbox, "iabc");
  EXPECT_EQ(find_destination("99999-iabc.e2b.localhost", "", "", "/x")->problem, "Invalid sandbox port");
  EXPECT_EQ(find_destination("sandbox.e2b.localhost", "", "", "/x")->problem, "Invalid host");
}

TEST(Routing, LeavesTheRestToTheControlPlane) {
  EXPECT_FALSE(find_destination("127.0.0.1:1234", "", "", "/v2/sandboxes"));
  EXPECT_FALSE(find_destination("api.e2b.localhost:1234", "", "", "/v2/sandboxes"));
  EXPECT_FALSE(find_destination("", "", "", "/"));
  EXPECT_TRUE(find_destination("127.0.0.1:1234", "", "", "/files")->by_signature);
}

}  // namespace
}  // namespace sandkey::e2b::emulator
