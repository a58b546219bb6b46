// modal.task_command_router.TaskCommandRouter: what is done inside a sandbox, with a token for just that one.
#pragma once

#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/control_plane.h"
#include "sandkey/providers/modal/emulator/exec.h"
#include "sandkey/providers/modal/emulator/sandbox.h"

#include <memory>
#include <modal.pb.h>
#include <string>
#include <string_view>

namespace sandkey::modal::emulator {

class CommandRouter {
 public:
  // Adds its methods.
  CommandRouter(Parts parts, sandkey::emulator::grpc::Methods& methods);

 private:
  using Call = sandkey::emulator::grpc::Call;
  template <typename Request, typename Response>
  using Action = asio::awaitable<Response> (CommandRouter::*)(SandboxPtr, Request);
  template <typename Request>
  using Stream = asio::awaitable<void> (CommandRouter::*)(Call&, SandboxPtr, Request);

  template <typename Request, typename Response>
  void add(const char* method, Action<Request, Response> action);
  template <typename Request>
  void add_stream(const char* method, Stream<Request> stream);
  template <typename Request, typename Response>
  asio::awaitable<void> run(Call& call, Action<Request, Response> action);
  template <typename Request>
  asio::awaitable<void> run_stream(Call& call, Stream<Request> stream);

  asio::awaitable<modal_wire::TaskExecStartResponse> start(SandboxPtr sandbox,
                                                           modal_wire::TaskExecStartRequest request);
  asio::awaitable<void> read(Call& call, SandboxPtr sandbox, modal_wire::TaskExecStdioReadRequest request);
  asio::awaitable<modal_wire::TaskExecStdinWriteResponse> write(
      SandboxPtr sandbox, modal_wire::TaskExecStdinWriteRequest request);
  asio::awaitable<void> write_stream(Call& call);
  asio::awaitable<modal_wire::TaskExecStdinStatusResponse> input_status(
      SandboxPtr sandbox, modal_wire::TaskExecStdinStatusRequest request);
  asio::awaitable<modal_wire::TaskExecWaitResponse> wait(SandboxPtr sandbox,
                                                         modal_wire::TaskExecWaitRequest request);
  asio::awaitable<modal_wire::TaskExecPollResponse> poll(SandboxPtr sandbox,
                                                         modal_wire::TaskExecPollRequest request);
  asio::awaitable<void> read_main(Call& call, SandboxPtr sandbox,
                                  modal_wire::SandboxStdioReadV2Request request);
  asio::awaitable<modal_wire::SandboxStdinWriteV2Response> write_main(
      SandboxPtr sandbox, modal_wire::SandboxStdinWriteV2Request request);
  asio::awaitable<modal_wire::SandboxWaitUntilReadyTcrResponse> wait_until_ready(
      SandboxPtr sandbox, modal_wire::SandboxWaitUntilReadyTcrRequest request);

  // The sandbox of that task, which the call's token must be for.
  [[nodiscard]] SandboxPtr authorize(const Call& call, const std::string& task_id) const;
  [[nodiscard]] std::shared_ptr<Exec> make_exec(const SandboxPtr& sandbox,
                                                const modal_wire::TaskExecStartRequest& request) const;

  Parts parts_;
  sandkey::emulator::grpc::Methods& methods_;
};

}  // namespace sandkey::modal::emulator
