// The processes that were started through envd, and how their lives are told.
#pragma once

#include "sandkey/emulator/machine/processes.h"

#include <boost/asio/any_io_executor.hpp>

#include <envd.pb.h>
#include <memory>
#include <vector>

namespace sandkey::e2b_envd {

// How a process ended, in the words of Go's os/exec, which envd is written with.
[[nodiscard]] ProcessEvent::EndEvent end_event(const ExecResult& result);

class Process final : public machine::Process {
 public:
  Process(asio::any_io_executor executor, StartRequest request, std::unique_ptr<AgentStream> stream);

  [[nodiscard]] const ProcessConfig& config() const noexcept { return request_.process(); }
  [[nodiscard]] const StartRequest& request() const noexcept { return request_; }
  [[nodiscard]] ProcessEvent event_of(Output output) const;

 private:
  StartRequest request_;
};

// Of a table that holds only these. Null if there is none, or not for so long any more.
[[nodiscard]] std::shared_ptr<Process> find(machine::ProcessTable& table, const ProcessSelector& selector);
[[nodiscard]] std::vector<std::shared_ptr<Process>> running(machine::ProcessTable& table);

}  // namespace sandkey::e2b_envd
