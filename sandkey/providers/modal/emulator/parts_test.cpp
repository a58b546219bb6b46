// What Modal's emulator decides without any sandbox: ids, tokens, who may call, images, output, file
// requests.
#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/modal/emulator/access.h"
#include "sandkey/providers/modal/emulator/apps.h"
#include "sandkey/providers/modal/emulator/file_tools.h"
#include "sandkey/providers/modal/emulator/ids.h"
#include "sandkey/providers/modal/emulator/images.h"
#include "sandkey/providers/modal/emulator/output_log.h"
#include "sandkey/providers/modal/emulator/sandbox.h"
#include "sandkey/providers/modal/emulator/secrets.h"
#include "sandkey/providers/modal/emulator/settings.h"
#include "sandkey/providers/modal/emulator/tokens.h"

#include <boost/json/parse.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Pair;

std::pair<grpc::Code, std::string> refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const grpc::CallError& error) {
    return {error.code(), error.what()};
  }
  return {grpc::Code::ok, ""};
}

// ---- Ids and names

TEST(Ids, SayWhichKindASandboxIs) {
  const Engine engine;
  const emu::Time now = emu::Time(1'700'000'000s);
  EXPECT_THAT(make_id(engine, "ap"), MatchesRegex("ap-[0-9A-Za-z]{22}"));
  EXPECT_THAT(make_sandbox_id(engine, Backend::v1, now), MatchesRegex("sb-[0-9A-Za-z]{22}"));
  EXPECT_THAT(make_sandbox_id(engine, Backend::v2, now), MatchesRegex("sb-01HF7YAT00[0-9A-HJKMNP-TV-Z]{16}"));
  EXPECT_THAT(make_task_id(engine, Backend::v1, now), MatchesRegex("ta-[0-9A-Za-z]{22}"));
  EXPECT_THAT(make_task_id(engine, Backend::v2, now), MatchesRegex("ta-01HF7YAT00[0-9A-HJKMNP-TV-Z]{16}V"));
  EXPECT_LT(make_sandbox_id(engine, Backend::v2, now), make_sandbox_id(engine, Backend::v2, now + 1ms));
}

TEST(Names, AreOfAFewCharacters) {
  for (const char* name : {"a", "my-app_1.2", "ap-short"}) EXPECT_TRUE(is_name(name)) << name;
  EXPECT_TRUE(is_name(std::string(64, 'x')));
  for (const char* name : {"", "a b", "a/b", "ü", "ap-0123456789abcdefABCDEF"})
    EXPECT_FALSE(is_name(name)) << name;
  EXPECT_FALSE(is_name(std::string(65, 'x')));
  EXPECT_TRUE(is_tag_value(""));
  EXPECT_FALSE(is_tag_name(""));
  EXPECT_TRUE(is_tag_value(std::string(63, 'x')));
  EXPECT_FALSE(is_tag_value(std::string(64, 'x')));
}

// ---- Tokens and settings

class World : public ::testing::Test {
 protected:
  Engine engine_;
  emu::Clock clock_{engine_, engine_.executor(0), emu::Clock::Kind::manual};
  emu::KnownSecrets secrets_;
};

TEST_F(World, TokensAreThreePartsAndEnd) {
  Tokens tokens(engine_, clock_, secrets_, "router token");
  const std::string token = tokens.issue("ta-1", 10s);
  const std::size_t first = token.find('.');
  const std::size_t second = token.find('.', first + 1);
  ASSERT_NE(second, std::string::npos);
  const auto payload = base64_decode(token.substr(first + 1, second - first - 1));
  ASSERT_TRUE(payload);
  const json::object claims = json::parse(*payload).as_object();
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(clock_.now().time_since_epoch());
  EXPECT_EQ(find_integer(claims, "exp"), now.count() + 10);
  EXPECT_EQ(tokens.subject_of(token), "ta-1");
  EXPECT_EQ(tokens.subject_of(token + "x"), std::nullopt);
  EXPECT_EQ(tokens.subject_of(""), std::nullopt);
  EXPECT_THAT(secrets_.mask(token),
              MatchesRegex(".*\\.\\[router token of ta-1\\]\\.\\[router token of ta-1\\]"));
  engine_.wait(clock_.advance(10s));
  EXPECT_EQ(tokens.subject_of(token), std::nullopt);
}

TEST(SettingsOfModal, AreTakenWholeOrNotAtAll) {
  Settings settings;
  settings.change(json::parse(R"({"router_token_seconds": 5, "warning": "old"})").as_object());
  EXPECT_EQ(settings.router_token, 5s);
  EXPECT_EQ(settings.warning, "old");
  for (const char* bad : {R"({"warning": "new", "router_token_seconds": 0})", R"({"warning": 1})",
                          R"({"other": 1})", R"({"warning": "new", "create_tells_router": "no"})"}) {
    EXPECT_THROW(settings.change(json::parse(bad).as_object()), Error) << bad;
  }
  EXPECT_EQ(settings.warning, "old");
  EXPECT_EQ(find_integer(settings.to_json(), "router_token_seconds"), 5);
}

// ---- Keys

TEST(Keys, OfTheAccountsAreOfTheirKinds) {
  const Engine engine;
  EXPECT_THAT(make_key(engine, "valid"), MatchesRegex("ak-[0-9A-Za-z]{22}:as-[0-9A-Za-z]{22}"));
  EXPECT_THAT(make_key(engine, kSwapped), MatchesRegex("as-[0-9A-Za-z]{22}:ak-[0-9A-Za-z]{22}"));
  EXPECT_THAT(make_key(engine, "malformed"), ::testing::Not(::testing::StartsWith("ak-")));
}

TEST(ComingBack, IsToldInTheDetails) {
  const grpc::CallError error = come_back(grpc::Code::resource_exhausted, "slowly", 1500ms);
  EXPECT_EQ(error.code(), grpc::Code::resource_exhausted);
  modal_wire::RPCStatus status;
  ASSERT_TRUE(status.ParseFromString(error.details()));
  EXPECT_EQ(status.code(), 8);
  EXPECT_EQ(status.message(), "slowly");
  ASSERT_EQ(status.details_size(), 1);
  EXPECT_EQ(status.details(0).type_url(), "type.modal.com/modal.client.RPCRetryPolicy");
  modal_wire::RPCRetryPolicy policy;
  ASSERT_TRUE(policy.ParseFromString(status.details(0).value()));
  EXPECT_FLOAT_EQ(policy.retry_after_secs(), 1.5F);
}

// ---- Apps, secrets, images

const emu::Account kOne{"valid", "k1"};
const emu::Account kOther{"second", "k2"};

TEST_F(World, AppsAreAnAccountsAndAnEnvironmentsOwn) {
  Apps apps(engine_, clock_);
  modal_wire::AppGetOrCreateRequest request;
  request.set_app_name("app");
  EXPECT_EQ(refusal([&] { (void)apps.get_or_create(kOne, request); }).first, grpc::Code::not_found);
  request.set_object_creation_type(modal_wire::OBJECT_CREATION_TYPE_CREATE_IF_MISSING);
  const std::string id = apps.get_or_create(kOne, request).id;
  EXPECT_EQ(apps.get_or_create(kOne, request).id, id);
  EXPECT_NE(apps.get_or_create(kOther, request).id, id);
  request.set_environment_name("dev");
  EXPECT_NE(apps.get_or_create(kOne, request).id, id);
  request.set_environment_name("none");
  EXPECT_EQ(refusal([&] { (void)apps.get_or_create(kOne, request); }).first, grpc::Code::not_found);
  EXPECT_EQ(refusal([&] { (void)apps.find(kOther, id); }).first, grpc::Code::not_found);
  request.set_environment_name("main");
  request.set_object_creation_type(modal_wire::OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS);
  EXPECT_EQ(refusal([&] { (void)apps.get_or_create(kOne, request); }).first, grpc::Code::already_exists);
}

TEST_F(World, SecretsAreSetsOfVariables) {
  Secrets secrets(engine_, clock_);
  modal_wire::SecretGetOrCreateRequest request;
  request.set_deployment_name("named");
  request.set_object_creation_type(modal_wire::OBJECT_CREATION_TYPE_CREATE_IF_MISSING);
  (*request.mutable_env_dict())["A"] = "1";
  const std::string named = secrets.get_or_create(kOne, request).id;
  request.set_object_creation_type(modal_wire::OBJECT_CREATION_TYPE_EPHEMERAL);
  (*request.mutable_env_dict())["A"] = "2";
  const std::string passing = secrets.get_or_create(kOne, request).id;
  EXPECT_NE(named, passing);
  Variables variables{{"B", "0"}};
  Secrets::Sources sources;
  sources.Add()->set_secret_id(named);
  sources.Add()->set_secret_id(passing);
  (*sources.Add()->mutable_env()->mutable_contents())["C"] = "3";
  secrets.add_to(variables, kOne, sources);
  EXPECT_THAT(variables, ElementsAre(Pair("A", "2"), Pair("B", "0"), Pair("C", "3")));
  EXPECT_EQ(refusal([&] { secrets.add_to(variables, kOther, sources); }).first, grpc::Code::not_found);
  request.set_object_creation_type(modal_wire::OBJECT_CREATION_TYPE_UNSPECIFIED);
  request.add_required_keys("MISSING");
  EXPECT_EQ(refusal([&] { (void)secrets.get_or_create(kOne, request); }).first,
            grpc::Code::failed_precondition);
  EXPECT_THAT(secrets.of(kOne, "main"), ::testing::SizeIs(1));
}

modal_wire::ImageGetOrCreateRequest recipe(const std::vector<std::string>& lines,
                                           const std::string& base = {}) {
  modal_wire::ImageGetOrCreateRequest request;
  request.set_builder_version("2025.06");
  for (const std::string& line : lines) request.mutable_image()->add_dockerfile_commands(line);
  if (!base.empty()) request.mutable_image()->add_base_images()->set_image_id(base);
  return request;
}

TEST(ImagesOfModal, AreTheSameForTheSameRecipe) {
  const Engine engine;
  Images images(engine);
  const std::string id = images.get_or_create(kOne, recipe({"FROM alpine"})).id;
  EXPECT_EQ(images.get_or_create(kOne, recipe({"FROM alpine"})).id, id);
  EXPECT_NE(images.get_or_create(kOther, recipe({"FROM alpine"})).id, id);
  EXPECT_NE(images.get_or_create(kOne, recipe({"FROM alpine", "RUN true"})).id, id);
  modal_wire::ImageGetOrCreateRequest anew = recipe({"FROM alpine"});
  anew.set_force_build(true);
  EXPECT_NE(images.get_or_create(kOne, anew).id, id);
  EXPECT_EQ(refusal([&] { (void)images.find(kOther, id); }).first, grpc::Code::not_found);
  EXPECT_EQ(refusal([&] { (void)images.get_or_create(kOne, recipe({})); }).first,
            grpc::Code::invalid_argument);
  images.remove(kOne, id);
  EXPECT_EQ(refusal([&] { (void)images.find(kOne, id); }).first, grpc::Code::not_found);
}

TEST(ImagesOfModal, KeepWhatTheirLinesSay) {
  const Engine engine;
  Images images(engine);
  const std::string base =
      images.get_or_create(kOne, recipe({"FROM debian", "ENV A=1", "env B \"two words\"", "WORKDIR /w"})).id;
  const Image& image =
      images.get_or_create(kOne, recipe({"FROM base", "ENV A='3'", R"(CMD ["sleep", "1"])"}, base));
  EXPECT_THAT(image.variables, ElementsAre(Pair("A", "3"), Pair("B", "two words")));
  EXPECT_EQ(image.folder, "/w");
  EXPECT_THAT(image.command, ElementsAre("sleep", "1"));
  EXPECT_THAT(images.get_or_create(kOne, recipe({"FROM a", "CMD run it"})).command,
              ElementsAre("/bin/sh", "-c", "run it"));
  EXPECT_EQ(refusal([&] {
              (void)images.get_or_create(kOne, recipe({"FROM a", "CMD [1]"}));
            }).first,
            grpc::Code::invalid_argument);
}

TEST(ImagesOfModal, OneBaseHoldsOurAgentAndGivesItToThoseAboveIt) {
  const Engine engine;
  Images images(engine);
  const Image& base = images.get_or_create(kOne, recipe({"FROM sandkey", "RUN true"}));
  EXPECT_TRUE(base.holds_agent);
  EXPECT_TRUE(images.get_or_create(kOne, recipe({"FROM base"}, base.id)).holds_agent);
  EXPECT_FALSE(images.get_or_create(kOne, recipe({"FROM sandkey/other"})).holds_agent);
}

TEST(ImagesOfModal, FailWhereThereIsNoSuchRegistryAndWhereALineDoes) {
  const Engine engine;
  Images images(engine);
  const Image missing = images.get_or_create(kOne, recipe({"FROM registry.invalid/none:1", "RUN true"}));
  EXPECT_EQ(result_of(missing).status(), modal_wire::GenericResult::GENERIC_STATUS_FAILURE);
  EXPECT_THAT(result_of(missing).exception(), HasSubstr("manifest unknown"));
  const Image failed = images.get_or_create(kOne, recipe({"FROM alpine", "RUN exit 1"}));
  EXPECT_THAT(result_of(failed).exception(), HasSubstr("status 1"));
  EXPECT_EQ(refusal([&] { (void)images.get_or_create(kOne, recipe({"FROM base"}, failed.id)); }).first,
            grpc::Code::failed_precondition);
  EXPECT_NE(images.get_or_create(kOne, recipe({"FROM alpine", "RUN exit 1"})).id, failed.id);
}

// ---- Listing

TEST_F(World, SandboxesAreFoundByAllOfTheTags) {
  Sandbox sandbox(engine_, engine_.executor(0));
  sandbox.id = "sb-1";
  sandbox.tags = {{"a", "1"}, {"b", "2"}};
  EXPECT_TRUE(has_tags(sandbox, {}));
  EXPECT_TRUE(has_tags(sandbox, {{"b", "2"}}));
  EXPECT_FALSE(has_tags(sandbox, {{"a", "1"}, {"b", "3"}}));
  EXPECT_FALSE(has_tags(sandbox, {{"c", ""}}));
  sandbox.created = emu::Time(1'700'000'000s + 123456us);
  EXPECT_EQ(to_info(sandbox).created_at(), 1'700'000'000.123456);
  EXPECT_FALSE(to_info(sandbox).task_info().has_result());
  sandbox.result.emplace().set_exitcode(3);
  EXPECT_EQ(to_info(sandbox).task_info().result().exitcode(), 3);
}

// ---- Output

TEST(Output, KeepsTheNewestAndKnowsWhereItBegins) {
  OutputLog log(10);
  EXPECT_EQ(log.read(0, 5), "");
  log.append("0123456789");
  EXPECT_EQ(log.read(2, 3), "234");
  EXPECT_EQ(log.begin(), 0U);
  for (char c = 'a'; c <= 'z'; ++c) log.append(std::string(1, c));
  EXPECT_EQ(log.size(), 36U);
  EXPECT_EQ(log.begin(), 26U);
  EXPECT_EQ(log.kept(), 10U);
  EXPECT_EQ(log.read(26, 100), "qrstuvwxyz");
  EXPECT_EQ(log.read(35, 100), "z");
  EXPECT_EQ(log.read(25, 100), "");
  EXPECT_EQ(log.read(36, 100), "");
  log.append(std::string(25, '.'));
  EXPECT_EQ(log.read(log.begin(), 100), std::string(10, '.'));
  EXPECT_FALSE(log.ended());
}

// ---- Files

TEST(FileRequests, AreOneCommandWithAPath) {
  const auto read = parse_file_request(R"({"ReadFile": {"path": "/a/../b/"}})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->kind, FileRequest::Kind::read);
  EXPECT_EQ(read->path, "/b");
  const auto make = parse_file_request(R"({"MakeDirectory": {"path": "/d", "parents": true}})");
  ASSERT_TRUE(make);
  EXPECT_TRUE(make->deep);
  const auto watch = parse_file_request(
      R"({"Watch": {"path": "/", "recursive": true, "filter": ["Create"], "timeout_secs": 5}})");
  ASSERT_TRUE(watch);
  EXPECT_TRUE(watch->deep);
  EXPECT_THAT(watch->filter, ElementsAre("Create"));
  EXPECT_EQ(watch->timeout, 5s);
  EXPECT_TRUE(parse_file_request(R"({"Watch": {"path": "/", "filter": null, "timeout_secs": null}})"));
  for (const char* bad :
       {"", "{}", "[]", R"({"ReadFile": {}})", R"({"ReadFile": {"path": "a"}})", R"({"ReadFile": "/a"})",
        R"({"Other": {"path": "/a"}})", R"({"ReadFile": {"path": "/a"}, "Stat": {"path": "/a"}})"}) {
    EXPECT_FALSE(parse_file_request(bad)) << bad;
  }
}

TEST(FileEntries, AreToldAsTheToolsDo) {
  RemoteEntry entry;
  entry.type = RemoteEntry::Type::symlink;
  entry.path = "/tmp/link";
  entry.mode = 0777;
  entry.uid = entry.gid = 1000;
  entry.target = "there";
  entry.modified = 1500ms;
  const json::object told = to_json(entry);
  EXPECT_EQ(find_string(told, "name"), "link");
  EXPECT_EQ(find_string(told, "type"), "symlink");
  EXPECT_EQ(find_string(told, "permissions"), "lrwxrwxrwx");
  EXPECT_EQ(find_string(told, "owner"), "modal");
  EXPECT_EQ(find_string(told, "symlink_target"), "there");
  EXPECT_EQ(find_number(told, "modified_time"), 1.5);
  EXPECT_EQ(permissions_of(RemoteEntry::Type::file, 0640), "-rw-r-----");
  EXPECT_EQ(permissions_of(RemoteEntry::Type::directory, 0755), "drwxr-xr-x");
}

}  // namespace
}  // namespace sandkey::modal::emulator
