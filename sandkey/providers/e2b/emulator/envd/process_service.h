// process.Process: starting processes, following them, feeding them.
#pragma once

#include "sandkey/providers/e2b/emulator/envd/accounts.h"
#include "sandkey/providers/e2b/emulator/envd/processes.h"
#include "sandkey/providers/e2b/emulator/envd/rpc.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <envd.pb.h>
#include <map>
#include <memory>
#include <string>

namespace sandkey::e2b_envd {

// All that envd itself gives a process: the sandbox's variables, below those of a request.
using Variables = std::map<std::string, std::string>;

// Throws RpcError. On one thread; everything referred to must outlive it.
class ProcessService {
 public:
  ProcessService(asio::any_io_executor executor, AgentClient& agent, machine::ProcessTable& processes,
                 const Variables& variables, std::string workdir);

  asio::awaitable<ListResponse> list(Account account, ListRequest request);
  asio::awaitable<void> start(RpcCall& call, Account account);
  asio::awaitable<void> connect(RpcCall& call, Account account);
  asio::awaitable<UpdateResponse> update(Account account, UpdateRequest request);
  asio::awaitable<void> stream_input(RpcCall& call, Account account);
  asio::awaitable<SendInputResponse> send_input(Account account, SendInputRequest request);
  asio::awaitable<SendSignalResponse> send_signal(Account account, SendSignalRequest request);
  asio::awaitable<CloseStdinResponse> close_stdin(Account account, CloseStdinRequest request);

 private:
  asio::awaitable<ExecCommand> command_of(const StartRequest& request, const Account& account);
  [[nodiscard]] std::shared_ptr<Process> require_running(const ProcessSelector& selector);
  asio::awaitable<void> feed(std::shared_ptr<Process> process, ProcessInput input);

  asio::any_io_executor executor_;
  AgentClient& agent_;
  machine::ProcessTable& processes_;
  const Variables& variables_;
  std::string workdir_;
};

}  // namespace sandkey::e2b_envd
