// modal.client.ModalClient: who somebody is, environments, apps, secrets, images and sandboxes of both kinds.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/access.h"
#include "sandkey/providers/modal/emulator/apps.h"
#include "sandkey/providers/modal/emulator/fleet.h"
#include "sandkey/providers/modal/emulator/images.h"
#include "sandkey/providers/modal/emulator/secrets.h"
#include "sandkey/providers/modal/emulator/settings.h"
#include "sandkey/providers/modal/emulator/tokens.h"
#include "sandkey/providers/modal/emulator/tunnels.h"

#include <google/protobuf/empty.pb.h>
#include <map>
#include <modal.pb.h>
#include <string>
#include <vector>

namespace sandkey::modal::emulator {

// What it and the command router share.
struct Parts {
  sandkey::emulator::World& world;
  const sandkey::emulator::Accounts& accounts;
  Settings& settings;
  Tokens& auth_tokens;
  Tokens& router_tokens;
  Apps& apps;
  Secrets& secrets;
  Images& images;
  Tunnels& tunnels;
  Fleet& fleet;
};

class ControlPlane {
 public:
  // Adds its methods.
  ControlPlane(Parts parts, sandkey::emulator::grpc::Methods& methods);

  // Told once, before the first call: where the command router is, which is here as well.
  void serve_at(const sandkey::emulator::Addresses& addresses) { router_ = addresses.http; }

 private:
  using Call = sandkey::emulator::grpc::Call;
  using Empty = google::protobuf::Empty;
  template <typename Request, typename Response>
  using Action = asio::awaitable<Response> (ControlPlane::*)(Caller, Request);
  template <typename Request>
  using Stream = asio::awaitable<void> (ControlPlane::*)(Call&, Caller, Request);
  template <typename Request, typename Response>
  using Twin = asio::awaitable<Response> (ControlPlane::*)(Caller, Backend, Request);

  template <typename Request, typename Response>
  void add(const char* method, Need need, Action<Request, Response> action);
  template <typename Request>
  void add_stream(const char* method, Need need, Stream<Request> stream);
  // Adds the method for sandboxes of v1, and its twin for those of v2.
  template <typename Request, typename Response>
  void add_twins(const std::string& method, bool changes, Twin<Request, Response> action);
  template <typename Request, typename Response>
  asio::awaitable<void> run(Call& call, Need need, Action<Request, Response> action);
  template <typename Request>
  asio::awaitable<void> run_stream(Call& call, Need need, Stream<Request> stream);
  template <typename Request, typename Response>
  asio::awaitable<void> run_twin(Call& call, Need need, Backend backend, Twin<Request, Response> action);
  void add_sandbox_methods();

  // ---- Who somebody is
  asio::awaitable<modal_wire::ClientHelloResponse> hello(Caller caller, Empty request);
  asio::awaitable<modal_wire::TokenInfoGetResponse> token_info(Caller caller,
                                                               modal_wire::TokenInfoGetRequest request);
  asio::awaitable<modal_wire::WorkspaceNameLookupResponse> workspace_name(Caller caller, Empty request);
  asio::awaitable<modal_wire::AuthTokenGetResponse> auth_token(Caller caller,
                                                               modal_wire::AuthTokenGetRequest request);

  // ---- Environments, apps, secrets, images
  asio::awaitable<modal_wire::EnvironmentGetOrCreateResponse> environment(
      Caller caller, modal_wire::EnvironmentGetOrCreateRequest request);
  asio::awaitable<modal_wire::EnvironmentListResponse> list_environments(Caller caller, Empty request);
  asio::awaitable<modal_wire::AppGetOrCreateResponse> app(Caller caller,
                                                          modal_wire::AppGetOrCreateRequest request);
  asio::awaitable<modal_wire::AppCreateResponse> create_app(Caller caller,
                                                            modal_wire::AppCreateRequest request);
  asio::awaitable<modal_wire::AppListResponse> list_apps(Caller caller, modal_wire::AppListRequest request);
  asio::awaitable<Empty> stop_app(Caller caller, modal_wire::AppStopRequest request);
  asio::awaitable<Empty> disconnect_app(Caller caller, modal_wire::AppClientDisconnectRequest request);
  asio::awaitable<modal_wire::AppPublishResponse> publish_app(Caller caller,
                                                              modal_wire::AppPublishRequest request);
  asio::awaitable<Empty> heartbeat(Caller caller, modal_wire::AppHeartbeatRequest request);
  asio::awaitable<modal_wire::SecretGetOrCreateResponse> secret(Caller caller,
                                                                modal_wire::SecretGetOrCreateRequest request);
  asio::awaitable<modal_wire::SecretListResponse> list_secrets(Caller caller,
                                                               modal_wire::SecretListRequest request);
  asio::awaitable<Empty> delete_secret(Caller caller, modal_wire::SecretDeleteRequest request);
  asio::awaitable<modal_wire::ImageGetOrCreateResponse> image(Caller caller,
                                                              modal_wire::ImageGetOrCreateRequest request);
  asio::awaitable<void> join_build(Call& call, Caller caller, modal_wire::ImageJoinStreamingRequest request);
  asio::awaitable<modal_wire::ImageFromIdResponse> image_from_id(Caller caller,
                                                                 modal_wire::ImageFromIdRequest request);
  asio::awaitable<Empty> delete_image(Caller caller, modal_wire::ImageDeleteRequest request);

  // ---- Sandboxes
  asio::awaitable<modal_wire::SandboxCreateResponse> create_v1(Caller caller,
                                                               modal_wire::SandboxCreateRequest request);
  asio::awaitable<modal_wire::SandboxCreateV2Response> create_v2(Caller caller,
                                                                 modal_wire::SandboxCreateV2Request request);
  asio::awaitable<SandboxPtr> create(Caller caller, CreateRequest request);
  asio::awaitable<modal_wire::SandboxGetTaskIdResponse> task_id(Caller caller, Backend backend,
                                                                modal_wire::SandboxGetTaskIdRequest request);
  asio::awaitable<modal_wire::SandboxWaitResponse> wait(Caller caller, Backend backend,
                                                        modal_wire::SandboxWaitRequest request);
  asio::awaitable<modal_wire::SandboxTerminateResponse> terminate(
      Caller caller, Backend backend, modal_wire::SandboxTerminateRequest request);
  asio::awaitable<modal_wire::SandboxListResponse> list(Caller caller, Backend backend,
                                                        modal_wire::SandboxListRequest request);
  asio::awaitable<modal_wire::SandboxGetFromNameResponse> from_name(
      Caller caller, Backend backend, modal_wire::SandboxGetFromNameRequest request);
  asio::awaitable<Empty> set_tags(Caller caller, Backend backend, modal_wire::SandboxTagsSetRequest request);
  asio::awaitable<modal_wire::SandboxTagsGetResponse> tags(Caller caller, Backend backend,
                                                           modal_wire::SandboxTagsGetRequest request);
  asio::awaitable<modal_wire::SandboxGetTunnelsResponse> tunnels(
      Caller caller, Backend backend, modal_wire::SandboxGetTunnelsRequest request);
  asio::awaitable<modal_wire::SandboxCreateConnectTokenResponse> connect_token(
      Caller caller, Backend backend, modal_wire::SandboxCreateConnectTokenRequest request);
  asio::awaitable<modal_wire::SandboxSetNameResponse> set_name(Caller caller,
                                                               modal_wire::SandboxSetNameRequest request);
  asio::awaitable<void> logs(Call& call, Caller caller, modal_wire::SandboxGetLogsRequest request);
  asio::awaitable<modal_wire::SandboxStdinWriteResponse> write_stdin(
      Caller caller, modal_wire::SandboxStdinWriteRequest request);
  asio::awaitable<modal_wire::TaskGetCommandRouterAccessResponse> router_access_v1(
      Caller caller, modal_wire::TaskGetCommandRouterAccessRequest request);
  asio::awaitable<modal_wire::SandboxGetCommandRouterAccessResponse> router_access_v2(
      Caller caller, modal_wire::SandboxGetCommandRouterAccessRequest request);
  asio::awaitable<modal_wire::SandboxWaitUntilReadyResponse> wait_until_ready(
      Caller caller, modal_wire::SandboxWaitUntilReadyRequest request);

  // Creates that run, or did, by account and idempotency key.
  struct Creation {
    std::string sandbox = {};  // empty: it runs, or failed
    bool runs = false;
  };

  asio::awaitable<void> end_app(std::string id);
  [[nodiscard]] SandboxPtr find(const Caller& caller, Backend backend, const std::string& id) const;
  [[nodiscard]] modal_wire::CommandRouterAccess access_to(const Caller& caller, const Sandbox& sandbox) const;

  Parts parts_;
  sandkey::emulator::grpc::Methods& methods_;
  std::string router_;
  std::map<std::string, Creation> creations_;
  AsyncEvent created_;
};

}  // namespace sandkey::modal::emulator
