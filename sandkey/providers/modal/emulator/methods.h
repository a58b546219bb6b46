// How the control plane's methods are added: shared by the files that are it.
#pragma once

#include "sandkey/providers/modal/emulator/control_plane.h"

#include <string>
#include <utility>

namespace sandkey::modal::emulator {

inline constexpr const char* kControlPlane = "modal.client.ModalClient";

template <typename Request, typename Response>
void ControlPlane::add(const char* method, Need need, Action<Request, Response> action) {
  methods_.add<Request>(kControlPlane, method, [this, need, action](Call& call) {
    return run<Request, Response>(call, need, action);
  });
}

template <typename Request>
void ControlPlane::add_stream(const char* method, Need need, Stream<Request> stream) {
  methods_.add<Request>(kControlPlane, method,
                        [this, need, stream](Call& call) { return run_stream<Request>(call, need, stream); });
}

template <typename Request, typename Response>
void ControlPlane::add_twins(const std::string& method, bool changes, Twin<Request, Response> action) {
  const Need v1{.changes = changes};
  const Need v2{.changes = changes, .auth_token = true};
  methods_.add<Request>(kControlPlane, method, [this, v1, action](Call& call) {
    return run_twin<Request, Response>(call, v1, Backend::v1, action);
  });
  methods_.add<Request>(kControlPlane, method + "V2", [this, v2, action](Call& call) {
    return run_twin<Request, Response>(call, v2, Backend::v2, action);
  });
}

template <typename Request, typename Response>
asio::awaitable<void> ControlPlane::run(Call& call, Need need, Action<Request, Response> action) {
  Request request;
  co_await call.read(request);
  const Caller caller = authenticate(parts_.accounts, parts_.auth_tokens, call, need);
  const Response response = co_await (this->*action)(caller, std::move(request));
  co_await call.reply(response);
}

template <typename Request>
asio::awaitable<void> ControlPlane::run_stream(Call& call, Need need, Stream<Request> stream) {
  Request request;
  co_await call.read(request);
  const Caller caller = authenticate(parts_.accounts, parts_.auth_tokens, call, need);
  co_await (this->*stream)(call, caller, std::move(request));
}

template <typename Request, typename Response>
asio::awaitable<void> ControlPlane::run_twin(Call& call, Need need, Backend backend,
                                             Twin<Request, Response> action) {
  Request request;
  co_await call.read(request);
  const Caller caller = authenticate(parts_.accounts, parts_.auth_tokens, call, need);
  const Response response = co_await (this->*action)(caller, backend, std::move(request));
  co_await call.reply(response);
}

}  // namespace sandkey::modal::emulator
