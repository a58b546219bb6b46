// The control plane's calls for sandboxes.
#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/emulator/port_traffic.h"
#include "sandkey/providers/modal/emulator/methods.h"
#include "sandkey/providers/modal/emulator/readiness.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

constexpr Need kLooks{};
constexpr Need kChanges{.changes = true};
constexpr Need kLooksV2{.changes = false, .auth_token = true};
constexpr Need kChangesV2{.changes = true, .auth_token = true};
constexpr std::size_t kPageSize = 100;
constexpr std::size_t kMaxCreations = 10'000;  // whose keys are remembered
constexpr std::size_t kLogPiece = std::size_t{64} * 1024;
constexpr std::uint32_t kConnectPort = 8080;
constexpr std::chrono::milliseconds kThrottle{250};
constexpr std::chrono::seconds kLook{1};  // how often a waiting call looks whether its client is still there
constexpr double kLongestWait = 600;

Tags tags_of(const google::protobuf::RepeatedPtrField<modal_wire::SandboxTag>& list) {
  Tags tags;
  for (const modal_wire::SandboxTag& tag : list) tags[tag.tag_name()] = tag.tag_value();
  return tags;
}

Deadline wait_until(const Engine& engine, double seconds, Deadline latest) {
  const std::chrono::duration<double> time(std::clamp(seconds, 0.0, kLongestWait));
  return std::min(latest, engine.in(std::chrono::duration_cast<std::chrono::milliseconds>(time)));
}

modal_wire::SandboxHandleMetadata metadata_of(const Sandbox& sandbox) {
  modal_wire::SandboxHandleMetadata metadata;
  metadata.set_app_id(sandbox.app_id);
  if (sandbox.result) *metadata.mutable_result() = *sandbox.result;
  return metadata;
}

// "12-0": up to the twelfth byte.
std::uint64_t offset_of(std::string_view entry_id) {
  return emu::parse_number(entry_id.substr(0, entry_id.find('-'))).value_or(0);
}

}  // namespace

void ControlPlane::add_sandbox_methods() {
  add("SandboxCreate", kChanges, &ControlPlane::create_v1);
  add("SandboxCreateV2", kChangesV2, &ControlPlane::create_v2);
  add_twins("SandboxGetTaskId", false, &ControlPlane::task_id);
  add_twins("SandboxWait", false, &ControlPlane::wait);
  add_twins("SandboxTerminate", true, &ControlPlane::terminate);
  add_twins("SandboxList", false, &ControlPlane::list);
  add_twins("SandboxGetFromName", false, &ControlPlane::from_name);
  add_twins("SandboxTagsSet", true, &ControlPlane::set_tags);
  add_twins("SandboxTagsGet", false, &ControlPlane::tags);
  add_twins("SandboxGetTunnels", false, &ControlPlane::tunnels);
  add_twins("SandboxCreateConnectToken", true, &ControlPlane::connect_token);
  add("SandboxSetName", kChangesV2, &ControlPlane::set_name);
  add_stream("SandboxGetLogs", kLooks, &ControlPlane::logs);
  add("SandboxStdinWrite", kChanges, &ControlPlane::write_stdin);
  add("TaskGetCommandRouterAccess", kLooks, &ControlPlane::router_access_v1);
  add("SandboxGetCommandRouterAccess", kLooksV2, &ControlPlane::router_access_v2);
  add("SandboxWaitUntilReady", kLooks, &ControlPlane::wait_until_ready);
}

// A sandbox of v1 is not there for the calls of v2, and the other way round.
SandboxPtr ControlPlane::find(const Caller& caller, Backend backend, const std::string& id) const {
  SandboxPtr sandbox = parts_.fleet.get(*caller.account, id);
  if (sandbox->backend != backend)
    throw grpc::CallError(grpc::Code::not_found, "Sandbox with ID " + id + " not found");
  return sandbox;
}

// ---- Beginning and end

// Attempts of one call make one sandbox.
asio::awaitable<SandboxPtr> ControlPlane::create(Caller caller, CreateRequest request) {
  if (caller.account->name == kRateLimited && caller.throttled == 0) {
    throw come_back(grpc::Code::resource_exhausted, "Sandbox creation rate limit (5/s) exceeded", kThrottle);
  }
  const std::string key = caller.account->name + "\n" + caller.idempotency_key;
  const bool keyed = !caller.idempotency_key.empty();
  while (keyed && creations_[key].runs) (void)co_await created_.wait();
  if (keyed && !creations_[key].sandbox.empty()) {
    const SandboxPtr known = parts_.fleet.find(creations_[key].sandbox);
    if (known) co_return known;
  }
  (void)parts_.apps.find(*caller.account, request.app_id);
  if (creations_.size() > kMaxCreations)
    std::erase_if(creations_, [](const auto& each) { return !each.second.runs; });
  if (keyed) creations_[key].runs = true;
  std::exception_ptr failure;
  SandboxPtr made;
  try {
    made = co_await parts_.fleet.create(*caller.account, std::move(request));
  } catch (...) {
    failure = std::current_exception();
  }
  if (keyed && made) creations_[key] = {.sandbox = made->id, .runs = false};
  if (keyed && !made) creations_.erase(key);
  created_.notify_all();
  if (failure) std::rethrow_exception(failure);
  co_return made;
}

asio::awaitable<modal_wire::SandboxCreateResponse> ControlPlane::create_v1(
    Caller caller, modal_wire::SandboxCreateRequest request) {
  CreateRequest wanted;
  wanted.backend = Backend::v1;
  wanted.app_id = request.app_id();
  wanted.tags = tags_of(request.tags());
  parts_.secrets.add_to(wanted.variables, *caller.account, request.definition().secret_ids());
  wanted.definition = std::move(*request.mutable_definition());
  const SandboxPtr made = co_await create(caller, std::move(wanted));
  modal_wire::SandboxCreateResponse response;
  response.set_sandbox_id(made->id);
  *response.mutable_metadata() = metadata_of(*made);
  co_return response;
}

asio::awaitable<modal_wire::SandboxCreateV2Response> ControlPlane::create_v2(
    Caller caller, modal_wire::SandboxCreateV2Request request) {
  CreateRequest wanted;
  wanted.backend = Backend::v2;
  wanted.app_id = request.app_id();
  wanted.tags = tags_of(request.tags());
  parts_.secrets.add_to(wanted.variables, *caller.account, request.definition().secret_ids());
  for (const auto& [key, value] : request.ephemeral_secrets().contents()) wanted.variables[key] = value;
  parts_.secrets.add_to(wanted.variables, *caller.account, request.secret_sources());
  wanted.definition = std::move(*request.mutable_definition());
  const SandboxPtr made = co_await create(caller, std::move(wanted));
  modal_wire::SandboxCreateV2Response response;
  response.set_sandbox_id(made->id);
  response.set_task_id(made->task_id);
  *response.mutable_metadata() = metadata_of(*made);
  for (const modal_wire::TunnelData& tunnel : made->tunnels) {
    if (!tunnel.has_unencrypted_host()) *response.add_tunnels() = tunnel;
  }
  if (parts_.settings.create_tells_router)
    *response.mutable_command_router_access() = access_to(caller, *made);
  co_return response;
}

asio::awaitable<modal_wire::SandboxGetTaskIdResponse> ControlPlane::task_id(
    Caller caller, Backend backend, modal_wire::SandboxGetTaskIdRequest request) {
  const SandboxPtr sandbox = find(caller, backend, request.sandbox_id());
  modal_wire::SandboxGetTaskIdResponse response;
  response.set_task_id(sandbox->task_id);
  if (sandbox->result) *response.mutable_task_result() = *sandbox->result;
  co_return response;
}

asio::awaitable<modal_wire::SandboxWaitResponse> ControlPlane::wait(Caller caller, Backend backend,
                                                                    modal_wire::SandboxWaitRequest request) {
  const SandboxPtr sandbox = find(caller, backend, request.sandbox_id());
  const Deadline deadline = wait_until(parts_.world.engine, request.timeout(), caller.deadline);
  bool in_time = true;
  while (in_time && running(*sandbox)) in_time = co_await sandbox->changed.wait_until(deadline);
  modal_wire::SandboxWaitResponse response;
  if (sandbox->result) *response.mutable_result() = *sandbox->result;
  *response.mutable_metadata() = metadata_of(*sandbox);
  co_return response;
}

asio::awaitable<modal_wire::SandboxTerminateResponse> ControlPlane::terminate(
    Caller caller, Backend backend, modal_wire::SandboxTerminateRequest request) {
  const SandboxPtr sandbox = find(caller, backend, request.sandbox_id());
  modal_wire::SandboxTerminateResponse response;
  if (sandbox->result) *response.mutable_existing_result() = *sandbox->result;
  modal_wire::GenericResult result = terminated();
  co_await parts_.fleet.end(sandbox, std::move(result));
  co_return response;
}

// ---- Looking

asio::awaitable<modal_wire::SandboxListResponse> ControlPlane::list(Caller caller, Backend backend,
                                                                    modal_wire::SandboxListRequest request) {
  std::string environment;
  if (!request.app_id().empty()) {
    (void)parts_.apps.find(*caller.account, request.app_id());
  } else {
    environment = environment_name(request.environment_name());
  }
  const Tags wanted = tags_of(request.tags());
  modal_wire::SandboxListResponse response;
  for (const SandboxPtr& each : parts_.fleet.of(*caller.account)) {
    const bool in_app = environment.empty()
                            ? each->app_id == request.app_id()
                            : parts_.apps.find(*caller.account, each->app_id).environment == environment;
    const bool in_time =
        request.before_timestamp() <= 0 || unix_time(each->created) < request.before_timestamp();
    // Those of v2 are told to its calls only, and those of v1 to both.
    const bool known = backend == Backend::v2 || each->backend == Backend::v1;
    const bool alive = running(*each) || request.include_finished();
    if (!in_app || !in_time || !known || !alive || !has_tags(*each, wanted)) continue;
    *response.add_sandboxes() = to_info(*each);
    if (static_cast<std::size_t>(response.sandboxes_size()) == kPageSize) break;
  }
  co_return response;
}

asio::awaitable<modal_wire::SandboxGetFromNameResponse> ControlPlane::from_name(
    Caller caller, Backend backend, modal_wire::SandboxGetFromNameRequest request) {
  const std::string environment = environment_name(request.environment_name());
  const App& app = parts_.apps.find_name(*caller.account, environment, request.app_name());
  const SandboxPtr found =
      parts_.fleet.find_name(app.id, request.sandbox_name(), request.include_terminated());
  if (!found || (backend == Backend::v1 && found->backend == Backend::v2)) {
    throw grpc::CallError(grpc::Code::not_found, "Sandbox with name '" + request.sandbox_name() +
                                                     "' not found in App '" + request.app_name() + "'");
  }
  modal_wire::SandboxGetFromNameResponse response;
  response.set_sandbox_id(found->id);
  *response.mutable_metadata() = metadata_of(*found);
  co_return response;
}

asio::awaitable<google::protobuf::Empty> ControlPlane::set_tags(Caller caller, Backend backend,
                                                                modal_wire::SandboxTagsSetRequest request) {
  const SandboxPtr sandbox = find(caller, backend, request.sandbox_id());
  Tags tags = tags_of(request.tags());
  for (const auto& [name, value] : tags) {
    if (!is_tag_name(name) || !is_tag_value(value))
      throw grpc::CallError(grpc::Code::invalid_argument, "Invalid tag: " + name + "=" + value);
  }
  sandbox->tags = std::move(tags);
  co_return Empty();
}

asio::awaitable<modal_wire::SandboxTagsGetResponse> ControlPlane::tags(
    Caller caller, Backend backend, modal_wire::SandboxTagsGetRequest request) {
  const SandboxPtr sandbox = find(caller, backend, request.sandbox_id());
  modal_wire::SandboxTagsGetResponse response;
  add_tags(sandbox->tags, *response.mutable_tags());
  co_return response;
}

asio::awaitable<modal_wire::SandboxSetNameResponse> ControlPlane::set_name(
    Caller caller, modal_wire::SandboxSetNameRequest request) {
  const SandboxPtr sandbox = find(caller, Backend::v2, request.sandbox_id());
  parts_.fleet.set_name(sandbox, request.name());
  co_return modal_wire::SandboxSetNameResponse();
}

// ---- Ways in

asio::awaitable<modal_wire::SandboxGetTunnelsResponse> ControlPlane::tunnels(
    Caller caller, Backend backend, modal_wire::SandboxGetTunnelsRequest request) {
  const SandboxPtr sandbox = find(caller, backend, request.sandbox_id());
  modal_wire::SandboxGetTunnelsResponse response;
  if (sandbox->result) {
    *response.mutable_result() = *sandbox->result;
  } else {
    for (const modal_wire::TunnelData& tunnel : sandbox->tunnels) *response.add_tunnels() = tunnel;
  }
  co_return response;
}

asio::awaitable<modal_wire::SandboxCreateConnectTokenResponse> ControlPlane::connect_token(
    Caller caller, Backend backend, modal_wire::SandboxCreateConnectTokenRequest request) {
  const SandboxPtr sandbox = find(caller, backend, request.sandbox_id());
  if (!running(*sandbox)) throw grpc::CallError(grpc::Code::failed_precondition, "The Sandbox has finished");
  const std::uint32_t port = request.has_port() ? request.port() : kConnectPort;
  if (port == 0 || port > 65535)
    throw grpc::CallError(grpc::Code::invalid_argument, "port must be between 1 and 65535");
  Tunnels::Connection made =
      parts_.tunnels.connect(sandbox, static_cast<std::uint16_t>(port), request.user_metadata());
  modal_wire::SandboxCreateConnectTokenResponse response;
  response.set_url(std::move(made.url));
  response.set_token(std::move(made.token));
  co_return response;
}

// JavaScript and Go take nothing but https, and then speak plainly to this machine; Python does as the scheme
// says.
modal_wire::CommandRouterAccess ControlPlane::access_to(const Caller& caller, const Sandbox& sandbox) const {
  if (!running(sandbox))
    throw grpc::CallError(grpc::Code::failed_precondition,
                          "The Sandbox has no command router: it has finished");
  const bool wants_https = caller.client_type == kJavaScriptClient || caller.client_type == kGoClient;
  const std::string address = router_.substr(router_.find("://"));
  modal_wire::CommandRouterAccess access;
  access.set_jwt(parts_.router_tokens.issue(sandbox.task_id, parts_.settings.router_token));
  access.set_url((wants_https ? "https" : "http") + address);
  return access;
}

asio::awaitable<modal_wire::TaskGetCommandRouterAccessResponse> ControlPlane::router_access_v1(
    Caller caller, modal_wire::TaskGetCommandRouterAccessRequest request) {
  const SandboxPtr sandbox = parts_.fleet.find_task(request.task_id());
  if (!sandbox || sandbox->account != caller.account->name || sandbox->backend != Backend::v1)
    throw grpc::CallError(grpc::Code::not_found, "Task with ID " + request.task_id() + " not found");
  const modal_wire::CommandRouterAccess access = access_to(caller, *sandbox);
  modal_wire::TaskGetCommandRouterAccessResponse response;
  response.set_jwt(access.jwt());
  response.set_url(access.url());
  co_return response;
}

asio::awaitable<modal_wire::SandboxGetCommandRouterAccessResponse> ControlPlane::router_access_v2(
    Caller caller, modal_wire::SandboxGetCommandRouterAccessRequest request) {
  const bool by_task = request.has_task_id();
  const SandboxPtr sandbox =
      by_task ? parts_.fleet.find_task(request.task_id()) : parts_.fleet.find(request.sandbox_id());
  if (!sandbox || sandbox->account != caller.account->name || sandbox->backend != Backend::v2)
    throw grpc::CallError(grpc::Code::not_found, "Sandbox not found");
  const modal_wire::CommandRouterAccess access = access_to(caller, *sandbox);
  modal_wire::SandboxGetCommandRouterAccessResponse response;
  response.set_jwt(access.jwt());
  response.set_url(access.url());
  co_return response;
}

asio::awaitable<modal_wire::SandboxWaitUntilReadyResponse> ControlPlane::wait_until_ready(
    Caller caller, modal_wire::SandboxWaitUntilReadyRequest request) {
  const SandboxPtr sandbox = find(caller, Backend::v1, request.sandbox_id());
  const Deadline deadline = wait_until(parts_.world.engine, request.timeout(), caller.deadline);
  modal_wire::SandboxWaitUntilReadyResponse response;
  response.set_ready_at(co_await become_ready(parts_.world, sandbox, deadline));
  co_return response;
}

// ---- The main process of sandboxes of v1

// Its output is text; what is no UTF-8 is replaced.
asio::awaitable<void> ControlPlane::logs(Call& call, Caller caller,
                                         modal_wire::SandboxGetLogsRequest request) {
  const SandboxPtr sandbox = find(caller, Backend::v1, request.sandbox_id());
  const Deadline deadline = wait_until(parts_.world.engine, request.timeout(), caller.deadline);
  const bool is_error = request.file_descriptor() == modal_wire::FILE_DESCRIPTOR_STDERR;
  const bool told = is_error || request.file_descriptor() == modal_wire::FILE_DESCRIPTOR_STDOUT;
  const std::shared_ptr<Exec> main = told ? sandbox->main : nullptr;
  std::uint64_t offset = offset_of(request.last_entry_id());
  bool alive = co_await call.start();
  while (alive && parts_.world.engine.steady_now() < deadline && !call.gone()) {
    std::string text;
    bool over = !running(*sandbox);
    if (main) {
      const OutputLog& log = is_error ? main->error() : main->out();
      offset = std::max(offset, log.begin());
      text = log.read(offset, kLogPiece);
      if (!log.ended()) text.resize(text.size() - utf8::incomplete_tail(text));
      over = over && log.ended();
    }
    if (text.empty() && !over) {
      AsyncEvent& changed = main && running(*sandbox) ? main->changed() : sandbox->changed;
      (void)co_await changed.wait_until(std::min(deadline, parts_.world.engine.in(kLook)));
      continue;
    }
    modal_wire::TaskLogsBatch batch;
    batch.set_task_id(sandbox->task_id);
    batch.set_sandbox_id(sandbox->id);
    offset += text.size();
    batch.set_entry_id(std::to_string(offset) + "-0");
    if (text.empty()) {
      batch.set_eof(true);
      alive = false;
      (void)co_await call.send(batch);
    } else {
      modal_wire::TaskLogs& item = *batch.add_items();
      item.set_data(utf8::sanitize(text));
      item.set_file_descriptor(request.file_descriptor());
      item.set_timestamp(unix_time(parts_.world.clock.now()));
      alive = co_await call.send(batch);
    }
  }
  co_await call.finish();
}

// Pieces are numbered from 1; one that came before comes to nothing.
asio::awaitable<modal_wire::SandboxStdinWriteResponse> ControlPlane::write_stdin(
    Caller caller, modal_wire::SandboxStdinWriteRequest request) {
  const SandboxPtr sandbox = find(caller, Backend::v1, request.sandbox_id());
  const std::shared_ptr<Exec> main = sandbox->main;
  if (!running(*sandbox)) throw grpc::CallError(grpc::Code::failed_precondition, "The Sandbox has finished");
  modal_wire::SandboxStdinWriteResponse response;
  if (!main || request.index() <= sandbox->main_input) co_return response;
  sandbox->main_input = request.index();
  co_await main->write(main->written(), std::move(*request.mutable_input()), request.eof());
  co_return response;
}

}  // namespace sandkey::modal::emulator
