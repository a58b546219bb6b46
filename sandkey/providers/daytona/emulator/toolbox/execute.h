// /process/execute and /process/code-run: commands that are waited for.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/toolbox/machine_view.h"

#include <boost/asio/awaitable.hpp>

#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

// What a run of code printed, without the lines that are artifacts (`dtn_artifact_k39fd2:` and JSON).
struct CodeOutput {
  std::string text = {};
  json::array charts = {};
};
[[nodiscard]] CodeOutput parse_code_output(std::string_view output);

// As Go's os/exec tells it: -1 for a process that a signal ended.
[[nodiscard]] int go_exit_code(const ExecResult& result) noexcept;

// Throws ToolboxError. On one thread; the view must outlive it.
class Execute {
 public:
  explicit Execute(MachineView& view) : view_(view) {}

  asio::awaitable<void> execute(net::HttpExchange& exchange);
  asio::awaitable<void> run_code(net::HttpExchange& exchange);

 private:
  MachineView& view_;
};

}  // namespace sandkey::daytona_toolbox
