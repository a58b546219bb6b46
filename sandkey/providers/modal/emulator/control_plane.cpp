#include "sandkey/providers/modal/emulator/control_plane.h"

#include "sandkey/providers/modal/emulator/methods.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

constexpr std::string_view kBuilderVersion = "2025.06";
constexpr Need kLooks{};
constexpr Need kChanges{.changes = true};

std::string workspace_of(const Caller& caller) {
  return "emulated-" + caller.account->name;
}

std::string token_id_of(const Caller& caller) {
  return caller.account->key.substr(0, caller.account->key.find(':'));
}

// The same for the same account at every call, and unlike a random one easy to tell apart.
std::string identity_of(const Caller& caller, std::string_view prefix) {
  return std::string(prefix) + "-" + caller.account->name;
}

std::string environment_id(const std::string& name) {
  std::string id = "en-" + name;
  id.resize(25, '0');
  return id;
}

}  // namespace

ControlPlane::ControlPlane(Parts parts, grpc::Methods& methods)
    : parts_(parts), methods_(methods), created_(parts.world.engine.executor()) {
  add("ClientHello", kLooks, &ControlPlane::hello);
  add("TokenInfoGet", kLooks, &ControlPlane::token_info);
  add("WorkspaceNameLookup", kLooks, &ControlPlane::workspace_name);
  add("AuthTokenGet", kLooks, &ControlPlane::auth_token);
  add("EnvironmentGetOrCreate", kLooks, &ControlPlane::environment);
  add("EnvironmentList", kLooks, &ControlPlane::list_environments);
  add("AppGetOrCreate", kLooks, &ControlPlane::app);
  add("AppCreate", kChanges, &ControlPlane::create_app);
  add("AppList", kLooks, &ControlPlane::list_apps);
  add("AppStop", kChanges, &ControlPlane::stop_app);
  add("AppClientDisconnect", kChanges, &ControlPlane::disconnect_app);
  add("AppPublish", kChanges, &ControlPlane::publish_app);
  add("AppHeartbeat", kLooks, &ControlPlane::heartbeat);
  add("SecretGetOrCreate", kLooks, &ControlPlane::secret);
  add("SecretList", kLooks, &ControlPlane::list_secrets);
  add("SecretDelete", kChanges, &ControlPlane::delete_secret);
  add("ImageGetOrCreate", kChanges, &ControlPlane::image);
  add_stream("ImageJoinStreaming", kLooks, &ControlPlane::join_build);
  add("ImageFromId", kLooks, &ControlPlane::image_from_id);
  add("ImageDelete", kChanges, &ControlPlane::delete_image);
  add_sandbox_methods();
}

// ---- Who somebody is

asio::awaitable<modal_wire::ClientHelloResponse> ControlPlane::hello(Caller, Empty) {
  modal_wire::ClientHelloResponse response;
  response.set_image_builder_version(std::string(kBuilderVersion));
  co_return response;
}

asio::awaitable<modal_wire::TokenInfoGetResponse> ControlPlane::token_info(Caller caller,
                                                                           modal_wire::TokenInfoGetRequest) {
  modal_wire::TokenInfoGetResponse response;
  response.set_token_id(token_id_of(caller));
  response.set_workspace_id(identity_of(caller, "ac"));
  response.set_workspace_name(workspace_of(caller));
  response.mutable_user_identity()->set_user_id(identity_of(caller, "us"));
  response.mutable_user_identity()->set_username(caller.account->name);
  response.set_token_name(caller.account->name);
  co_return response;
}

// Its field `username` holds the name of the workspace.
asio::awaitable<modal_wire::WorkspaceNameLookupResponse> ControlPlane::workspace_name(Caller caller, Empty) {
  modal_wire::WorkspaceNameLookupResponse response;
  response.set_workspace_name(workspace_of(caller));
  response.set_username(workspace_of(caller));
  co_return response;
}

asio::awaitable<modal_wire::AuthTokenGetResponse> ControlPlane::auth_token(Caller caller,
                                                                           modal_wire::AuthTokenGetRequest) {
  modal_wire::AuthTokenGetResponse response;
  response.set_token(parts_.auth_tokens.issue(caller.account->name, parts_.settings.auth_token));
  co_return response;
}

// ---- Environments, apps, secrets

asio::awaitable<modal_wire::EnvironmentGetOrCreateResponse> ControlPlane::environment(
    Caller, modal_wire::EnvironmentGetOrCreateRequest request) {
  const std::string name = environment_name(request.deployment_name());
  modal_wire::EnvironmentGetOrCreateResponse response;
  response.set_environment_id(environment_id(name));
  response.mutable_metadata()->set_name(name);
  response.mutable_metadata()->mutable_settings()->set_image_builder_version(std::string(kBuilderVersion));
  co_return response;
}

asio::awaitable<modal_wire::EnvironmentListResponse> ControlPlane::list_environments(Caller, Empty) {
  modal_wire::EnvironmentListResponse response;
  for (const std::string& name : environment_names()) {
    modal_wire::EnvironmentListItem& item = *response.add_items();
    item.set_name(name);
    item.set_environment_id(environment_id(name));
    item.set_default_(name == environment_names().front());
  }
  co_return response;
}

asio::awaitable<modal_wire::AppGetOrCreateResponse> ControlPlane::app(
    Caller caller, modal_wire::AppGetOrCreateRequest request) {
  if (request.object_creation_type() != modal_wire::OBJECT_CREATION_TYPE_UNSPECIFIED) require_writer(caller);
  const App& found = parts_.apps.get_or_create(*caller.account, request);
  modal_wire::AppGetOrCreateResponse response;
  response.set_app_id(found.id);
  response.mutable_handle_metadata()->set_app_id(found.id);
  response.mutable_handle_metadata()->set_environment_name(found.environment);
  co_return response;
}

asio::awaitable<modal_wire::AppCreateResponse> ControlPlane::create_app(
    Caller caller, modal_wire::AppCreateRequest request) {
  const App& made = parts_.apps.add(*caller.account, request.environment_name(), {}, request.description());
  modal_wire::AppCreateResponse response;
  response.set_app_id(made.id);
  co_return response;
}

asio::awaitable<modal_wire::AppListResponse> ControlPlane::list_apps(Caller caller,
                                                                     modal_wire::AppListRequest request) {
  const std::string environment = environment_name(request.environment_name());
  modal_wire::AppListResponse response;
  for (const App* each : parts_.apps.of(*caller.account, environment)) {
    modal_wire::AppListResponse::AppListItem& item = *response.add_apps();
    item.set_app_id(each->id);
    item.set_name(each->name);
    item.set_description(each->description);
    item.set_created_at(unix_time(each->created));
    item.set_state(each->stopped        ? modal_wire::APP_STATE_STOPPED
                   : each->name.empty() ? modal_wire::APP_STATE_EPHEMERAL
                                        : modal_wire::APP_STATE_DEPLOYED);
  }
  co_return response;
}

asio::awaitable<void> ControlPlane::end_app(std::string id) {
  for (const SandboxPtr& each : parts_.fleet.all()) {
    if (each->app_id != id) continue;
    modal_wire::GenericResult result = terminated();
    co_await parts_.fleet.end(each, std::move(result));
  }
}

asio::awaitable<google::protobuf::Empty> ControlPlane::stop_app(Caller caller,
                                                                modal_wire::AppStopRequest request) {
  parts_.apps.find(*caller.account, request.app_id()).stopped = true;
  co_await end_app(request.app_id());
  co_return Empty();
}

// Of an app that lives as long as its program does.
asio::awaitable<google::protobuf::Empty> ControlPlane::disconnect_app(
    Caller caller, modal_wire::AppClientDisconnectRequest request) {
  App& app = parts_.apps.find(*caller.account, request.app_id());
  if (app.name.empty()) {
    app.stopped = true;
    co_await end_app(request.app_id());
  }
  co_return Empty();
}

// An app that only sandboxes are made for has nothing to publish.
asio::awaitable<modal_wire::AppPublishResponse> ControlPlane::publish_app(
    Caller caller, modal_wire::AppPublishRequest request) {
  (void)parts_.apps.find(*caller.account, request.app_id());
  co_return modal_wire::AppPublishResponse();
}

asio::awaitable<google::protobuf::Empty> ControlPlane::heartbeat(Caller caller,
                                                                 modal_wire::AppHeartbeatRequest request) {
  (void)parts_.apps.find(*caller.account, request.app_id());
  co_return Empty();
}

asio::awaitable<modal_wire::SecretGetOrCreateResponse> ControlPlane::secret(
    Caller caller, modal_wire::SecretGetOrCreateRequest request) {
  if (request.object_creation_type() != modal_wire::OBJECT_CREATION_TYPE_UNSPECIFIED) require_writer(caller);
  const Secret& found = parts_.secrets.get_or_create(*caller.account, request);
  modal_wire::SecretGetOrCreateResponse response;
  response.set_secret_id(found.id);
  *response.mutable_metadata() = metadata_of(found);
  co_return response;
}

asio::awaitable<modal_wire::SecretListResponse> ControlPlane::list_secrets(
    Caller caller, modal_wire::SecretListRequest request) {
  const std::string environment = environment_name(request.environment_name());
  modal_wire::SecretListResponse response;
  response.set_environment_name(environment);
  for (const Secret* each : parts_.secrets.of(*caller.account, environment)) {
    const double created = unix_time(each->created);
    const double before = request.pagination().created_before();
    if (before > 0 && created >= before) continue;
    modal_wire::SecretListItem& item = *response.add_items();
    item.set_label(each->name);
    item.set_secret_id(each->id);
    item.set_created_at(created);
    item.set_environment_name(environment);
    *item.mutable_metadata() = metadata_of(*each);
  }
  co_return response;
}

asio::awaitable<google::protobuf::Empty> ControlPlane::delete_secret(
    Caller caller, modal_wire::SecretDeleteRequest request) {
  parts_.secrets.remove(*caller.account, request.secret_id());
  co_return Empty();
}

// ---- Images

asio::awaitable<modal_wire::ImageGetOrCreateResponse> ControlPlane::image(
    Caller caller, modal_wire::ImageGetOrCreateRequest request) {
  if (!request.app_id().empty()) (void)parts_.apps.find(*caller.account, request.app_id());
  const Image& found = parts_.images.get_or_create(*caller.account, request);
  modal_wire::ImageGetOrCreateResponse response;
  response.set_image_id(found.id);
  if (found.built) {
    *response.mutable_result() = result_of(found);
    *response.mutable_metadata() = metadata_of(found);
  }
  co_return response;
}

// A build is over as soon as somebody looks.
asio::awaitable<void> ControlPlane::join_build(Call& call, Caller caller,
                                               modal_wire::ImageJoinStreamingRequest request) {
  Image& image = parts_.images.find(*caller.account, request.image_id());
  modal_wire::ImageJoinStreamingResponse progress;
  if (!image.built || request.include_logs_for_finished()) {
    for (const std::string& line : image.build_log) {
      modal_wire::TaskLogs& log = *progress.add_task_logs();
      log.set_data(line);
      log.set_file_descriptor(modal_wire::FILE_DESCRIPTOR_INFO);
      log.set_timestamp(unix_time(parts_.world.clock.now()));
    }
    progress.set_entry_id("1-0");
  }
  modal_wire::ImageJoinStreamingResponse last;
  *last.mutable_result() = result_of(image);
  *last.mutable_metadata() = metadata_of(image);
  last.set_eof(true);
  image.built = true;
  bool alive = true;
  if (progress.task_logs_size() > 0) alive = co_await call.send(progress);
  if (alive) alive = co_await call.send(last);
  if (alive) co_await call.finish();
}

asio::awaitable<modal_wire::ImageFromIdResponse> ControlPlane::image_from_id(
    Caller caller, modal_wire::ImageFromIdRequest request) {
  const Image& found = parts_.images.find(*caller.account, request.image_id());
  modal_wire::ImageFromIdResponse response;
  response.set_image_id(found.id);
  *response.mutable_metadata() = metadata_of(found);
  co_return response;
}

asio::awaitable<google::protobuf::Empty> ControlPlane::delete_image(Caller caller,
                                                                    modal_wire::ImageDeleteRequest request) {
  parts_.images.remove(*caller.account, request.image_id());
  co_return Empty();
}

}  // namespace sandkey::modal::emulator
