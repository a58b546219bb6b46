// What is peculiar to Modal's control plane: builds that are followed, two back ends, lists in pages.
#include "sandkey/providers/modal/sandboxes.h"

#include "sandkey/providers/modal/test_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>

namespace sandkey::modal {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr char kSecondBackEnd[] = "sb-01HZZZZZZZZZZZZZZZZZZZZZZZ";
constexpr char kFirstBackEnd[] = "sb-nGEijt9WbBMlGrsPH9FOaC";

// A control plane that has sandboxes, too.
class SandboxControl : public TestControl {
 public:
  grpc::Status AppGetOrCreate(grpc::ServerContext*, const api::AppGetOrCreateRequest* request,
                              api::AppGetOrCreateResponse* reply) override {
    if (request->object_creation_type() == 0 && !has_app) return {grpc::StatusCode::NOT_FOUND, "no app"};
    has_app = true;
    reply->set_app_id("ap-1");
    return {};
  }
  grpc::Status EnvironmentGetOrCreate(grpc::ServerContext*, const api::EnvironmentGetOrCreateRequest*,
                                      api::EnvironmentGetOrCreateResponse* reply) override {
    reply->mutable_metadata()->mutable_settings()->set_image_builder_version("2025.06");
    return {};
  }
  grpc::Status ImageGetOrCreate(grpc::ServerContext*, const api::ImageGetOrCreateRequest* request,
                                api::ImageGetOrCreateResponse* reply) override {
    recipe = *request;
    reply->set_image_id("im-1");
    return {};
  }
  // Breaks off after the first line; what came before is not told again.
  grpc::Status ImageJoinStreaming(grpc::ServerContext*, const api::ImageJoinStreamingRequest* request,
                                  grpc::ServerWriter<api::ImageJoinStreamingResponse>* writer) override {
    api::ImageJoinStreamingResponse item;
    if (request->last_entry_id().empty()) {
      item.add_task_logs()->set_data("pulling");
      item.set_entry_id("1-0");
      writer->Write(item);
      return {grpc::StatusCode::UNAVAILABLE, "broken off"};
    }
    joined_at = request->last_entry_id();
    item.add_task_logs()->set_data("unpacking");
    *item.mutable_result() = build;
    writer->Write(item);
    return {};
  }
  grpc::Status SecretGetOrCreate(grpc::ServerContext*, const api::SecretGetOrCreateRequest* request,
                                 api::SecretGetOrCreateResponse* reply) override {
    secret = *request;
    reply->set_secret_id("st-1");
    return {};
  }
  grpc::Status SandboxCreate(grpc::ServerContext*, const api::SandboxCreateRequest* request,
                             api::SandboxCreateResponse* reply) override {
    first = *request;
    reply->set_sandbox_id(kFirstBackEnd);
    return {};
  }
  grpc::Status SandboxCreateV2(grpc::ServerContext*, const api::SandboxCreateV2Request* request,
                               api::SandboxCreateV2Response* reply) override {
    if (!has_second) return {grpc::StatusCode::UNIMPLEMENTED, "what?"};
    second = *request;
    reply->set_sandbox_id(kSecondBackEnd);
    reply->set_task_id("ta-1V");
    auto* tunnel = reply->add_tunnels();
    tunnel->set_host("x.modal.host");
    tunnel->set_port(443);
    tunnel->set_container_port(8000);
    return {};
  }
  grpc::Status SandboxListV2(grpc::ServerContext*, const api::SandboxListRequest* request,
                             api::SandboxListResponse* reply) override {
    befores.push_back(request->before_timestamp());
    constexpr int kPage = 2;
    for (int number = count; number >= 1 && reply->sandboxes_size() < kPage; --number) {
      const double created = began + number * step;
      if (request->before_timestamp() > 0 && created >= request->before_timestamp()) continue;
      auto* info = reply->add_sandboxes();
      info->set_id("sb-" + std::to_string(number));
      info->set_created_at(created);
      info->set_timeout_secs(600);
    }
    return {};
  }
  grpc::Status SandboxWait(grpc::ServerContext*, const api::SandboxWaitRequest*,
                           api::SandboxWaitResponse* reply) override {
    asked_for.insert("first");
    reply->mutable_result()->set_status(4);
    return {};
  }
  grpc::Status SandboxWaitV2(grpc::ServerContext*, const api::SandboxWaitRequest*,
                             api::SandboxWaitResponse*) override {
    asked_for.insert("second");
    return {};
  }

  bool has_app = false;
  bool has_second = true;
  api::GenericResult build;
  std::string joined_at;
  api::ImageGetOrCreateRequest recipe;
  api::SecretGetOrCreateRequest secret;
  api::SandboxCreateRequest first;
  api::SandboxCreateV2Request second;
  // Sandboxes, and when they were made.
  int count = 5;
  double began = 0;
  double step = 1;
  std::vector<double> befores;
  std::set<std::string> asked_for;
};

class ModalSandboxes : public testing::Test {
 protected:
  ModalSandboxes() : sandboxes(std::make_shared<Sandboxes>(modal.sign_in()->control())) {
    control.build.set_status(1);
  }

  template <typename T>
  T wait(asio::awaitable<T> call) {
    return modal.engine().wait(std::move(call));
  }
  Deadline soon() { return modal.engine().in(seconds(20)); }

  NewSandbox wanted() {
    NewSandbox sandbox;
    sandbox.name = "sandkey-a";
    sandbox.image_id = "im-1";
    sandbox.entrypoint = {"sh"};
    sandbox.environment = {{"COLOUR", "red"}};
    sandbox.labels = {{"sandkey-sid", "a/b"}};
    sandbox.port = 8000;
    sandbox.life = seconds(600);
    sandbox.idle_life = seconds(60);
    return sandbox;
  }

  TestModalOf<SandboxControl> modal;
  SandboxControl& control = modal.control;
  std::shared_ptr<Sandboxes> sandboxes;
};

TEST_F(ModalSandboxes, ABuildIsFollowedOverABrokenConnection) {
  std::vector<std::string> lines;
  const Progress progress = [&](const std::string& line) { lines.push_back(line); };
  EXPECT_EQ(wait(sandboxes->image("debian:12", progress, soon())), "im-1");
  EXPECT_THAT(lines, ElementsAre("pulling", "unpacking"));
  EXPECT_EQ(control.joined_at, "1-0");
  EXPECT_EQ(control.recipe.image().dockerfile_commands(0), "FROM debian:12");
  EXPECT_EQ(control.recipe.builder_version(), "2025.06");
  EXPECT_EQ(wait(sandboxes->image("im-other", progress, soon())), "im-other");
}

TEST_F(ModalSandboxes, ABuildThatFailsIsToldWithItsReason) {
  control.build.set_status(2);
  control.build.set_exception("manifest unknown");
  EXPECT_EQ(modal.failure([&] { (void)wait(sandboxes->image("none:1", {}, soon())); }),
            "invalid_argument: getting the image none:1 for modal: Modal cannot build it: manifest unknown");
}

TEST_F(ModalSandboxes, NewOnesAreOfTheSecondBackEnd) {
  const MadeSandbox made = wait(sandboxes->create(wanted(), soon()));
  EXPECT_EQ(made.id, kSecondBackEnd);
  EXPECT_EQ(made.task_id, "ta-1V");
  ASSERT_TRUE(made.port);
  EXPECT_EQ(made.port->to_string(), "https://x.modal.host");
  const api::Sandbox& definition = control.second.definition();
  EXPECT_EQ(definition.name(), "sandkey-a");
  EXPECT_EQ(definition.timeout_secs(), 600U);
  EXPECT_EQ(definition.idle_timeout_secs(), 60U);
  EXPECT_EQ(definition.network_access().network_access_type(), 1);
  ASSERT_EQ(definition.open_ports().ports_size(), 1);
  EXPECT_EQ(definition.open_ports().ports(0).port(), 8000U);
  EXPECT_FALSE(definition.open_ports().ports(0).unencrypted());
  EXPECT_EQ(control.second.ephemeral_secrets().contents().at("COLOUR"), "red");
  ASSERT_EQ(control.second.tags_size(), 1);
  EXPECT_EQ(control.second.tags(0).tag_value(), "a.2Fb");
}

TEST_F(ModalSandboxes, OfTheFirstWhereThereIsNoSecond) {
  control.has_second = false;
  const MadeSandbox made = wait(sandboxes->create(wanted(), soon()));
  EXPECT_EQ(made.id, kFirstBackEnd);
  EXPECT_THAT(made.task_id, IsEmpty());
  EXPECT_EQ(control.secret.env_dict().at("COLOUR"), "red");
  EXPECT_EQ(control.secret.object_creation_type(), 5);
  EXPECT_EQ(control.first.definition().secret_ids(0), "st-1");
}

TEST_F(ModalSandboxes, TheIdSaysWhichOneIsAsked) {
  EXPECT_TRUE(is_of_first_back_end(kFirstBackEnd));
  EXPECT_FALSE(is_of_first_back_end(kSecondBackEnd));
  EXPECT_FALSE(is_of_first_back_end("sb-nGEijt9WbBMlGrsPH9FOa-"));
  const auto end = wait(sandboxes->end_of(kFirstBackEnd, seconds(0), soon()));
  ASSERT_TRUE(end);
  EXPECT_EQ(end->reason, "its time was over");
  EXPECT_THAT(control.asked_for, ElementsAre("first"));
  EXPECT_FALSE(wait(sandboxes->end_of(kSecondBackEnd, seconds(0), soon())));  // no result: it lives
  EXPECT_THAT(control.asked_for, ElementsAre("first", "second"));
}

TEST_F(ModalSandboxes, ListsAreReadToTheirEnd) {
  EXPECT_THAT(wait(sandboxes->list({}, soon())), IsEmpty());  // there is no app yet
  control.has_app = true;
  std::vector<std::string> ids;
  for (const SandboxRecord& record : wait(sandboxes->list({}, soon()))) ids.push_back(record.id);
  EXPECT_THAT(ids, ElementsAre("sb-5", "sb-4", "sb-3", "sb-2", "sb-1"));
  EXPECT_THAT(control.befores, ElementsAre(0, 4, 2, 1));
}

// Times have more digits than a double's text can be read back with by everybody: some of these come out a
// little later than they are, and then the next page begins with the one that the last ended with.
TEST_F(ModalSandboxes, OneThatTwoPagesTellOfIsOne) {
  control.has_app = true;
  control.count = 200;
  control.began = 1795851871.002181;
  control.step = 0.001;
  std::vector<std::string> ids;
  for (const SandboxRecord& record : wait(sandboxes->list({}, soon()))) ids.push_back(record.id);
  std::vector<std::string> all;
  for (int number = control.count; number >= 1; --number) all.push_back("sb-" + std::to_string(number));
  EXPECT_EQ(ids, all);
}

}  // namespace
}  // namespace sandkey::modal
