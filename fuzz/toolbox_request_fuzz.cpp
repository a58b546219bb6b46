// What clients send to an emulated sandbox of Daytona's, and what programs inside print: bodies, names, logs.
#include "sandkey/providers/daytona/emulator/toolbox/execute.h"
#include "sandkey/providers/daytona/emulator/toolbox/file_info.h"
#include "sandkey/providers/daytona/emulator/toolbox/git.h"
#include "sandkey/providers/daytona/emulator/toolbox/ids.h"
#include "sandkey/providers/daytona/emulator/toolbox/interpreter/interpreter.h"
#include "sandkey/providers/daytona/emulator/toolbox/ptys.h"
#include "sandkey/providers/daytona/emulator/toolbox/session_log.h"
#include "sandkey/providers/daytona/emulator/toolbox/sessions.h"
#include "sandkey/providers/daytona/emulator/toolbox/system.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_server.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace {

using namespace sandkey::daytona_toolbox;

// A log is taken apart the same in any pieces, and nothing of it is invented.
void check_log(std::string_view log, std::size_t piece) {
  const LogSplitter whole = split_log(log);
  LogSplitter splitter;
  for (std::string_view rest = log; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size())))
    splitter.feed(rest.substr(0, piece));
  splitter.finish();
  if (splitter.outputs != whole.outputs || splitter.merged != whole.merged) std::abort();
  if (whole.merged.size() != whole.outputs[0].size() + whole.outputs[1].size()) std::abort();
  if (whole.merged.size() > log.size()) std::abort();
  (void)log_shape(log, piece % 2 == 0);
}

// Whatever a shell writes, a command that has ended stays so, and its log can be taken apart.
std::string logs_of(std::string_view written, std::size_t piece) {
  SessionOutput output("w");
  for (int i = 0; i < 2; ++i) output.add(std::make_shared<SessionCommand>());
  for (std::size_t at = 0; at < written.size(); at += piece)
    output.feed(at / piece % 2, written.substr(at, piece));
  output.finish();
  std::string logs;
  for (const std::shared_ptr<SessionCommand>& command : output.commands()) {
    if (!command->over()) std::abort();
    logs += command->log;
  }
  return logs;
}

void check_bodies(std::string_view text) {
  try {
    const Body body = Body::parse(text);
    (void)body.variables("envs");
    (void)body.texts("files");
    (void)body.number("timeout");
    (void)body.required("command");
  } catch (const ToolboxError& error) {
    if (error.status() != 400) std::abort();
  }
  try {
    const CellRequest cell = parse_cell_request(text);
    if (cell.code.empty() || (cell.timeout && cell.timeout->count() < 0)) std::abort();
  } catch (const ToolboxError& error) {
    if (error.status() != 400) std::abort();
  }
  (void)cell_event(text);
}

void check_texts(std::string_view text) {
  const CodeOutput output = parse_code_output(text);
  if (output.text.size() > text.size()) std::abort();
  for (const auto& [name, value] : parse_pty_variables(text)) {
    if (!is_variable_name(name)) std::abort();
  }
  (void)base64url_decode(text);
  (void)is_token(text, "X-Daytona-SDK-Version");
  if (const auto mode = parse_mode(text); mode && *mode > 07777U) std::abort();
  if (part_head("file", text, "text/plain").find("\r\n\r\n") + 4 !=
      part_head("file", text, "text/plain").size())
    std::abort();  // a name that ends the header
  (void)upload_field(text);
  if (replaced(text, "a", "a") != text) std::abort();
  (void)parse_matches(text);
  (void)parse_paths(text);
  (void)parse_git_status(text);
  (void)parse_git_log(text);
  (void)parse_listening_ports(text);
  (void)ToolboxServer::route_of("GET", text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const void* const rest = data + 1;
  const std::string_view bytes(static_cast<const char*>(rest), size - 1);
  const std::size_t piece = std::size_t{data[0]} % 16 + 1;
  check_log(bytes, piece);
  (void)logs_of(bytes, piece);
  check_bodies(bytes);
  check_texts(bytes);
  return 0;
}
