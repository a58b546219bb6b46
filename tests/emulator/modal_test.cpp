// Modal's calls, with real sandboxes behind them. gRPC is spoken over HTTP/1.1 here, which Modal's own SDKs
// never do: what is in the messages and in the trailers is the same.
#include "sandkey/base/base64.h"
#include "sandkey/emulator/grpc.h"
#include "tests/emulator/fixtures.h"

#include <gmock/gmock.h>

#include <modal.pb.h>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator_test {
namespace {

namespace grpc = emulator::grpc;
namespace wire = modal_wire;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kControl = "/modal.client.ModalClient/";
constexpr const char* kRouter = "/modal.task_command_router.TaskCommandRouter/";
constexpr const char* kPython = "1";
constexpr const char* kJavaScript = "8";

template <typename Response>
struct Reply {
  int http = 0;
  std::string status = {};   // of gRPC
  std::string message = {};  // of the status
  std::vector<Response> messages = {};
  Answer answer = {};

  [[nodiscard]] Response one() const { return messages.empty() ? Response() : messages.front(); }
};

class ModalTest : public EmulatorTest {
 protected:
  template <typename Response>
  Reply<Response> send_call(const std::string& path, std::string body, Headers headers) {
    HttpRequest request;
    request.method = "POST";
    request.url = variable("MODAL_SERVER_URL") + path;
    request.body = std::move(body);
    request.repeatable = false;
    request.headers.set("Content-Type", "application/grpc");
    request.headers.set("TE", "trailers");
    for (const auto& [name, value] : headers) request.headers.set(name, value);
    Reply<Response> reply;
    reply.answer = send(std::move(request));
    reply.http = reply.answer.status;
    reply.status = reply.answer.header("grpc-status");
    if (reply.status.empty()) reply.status = last_status();
    reply.message = reply.answer.header("grpc-message");
    grpc::MessageReader reader;
    reader.feed(reply.answer.body);
    while (const auto bytes = reader.next()) {
      EXPECT_TRUE(reply.messages.emplace_back().ParseFromString(*bytes));
    }
    return reply;
  }
  // By the journal: our client for HTTP does not tell what comes after a body.
  std::string last_status() {
    const Answer journal =
        admin("GET", "/_emulator/journal?provider=modal&since=" + std::to_string(last_number_));
    const json::array& entries = journal.document.at("entries").as_array();
    if (entries.empty()) return {};
    last_number_ = entries.back().at("number").to_number<std::uint64_t>();
    const json::value* status = find(entries.back().get_object(), "grpc_status");
    return status == nullptr ? "" : std::string(std::string_view(status->as_string()));
  }
  [[nodiscard]] Headers told(const std::string& account) {
    const std::string pair = key(account, "modal");
    const std::size_t colon = pair.find(':');
    return {{"x-modal-client-type", kPython},
            {"x-modal-client-version", "1.6.4"},
            {"x-modal-token-id", pair.substr(0, colon)},
            {"x-modal-token-secret", pair.substr(colon + 1)}};
  }
  template <typename Response, typename Request>
  Reply<Response> call(const std::string& method, const Request& request,
                       const std::string& account = "valid", const Headers& more = {}) {
    Headers headers = told(account);
    if (method.ends_with("V2") || method == "SandboxGetCommandRouterAccess")
      headers.emplace_back("x-modal-auth-token", auth_token(account));
    for (const auto& each : more) headers.push_back(each);
    return send_call<Response>(kControl + method, grpc::frame(request.SerializeAsString()), headers);
  }
  template <typename Response, typename Request>
  Reply<Response> router(const std::string& method, const Request& request) {
    return send_call<Response>(kRouter + method, grpc::frame(request.SerializeAsString()),
                               {{"authorization", "Bearer " + made_.command_router_access().jwt()}});
  }

  std::string auth_token(const std::string& account) {
    std::string& token = tokens_[account];
    if (token.empty()) {
      token = send_call<wire::AuthTokenGetResponse>(std::string(kControl) + "AuthTokenGet", grpc::frame({}),
                                                    told(account))
                  .one()
                  .token();
    }
    return token;
  }
  std::string app(const std::string& account = "valid") {
    wire::AppGetOrCreateRequest request;
    request.set_app_name("app");
    request.set_object_creation_type(wire::OBJECT_CREATION_TYPE_CREATE_IF_MISSING);
    return call<wire::AppGetOrCreateResponse>("AppGetOrCreate", request, account).one().app_id();
  }
  std::string image(const std::string& account = "valid") {
    wire::ImageGetOrCreateRequest request;
    request.mutable_image()->add_dockerfile_commands("FROM alpine:3.20");
    return call<wire::ImageGetOrCreateResponse>("ImageGetOrCreate", request, account).one().image_id();
  }
  wire::SandboxCreateV2Request wanted(const std::string& account = "valid") {
    wire::SandboxCreateV2Request request;
    request.set_app_id(app(account));
    request.mutable_definition()->set_image_id(image(account));
    return request;
  }
  // Its id; made_ knows the rest.
  std::string make(const wire::SandboxCreateV2Request& request) {
    const auto reply = call<wire::SandboxCreateV2Response>("SandboxCreateV2", request);
    EXPECT_EQ(reply.status, "0") << reply.message;
    made_ = reply.one();
    return made_.sandbox_id();
  }
  std::string make() { return make(wanted()); }

  wire::SandboxWaitResponse wait(const std::string& id, float seconds = 0) {
    wire::SandboxWaitRequest request;
    request.set_sandbox_id(id);
    request.set_timeout(seconds);
    return call<wire::SandboxWaitResponse>("SandboxWaitV2", request).one();
  }
  wire::TaskExecStartRequest command(const std::string& exec_id, const std::vector<std::string>& argv) {
    wire::TaskExecStartRequest request;
    request.set_task_id(made_.task_id());
    request.set_exec_id(exec_id);
    for (const std::string& word : argv) request.add_command_args(word);
    request.set_stdout_config(wire::TASK_EXEC_STDOUT_CONFIG_PIPE);
    request.set_stderr_config(wire::TASK_EXEC_STDERR_CONFIG_PIPE);
    return request;
  }
  std::string start(const std::string& exec_id, const std::vector<std::string>& argv) {
    return router<wire::TaskExecStartResponse>("TaskExecStart", command(exec_id, argv)).status;
  }
  Reply<wire::TaskExecStdioReadResponse> read(const std::string& exec_id, std::uint64_t offset = 0) {
    wire::TaskExecStdioReadRequest request;
    request.set_task_id(made_.task_id());
    request.set_exec_id(exec_id);
    request.set_offset(offset);
    return router<wire::TaskExecStdioReadResponse>("TaskExecStdioRead", request);
  }
  std::string output(const std::string& exec_id, std::uint64_t offset = 0) {
    std::string text;
    for (const auto& each : read(exec_id, offset).messages) text += each.data();
    return text;
  }
  std::string write(const std::string& exec_id, std::uint64_t offset, const std::string& data, bool end) {
    wire::TaskExecStdinWriteRequest request;
    request.set_task_id(made_.task_id());
    request.set_exec_id(exec_id);
    request.set_offset(offset);
    request.set_data(data);
    request.set_eof(end);
    return router<wire::TaskExecStdinWriteResponse>("TaskExecStdinWrite", request).status;
  }
  void break_call(const std::string& route, const std::string& fault) {
    const Answer added = admin("POST", "/_emulator/faults",
                               R"({"provider":"modal","route":")" + route + R"(","fault":)" + fault + "}");
    ASSERT_EQ(added.status, 200) << added.body;
  }
  void set(const std::string& settings) {
    const Answer answer = admin("POST", "/_emulator/settings?provider=modal", settings);
    ASSERT_EQ(answer.status, 200) << answer.body;
  }

  std::map<std::string, std::string> tokens_;  // by account
  std::uint64_t last_number_ = 0;              // of the journal
  wire::SandboxCreateV2Response made_;
};

// ---- Who calls

TEST_F(ModalTest, AnswersEveryKindOfTokenAsTheCloudDoes) {
  const wire::TokenInfoGetRequest request;
  const auto said = [&](const std::string& account) {
    const auto reply = call<wire::TokenInfoGetResponse>("TokenInfoGet", request, account);
    return reply.status + " " + reply.message;
  };
  for (const char* account : {"unknown", "revoked", "wrong_secret"})
    EXPECT_EQ(said(account), "16 Token validation failed");
  for (const char* account : {"malformed", "swapped"}) EXPECT_EQ(said(account), "16 Token ID is malformed");
  EXPECT_THAT(said("old_client"), StartsWith("9 "));
  for (const char* account : {"valid", "second", "restricted", "over_quota", "rate_limited"}) {
    EXPECT_EQ(said(account), "0 ");
  }
  const auto info = call<wire::TokenInfoGetResponse>("TokenInfoGet", request).one();
  EXPECT_EQ(info.workspace_name(), "emulated-valid");
  EXPECT_EQ(info.token_id(), variable("MODAL_TOKEN_ID"));
}

TEST_F(ModalTest, AsksForWhatEveryClientTells) {
  const std::string path = std::string(kControl) + "TokenInfoGet";
  const auto without = [&](const std::string& name, const std::string& instead = {}) {
    Headers headers = told("valid");
    std::erase_if(headers, [&](const auto& each) { return each.first == name; });
    if (!instead.empty()) headers.emplace_back(name, instead);
    return send_call<wire::TokenInfoGetResponse>(path, grpc::frame({}), headers).status;
  };
  EXPECT_EQ(without("x-modal-token-id"), "16");
  EXPECT_EQ(without("x-modal-token-secret"), "16");
  EXPECT_EQ(without("x-modal-client-type"), "9");
  EXPECT_EQ(without("x-modal-client-type", "77"), "9");
  EXPECT_EQ(without("x-modal-client-version"), "9");
  EXPECT_EQ(without("x-modal-client-version", "0.64.1"), "9");
  EXPECT_EQ(without("x-other"), "0");
}

TEST_F(ModalTest, TakesCallsOfV2WithATokenOfItsOwnOnly) {
  const wire::SandboxCreateV2Request request = wanted();
  const std::string path = std::string(kControl) + "SandboxCreateV2";
  const auto with = [&](const std::string& token) {
    Headers headers = told("valid");
    if (!token.empty()) headers.emplace_back("x-modal-auth-token", token);
    return send_call<wire::SandboxCreateV2Response>(path, grpc::frame(request.SerializeAsString()), headers)
        .status;
  };
  EXPECT_EQ(with(""), "16");
  EXPECT_EQ(with("a.b.c"), "16");
  EXPECT_EQ(with(auth_token("second")), "16");
  const std::string token = auth_token("valid");
  EXPECT_EQ(with(token), "0");
  advance(20min);
  EXPECT_EQ(with(token), "16");
}

TEST_F(ModalTest, KnowsNoOtherMethodsAndNoOtherProtocol) {
  const auto unknown = send_call<wire::TokenInfoGetResponse>(std::string(kControl) + "VolumeGetOrCreate",
                                                             grpc::frame({}), told("valid"));
  EXPECT_EQ(unknown.status, "12");
  HttpRequest plain;
  plain.url = variable("MODAL_SERVER_URL") + "/";
  EXPECT_EQ(send(std::move(plain)).status, 404);
}

TEST_F(ModalTest, TellsEachClientTheRoutersAddressAsItWantsIt) {
  const std::string id = make();
  wire::SandboxGetCommandRouterAccessRequest request;
  request.set_sandbox_id(id);
  const std::string authority = variable("MODAL_SERVER_URL").substr(4);
  const auto url = [&](const char* type) {
    Headers headers = told("valid");
    headers.front().second = type;
    headers.emplace_back("x-modal-auth-token", auth_token("valid"));
    return send_call<wire::SandboxGetCommandRouterAccessResponse>(
               std::string(kControl) + "SandboxGetCommandRouterAccess",
               grpc::frame(request.SerializeAsString()), headers)
        .one()
        .url();
  };
  EXPECT_EQ(url(kPython), "http" + authority);
  EXPECT_EQ(url(kJavaScript), "https" + authority);
  set(R"({"create_tells_router": false})");
  make();
  EXPECT_FALSE(made_.has_command_router_access());
}

// ---- Sandboxes

TEST_F(ModalTest, MakesOneSandboxForAllAttemptsOfACall) {
  const wire::SandboxCreateV2Request request = wanted();
  const Headers key{{"x-idempotency-key", "5e1d"}};
  break_call("ModalClient/SandboxCreateV2", R"({"kind":"grpc_status","grpc_status":14})");
  EXPECT_EQ(call<wire::SandboxCreateV2Response>("SandboxCreateV2", request, "valid", key).status, "14");
  const auto first = call<wire::SandboxCreateV2Response>("SandboxCreateV2", request, "valid", key).one();
  const auto again = call<wire::SandboxCreateV2Response>("SandboxCreateV2", request, "valid", key).one();
  EXPECT_EQ(first.sandbox_id(), again.sandbox_id());
  EXPECT_NE(make(request), first.sandbox_id());
}

TEST_F(ModalTest, EndsSandboxesInTheirTime) {
  wire::SandboxCreateV2Request request = wanted();
  request.mutable_definition()->set_timeout_secs(100);
  const std::string limited = make(request);
  const std::string usual = make();
  request.mutable_definition()->set_idle_timeout_secs(30);
  const std::string idle = make(request);
  EXPECT_FALSE(wait(limited).has_result());
  advance(29s);
  EXPECT_EQ(start("e1", {"true"}), "0");  // in the one that would be idle
  wire::TaskExecWaitRequest ended;
  ended.set_task_id(made_.task_id());
  ended.set_exec_id("e1");
  EXPECT_EQ(router<wire::TaskExecWaitResponse>("TaskExecWait", ended).one().code(), 0);
  advance(20s);
  EXPECT_FALSE(wait(idle).has_result());
  advance(15s);
  EXPECT_EQ(wait(idle).result().status(), wire::GenericResult::GENERIC_STATUS_IDLE_TIMEOUT);
  advance(36s);
  EXPECT_EQ(wait(limited).result().status(), wire::GenericResult::GENERIC_STATUS_TIMEOUT);
  EXPECT_FALSE(wait(usual).has_result());
  advance(201s);  // 300 s by default
  EXPECT_EQ(wait(usual).result().status(), wire::GenericResult::GENERIC_STATUS_TIMEOUT);
  EXPECT_EQ(wait(usual).result().exitcode(), 124);
}

TEST_F(ModalTest, ListsTheNewestFirstAndPagesByTime) {
  const std::string first = make();
  const std::string second = make();
  const auto listed = [&](double before, bool finished) {
    wire::SandboxListRequest request;
    request.set_app_id(app());
    request.set_before_timestamp(before);
    request.set_include_finished(finished);
    return call<wire::SandboxListResponse>("SandboxListV2", request).one();
  };
  const wire::SandboxListResponse all = listed(0, false);
  ASSERT_EQ(all.sandboxes_size(), 2);
  EXPECT_EQ(all.sandboxes(0).id(), second);
  EXPECT_EQ(all.sandboxes(1).id(), first);
  ASSERT_EQ(listed(all.sandboxes(0).created_at(), false).sandboxes_size(), 1);
  EXPECT_EQ(listed(all.sandboxes(1).created_at(), false).sandboxes_size(), 0);
  wire::SandboxTerminateRequest end;
  end.set_sandbox_id(first);
  EXPECT_FALSE(call<wire::SandboxTerminateResponse>("SandboxTerminateV2", end).one().has_existing_result());
  EXPECT_TRUE(call<wire::SandboxTerminateResponse>("SandboxTerminateV2", end).one().has_existing_result());
  EXPECT_EQ(listed(0, false).sandboxes_size(), 1);
  EXPECT_EQ(listed(0, true).sandboxes_size(), 2);
}

TEST_F(ModalTest, KeepsTheKindsAndTheAccountsApart) {
  const std::string id = make();
  wire::SandboxWaitRequest request;
  request.set_sandbox_id(id);
  EXPECT_EQ(call<wire::SandboxWaitResponse>("SandboxWait", request).status, "5");
  EXPECT_EQ(call<wire::SandboxWaitResponse>("SandboxWaitV2", request, "second").status, "5");
  EXPECT_EQ(call<wire::SandboxWaitResponse>("SandboxWaitV2", request).status, "0");
  EXPECT_EQ(call<wire::SandboxCreateV2Response>("SandboxCreateV2", wanted(), "second").status, "5");
}

// ---- Commands

TEST_F(ModalTest, StartsACommandOnceAndKeepsItsOutput) {
  make();
  EXPECT_EQ(start("e1", {"sh", "-c", "echo run >>/tmp/runs; cat /tmp/runs"}), "0");
  EXPECT_EQ(output("e1"), "run\n");
  EXPECT_EQ(start("e1", {"sh", "-c", "echo again"}), "0");
  EXPECT_EQ(output("e1"), "run\n");
  EXPECT_EQ(output("e1", 2), "n\n");
  EXPECT_EQ(output("e1", 4), "");
  EXPECT_EQ(read("e1", 4).status, "0");
  EXPECT_EQ(read("none").status, "5");
  EXPECT_EQ(start("e2", {}), "3");
}

TEST_F(ModalTest, TakesInputByItsOffset) {
  make();
  ASSERT_EQ(start("e1", {"cat"}), "0");
  EXPECT_EQ(write("e1", 0, "abc", false), "0");
  EXPECT_EQ(write("e1", 0, "abc", false), "0");  // it came before
  EXPECT_EQ(write("e1", 2, "cde", false), "0");  // some of it did
  EXPECT_EQ(write("e1", 9, "gap", false), "9");
  wire::TaskExecStdinStatusRequest request;
  request.set_task_id(made_.task_id());
  request.set_exec_id("e1");
  const auto status = router<wire::TaskExecStdinStatusResponse>("TaskExecStdinStatus", request).one();
  EXPECT_EQ(status.num_bytes_written(), 5U);
  EXPECT_FALSE(status.closed());
  EXPECT_EQ(write("e1", 0, "", true), "0");  // a lone end, at any offset
  EXPECT_EQ(write("e1", 0, "", true), "0");
  EXPECT_EQ(output("e1"), "abcde");
  EXPECT_EQ(write("e1", 5, "late", false), "9");
}

TEST_F(ModalTest, ClosesInputByTheEndOfAStreamOnly) {
  make();
  ASSERT_EQ(start("e1", {"cat"}), "0");
  const auto stream = [&](std::uint64_t offset, const std::string& data, bool end) {
    wire::TaskExecStdinWriteStreamRequest message;
    message.mutable_start()->set_task_id(made_.task_id());
    message.mutable_start()->set_exec_id("e1");
    message.mutable_start()->set_offset(offset);
    std::string body = grpc::frame(message.SerializeAsString());
    message.set_data(data);
    body += grpc::frame(message.SerializeAsString());
    message.mutable_end();
    if (end) body += grpc::frame(message.SerializeAsString());
    return send_call<wire::TaskExecStdinWriteStreamResponse>(
               std::string(kRouter) + "TaskExecStdinWriteStream", body,
               {{"authorization", "Bearer " + made_.command_router_access().jwt()}})
        .status;
  };
  EXPECT_EQ(stream(0, "one", false), "0");
  EXPECT_EQ(stream(1, "two", true), "9");
  EXPECT_EQ(stream(3, "two", true), "0");
  EXPECT_EQ(output("e1"), "onetwo");
}

TEST_F(ModalTest, LetsNobodyInWithoutTheSandboxsOwnToken) {
  make();
  const wire::SandboxCreateV2Response first = made_;
  make();
  const auto status = [&](const std::string& authorization) {
    Headers headers;
    if (!authorization.empty()) headers.emplace_back("authorization", authorization);
    return send_call<wire::TaskExecStartResponse>(std::string(kRouter) + "TaskExecStart",
                                                  grpc::frame(command("e", {"true"}).SerializeAsString()),
                                                  headers)
        .status;
  };
  EXPECT_EQ(status(""), "16");
  EXPECT_EQ(status("Bearer a.b.c"), "16");
  EXPECT_EQ(status("Bearer " + first.command_router_access().jwt()), "7");
  EXPECT_EQ(status("Bearer " + made_.command_router_access().jwt()), "0");
  set(R"({"router_token_seconds": 10})");
  wire::SandboxCreateV2Request request = wanted();
  make(request);
  const std::string brief = "Bearer " + made_.command_router_access().jwt();
  EXPECT_EQ(status(brief), "0");
  advance(10s);
  EXPECT_EQ(status(brief), "16");
}

TEST_F(ModalTest, TellsWhatTheMainProcessWroteAfterTheEnd) {
  wire::SandboxCreateV2Request request = wanted();
  for (const char* word : {"sh", "-c", "echo said; exit 3"})
    request.mutable_definition()->add_entrypoint_args(word);
  const std::string id = make(request);
  EXPECT_EQ(wait(id, 20).result().exitcode(), 3);
  wire::SandboxStdioReadV2Request read_main;
  read_main.set_task_id(made_.task_id());
  const auto said = router<wire::SandboxStdioReadV2Response>("SandboxStdioReadV2", read_main);
  EXPECT_EQ(said.one().data(), "said\n");
  EXPECT_EQ(said.status, "0");
  EXPECT_EQ(start("e1", {"true"}), "5");
}

// ---- Faults, journal

TEST_F(ModalTest, BreaksCallsAsItIsTold) {
  const std::string id = make();
  ASSERT_EQ(start("e1", {"sh", "-c", "head -c 100000 /dev/zero"}), "0");
  break_call("TaskCommandRouter/TaskExecStdioRead", R"({"kind":"cut","bytes":1000})");
  EXPECT_THROW((void)read("e1"), Error);
  EXPECT_EQ(output("e1").size(), 100000U);
  wire::SandboxTagsGetRequest request;
  request.set_sandbox_id(id);
  const auto tags = [&] { return call<wire::SandboxTagsGetResponse>("SandboxTagsGetV2", request); };
  break_call("ModalClient/SandboxTagsGetV2",
             R"({"kind":"grpc_status","grpc_status":8,"message":"slowly","retry_after_milliseconds":250})");
  const auto slowly = tags();
  EXPECT_EQ(slowly.status + " " + slowly.message, "8 slowly");
  wire::RPCStatus details;
  ASSERT_TRUE(
      details.ParseFromString(base64_decode(slowly.answer.header("grpc-status-details-bin")).value_or("")));
  EXPECT_EQ(details.details_size(), 1);
  break_call("ModalClient/SandboxTagsGetV2", R"({"kind":"status","status":503})");
  EXPECT_EQ(tags().http, 503);
  break_call("ModalClient/SandboxTagsGetV2", R"({"kind":"echo"})");
  const auto echoed = tags();
  EXPECT_EQ(echoed.status, "3");
  EXPECT_THAT(echoed.message, HasSubstr(variable("MODAL_TOKEN_SECRET")));
  set(R"({"warning": "old, soon gone"})");
  break_call("ModalClient/SandboxTagsGetV2", R"({"kind":"grpc_status","grpc_status":3})");
  EXPECT_EQ(tags().answer.header("x-modal-warning"), "old%2C soon gone");
}

TEST_F(ModalTest, WritesMessagesDownAsTextWithoutSecrets) {
  make();
  ASSERT_EQ(start("e1", {"echo", "shown"}), "0");
  const Answer journal = admin("GET", "/_emulator/journal?provider=modal");
  EXPECT_THAT(journal.body, AllOf(HasSubstr("[account valid]"), HasSubstr("[auth token of valid]"),
                                  HasSubstr("[router token of " + made_.task_id() + "]")));
  for (const std::string& secret :
       {variable("MODAL_TOKEN_SECRET"), auth_token("valid"), made_.command_router_access().jwt()}) {
    EXPECT_THAT(journal.body, Not(HasSubstr(secret)));
  }
  const json::value& last = journal.document.at("entries").as_array().back();
  EXPECT_EQ(last.at("route").as_string(), "TaskCommandRouter/TaskExecStart");
  EXPECT_EQ(last.at("grpc_status").as_string(), "0");
  EXPECT_THAT(std::string(std::string_view(last.at("body").as_string())),
              HasSubstr(R"("command_args":["echo","shown"])"));
}

TEST_F(ModalTest, ServesTunnelsByHttpsOnly) {
  wire::SandboxCreateV2Request request = wanted();
  request.mutable_definition()->mutable_open_ports()->add_ports()->set_port(8080);
  make(request);
  ASSERT_EQ(made_.tunnels_size(), 1);
  EXPECT_THAT(made_.tunnels(0).host(), ::testing::EndsWith(".modal.localhost"));
  HttpRequest plain;
  plain.url = variable("MODAL_SERVER_URL") + "/";
  plain.headers.set("Host", made_.tunnels(0).host());
  EXPECT_EQ(send(std::move(plain)).status, 421);
}

}  // namespace
}  // namespace sandkey::emulator_test
