// For tests: Modal's control plane and a worker's router, which answer as a test says.
#pragma once

#include "api.grpc.pb.h"
#include "router.grpc.pb.h"
#include "sandkey/accounts/accounts.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/config/temp_folder.h"
#include "sandkey/providers/modal/account.h"
#include "sandkey/providers/modal/credential_spec.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <grpcpp/grpcpp.h>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::modal {

namespace api = ::modal::client;
namespace router = ::modal::task_command_router;

// One process: what it writes, and what it was told.
struct ScriptedProcess {
  std::string output = {};
  std::string error_output = {};
  int exit_code = 0;
  std::vector<std::string> argv = {};
  std::map<std::string, std::string> environment = {};
  std::string input = {};
  bool input_ended = false;
  std::uint32_t timeout = 0;  // seconds; 0: none
};

class TestRouter final : public router::TaskCommandRouter::Service {
 public:
  grpc::Status TaskExecStart(grpc::ServerContext* context, const router::TaskExecStartRequest* request,
                             router::TaskExecStartResponse*) override {
    if (grpc::Status refused = judge(*context); !refused.ok()) return refused;
    const std::lock_guard lock(mutex);
    ++starts;
    last = request->exec_id();
    if (!processes.contains(last)) {
      ScriptedProcess process = next;
      process.argv.assign(request->command_args().begin(), request->command_args().end());
      for (const auto& [name, value] : request->env()) process.environment[name] = value;
      process.timeout = request->timeout_secs();
      processes[last] = std::move(process);
    }
    if (lose_start-- > 0) return {grpc::StatusCode::UNAVAILABLE, "lost"};
    return {};
  }

  grpc::Status TaskExecStdioRead(grpc::ServerContext* context,
                                 const router::TaskExecStdioReadRequest* request,
                                 grpc::ServerWriter<router::TaskExecStdioReadResponse>* writer) override {
    if (grpc::Status refused = judge(*context); !refused.ok()) return refused;
    std::string rest;
    {
      const std::lock_guard lock(mutex);
      const ScriptedProcess& process = processes.at(request->exec_id());
      const std::string& all = request->file_descriptor() == 0 ? process.output : process.error_output;
      offsets.push_back(request->offset());
      if (request->offset() > all.size()) return {grpc::StatusCode::OUT_OF_RANGE, "beyond its end"};
      rest = all.substr(request->offset());
    }
    const std::size_t cut = cut_after.load();
    const bool whole = cut == 0 || rest.size() <= cut;
    const std::string now = whole ? rest : rest.substr(0, cut);
    for (std::size_t at = 0; at < now.size(); at += kChunk) {
      router::TaskExecStdioReadResponse chunk;
      chunk.set_data(now.substr(at, kChunk));
      if (!writer->Write(chunk)) return {grpc::StatusCode::CANCELLED, "gone"};
    }
    if (!whole) return {grpc::StatusCode::UNAVAILABLE, "cut"};
    return {};
  }

  grpc::Status TaskExecStdinWrite(grpc::ServerContext* context,
                                  const router::TaskExecStdinWriteRequest* request,
                                  router::TaskExecStdinWriteResponse*) override {
    if (grpc::Status refused = judge(*context); !refused.ok()) return refused;
    const std::lock_guard lock(mutex);
    if (!write_answer.ok()) return write_answer;
    ScriptedProcess& process = processes.at(request->exec_id());
    // One that is lost on its way back comes again.
    if (request->offset() > process.input.size()) return {grpc::StatusCode::FAILED_PRECONDITION, "a gap"};
    const std::size_t known = process.input.size() - request->offset();
    if (known < request->data().size()) process.input += request->data().substr(known);
    process.input_ended = process.input_ended || request->eof();
    if (lose_writes-- > 0) return {grpc::StatusCode::UNAVAILABLE, "lost"};
    return {};
  }

  grpc::Status TaskExecWait(grpc::ServerContext* context, const router::TaskExecWaitRequest* request,
                            router::TaskExecWaitResponse* reply) override {
    if (grpc::Status refused = judge(*context); !refused.ok()) return refused;
    const std::lock_guard lock(mutex);
    if (lose_waits-- > 0) return {grpc::StatusCode::DEADLINE_EXCEEDED, "not yet"};
    const ScriptedProcess& process = processes.at(request->exec_id());
    if (process.exit_code < 0)
      reply->set_signal(-process.exit_code);
    else
      reply->set_code(process.exit_code);
    return {};
  }

  static constexpr std::size_t kChunk = 1000;

  std::mutex mutex;
  ScriptedProcess next;  // what is started from now on
  std::map<std::string, ScriptedProcess> processes;
  std::string last;                    // the id
  std::vector<std::uint64_t> offsets;  // that were asked for
  int starts = 0;
  int lose_start = 0;
  int lose_writes = 0;
  int lose_waits = 0;
  grpc::Status write_answer;
  std::string token = "router-token";  // what is taken
  int refusals = 0;
  std::atomic<std::size_t> cut_after = 0;  // bytes of each answer; 0: never

 private:
  grpc::Status judge(const grpc::ServerContext& context) {
    const std::lock_guard lock(mutex);
    const auto found = context.client_metadata().find("authorization");
    if (found != context.client_metadata().end() && found->second == "Bearer " + token) return {};
    ++refusals;
    return {grpc::StatusCode::UNAUTHENTICATED, "router: who are you"};
  }
};

class TestControl : public api::ModalClient::Service {
 public:
  using Headers = std::map<std::string, std::string>;

  grpc::Status TokenInfoGet(grpc::ServerContext* context, const api::TokenInfoGetRequest*,
                            api::TokenInfoGetResponse* reply) override {
    note("TokenInfoGet", *context);
    const std::lock_guard lock(mutex);
    for (const auto& [name, value] : trailers) context->AddTrailingMetadata(name, value);
    if (!token_answers.empty()) {
      const grpc::Status now = token_answers.front();
      token_answers.erase(token_answers.begin());
      if (!now.ok()) return now;
    }
    *reply = token_info;
    return {};
  }

  grpc::Status AuthTokenGet(grpc::ServerContext* context, const api::AuthTokenGetRequest*,
                            api::AuthTokenGetResponse* reply) override {
    note("AuthTokenGet", *context);
    const std::lock_guard lock(mutex);
    if (!auth_answer.ok()) return auth_answer;
    if (calls.back().second.at("x-modal-token-secret") == revoked_secret) {
      return {grpc::StatusCode::UNAUTHENTICATED, "revoked"};
    }
    reply->set_token(auth_token);
    return {};
  }

  grpc::Status SandboxGetCommandRouterAccess(grpc::ServerContext* context,
                                             const api::SandboxGetCommandRouterAccessRequest*,
                                             api::SandboxGetCommandRouterAccessResponse* reply) override {
    note("SandboxGetCommandRouterAccess", *context);
    const std::lock_guard lock(mutex);
    reply->set_jwt(router_token);
    reply->set_url(router_url);
    return {};
  }

  grpc::Status SandboxGetTaskIdV2(grpc::ServerContext* context, const api::SandboxGetTaskIdRequest*,
                                  api::SandboxGetTaskIdResponse* reply) override {
    note("SandboxGetTaskIdV2", *context);
    const std::lock_guard lock(mutex);
    if (calls.back().second.at("x-modal-auth-token") == revoked_auth_token) {
      return {grpc::StatusCode::UNAUTHENTICATED, "old"};
    }
    reply->set_task_id("ta-1V");
    return {};
  }

  [[nodiscard]] std::vector<std::string> methods() {
    const std::lock_guard lock(mutex);
    std::vector<std::string> names;
    for (const auto& [name, headers] : calls) names.push_back(name);
    return names;
  }
  [[nodiscard]] Headers headers_of_last() {
    const std::lock_guard lock(mutex);
    return calls.empty() ? Headers() : calls.back().second;
  }

  std::mutex mutex;
  api::TokenInfoGetResponse token_info;
  std::vector<grpc::Status> token_answers;  // one after the other; then success
  std::vector<std::pair<std::string, std::string>> trailers;
  grpc::Status auth_answer;
  std::string revoked_secret = "none";
  std::string auth_token = "auth-token";
  std::string revoked_auth_token = "none";
  std::string router_token = "router-token";
  std::string router_url;
  std::vector<std::pair<std::string, Headers>> calls;

 private:
  void note(const char* method, const grpc::ServerContext& context) {
    Headers headers;
    for (const auto& [name, value] : context.client_metadata()) {
      headers[{name.data(), name.size()}] = std::string(value.data(), value.size());
    }
    const std::lock_guard lock(mutex);
    calls.emplace_back(method, std::move(headers));
  }
};

// Both on one port, and an engine in a world of its own to sign in from.
template <typename Control>
class TestModalOf {
 public:
  TestModalOf()
      : engine_(
            {.steady_now = [this] { return std::chrono::steady_clock::now() + skew.load(); },
             .system_now =
                 [this] {
                   return std::chrono::system_clock::now() +
                          std::chrono::duration_cast<std::chrono::system_clock::duration>(skew.load());
                 },
             .random =
                 [this] { return ++drawn; },  // no two the same, and nobody waits long before trying again
             .environment = [this](const std::string& name) { return variable(name); }}) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&control);
    builder.RegisterService(&router);
    server_ = builder.BuildAndStart();
    url = fmt::format("http://127.0.0.1:{}", port_);
    control.router_url = fmt::format("https://127.0.0.1:{}", port_);  // in the clear all the same
    control.token_info.set_workspace_name("acme");
    control.token_info.set_workspace_id("ac-1");
    control.token_info.mutable_user_identity()->set_username("ann");
    variables = {{"HOME", home.path().string()},
                 {"SANDKEY_CONFIG_DIR", (home.path() / "config").string()},
                 {"MODAL_SERVER_URL", url},
                 {"MODAL_TOKEN_ID", "ak-identity"},
                 {"MODAL_TOKEN_SECRET", "as-canary-secret"}};
  }
  ~TestModalOf() { stop(); }
  TestModalOf(const TestModalOf&) = delete;
  TestModalOf& operator=(const TestModalOf&) = delete;

  void stop() { server_->Shutdown(std::chrono::system_clock::now()); }

  [[nodiscard]] Engine& engine() { return engine_; }

  std::shared_ptr<ModalAccount> sign_in(Accounts* accounts = nullptr) {
    Accounts own(engine_);
    const Cloud cloud{.credential_spec = &credential_spec, .authenticate = &authenticate};
    auto account = engine_.wait((accounts != nullptr ? *accounts : own).sign_in(cloud, OpenHandsConfig()));
    return std::dynamic_pointer_cast<ModalAccount>(account);
  }

  // "code: message" of what fails, with the server's address as "API"; "" if nothing does.
  template <typename Call>
  std::string failure(Call call) {
    try {
      call();
      return "";
    } catch (const Error& error) {
      std::string text = fmt::format("{}: {}", to_string(error.code()), error.what());
      const std::size_t at = text.find(url);
      if (at != std::string::npos) text.replace(at, url.size(), "API");
      return text;
    }
  }

  Control control;
  TestRouter router;
  std::map<std::string, std::string> variables;  // not while something runs
  TempFolder home;
  std::string url;
  std::atomic<std::chrono::nanoseconds> skew{};  // how far the clock was moved forward
  std::atomic<std::uint64_t> drawn = 0;

 private:
  std::optional<std::string> variable(const std::string& name) const {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  Engine engine_;
};

using TestModal = TestModalOf<TestControl>;

}  // namespace sandkey::modal
