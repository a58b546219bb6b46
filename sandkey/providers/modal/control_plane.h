// Calls to Modal's control plane, api.modal.com, by gRPC.
//
//   ModalCall call{.method = "AppGetOrCreate", .request = {{"app_name", "sandkey"}}, .operation = "..."};
//   const json::object reply = co_await control->call(std::move(call));
//
// Every call carries the token, and all but the first the short-lived token that is got with it. What may be
// repeated is, as the server asks for it and within bounds; what fails is an Error in Modal's own words.
#pragma once

#include "sandkey/accounts/sign_in.h"
#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/net/grpc/channel.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::modal {

struct ModalCall {
  std::string method = {};  // "SandboxCreateV2"
  json::object request = {};
  std::string operation = {};  // "creating a sandbox at modal": begins the message of an error
  Deadline deadline = kNoDeadline;
  std::string key = {};  // by which the server knows it again; empty: one of its own
  bool repeatable = true;
  bool with_auth_token = true;
};

class ControlPlane {
 public:
  static asio::awaitable<std::shared_ptr<ControlPlane>> open(SignIn sign_in);

  asio::awaitable<json::object> call(ModalCall call);
  // The replies of a call that has many. Not repeated; what its status means, error() says.
  asio::awaitable<GrpcStream> stream(ModalCall call);

  // What a failed call means. A token that is refused is from then on not accepted.
  [[nodiscard]] Error error(const std::string& operation, const GrpcStatus& status) const;
  [[nodiscard]] bool accepted() const noexcept;

  [[nodiscard]] Engine& engine() const noexcept;
  [[nodiscard]] std::shared_ptr<const Credential> credential() const;
  [[nodiscard]] const Endpoint& server() const noexcept;
  // A text of Modal's without the account's secrets, and not endless.
  [[nodiscard]] std::string quoted(std::string_view text) const;
  // The environment whose name is in the credential; "" is the workspace's own.
  [[nodiscard]] std::string environment() const;

  // Takes up the warnings that came with an answer; each text once.
  void hear(const GrpcStatus& status);
  // Those that were not taken yet.
  [[nodiscard]] std::vector<std::string> take_warnings();

 private:
  struct Impl;
  explicit ControlPlane(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

// By which a request is known again.
[[nodiscard]] std::string random_uuid(const Engine& engine);

// How Modal's module gets there, for whoever lacks it.
[[nodiscard]] GrpcDestination modal_destination();

}  // namespace sandkey::modal
