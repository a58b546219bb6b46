#include "sandkey/providers/daytona/emulator/toolbox/execute.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

namespace sandkey::daytona_toolbox {
namespace {

constexpr std::string_view kArtifact = "dtn_artifact_k39fd2:";

// Absent and 0 are without a limit.
std::optional<std::chrono::seconds> timeout_of(const Body& body) {
  const std::optional<std::uint32_t> seconds = body.number("timeout");
  if (!seconds || *seconds == 0) return std::nullopt;
  return std::chrono::seconds(*seconds);
}

Variables variables_of(const Body& body) {
  Variables variables = body.variables("envs");
  check_variable_names(variables);
  return variables;
}

json::object answer_of(int exit_code, const std::string& result) {
  json::object answer;
  answer["exitCode"] = exit_code;
  answer["result"] = result;
  return answer;
}

ToolboxError timed_out() {
  return {408, "PROCESS_EXECUTION_TIMEOUT", "command execution timeout"};
}

// A chart, if that is what the line is.
std::optional<json::value> chart_of(std::string_view line) {
  try {
    const json::value artifact = parse_json(line, "an artifact");
    if (!artifact.is_object()) return std::nullopt;
    const json::value* value = sandkey::find(artifact.get_object(), "value");
    if (find_string(artifact.get_object(), "type") == "chart" && value != nullptr) return *value;
  } catch (const Error&) {  // is none
  }
  return std::nullopt;
}

// The languages' programs read the code as their input; what follows is not quoted, as in the daemon.
std::string script_of(const std::string& language, const std::string& argv) {
  if (language == "python") return "exec python3 -u - " + argv;
  if (language == "javascript") return "exec node - " + argv;
  if (language == "typescript") {
    return "file=$(mktemp --suffix=.ts) && cat > \"$file\" && npx ts-node -T -O '{\"module\":\"CommonJS\"}' "
           "\"$file\" " +
           argv + "; code=$?; rm -f \"$file\"; exit $code";
  }
  throw bad_request("unsupported language: " + language);
}

}  // namespace

CodeOutput parse_code_output(std::string_view output) {
  CodeOutput parsed;
  while (!output.empty()) {
    const std::size_t end = std::min(output.find('\n'), output.size());
    const std::string_view line = output.substr(0, end);
    const std::string_view whole = output.substr(0, std::min(end + 1, output.size()));
    output.remove_prefix(whole.size());
    if (!line.starts_with(kArtifact)) {
      parsed.text += whole;
    } else if (auto chart = chart_of(line.substr(kArtifact.size()))) {
      parsed.charts.push_back(std::move(*chart));
    }
  }
  return parsed;
}

int go_exit_code(const ExecResult& result) noexcept {
  return result.signal ? -1 : result.exit_code;
}

asio::awaitable<void> Execute::execute(net::HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  Command command;
  command.argv = {view_.shell()};
  command.input = body.required("command");
  command.cwd = body.text("cwd").value_or("");
  command.variables = variables_of(body);
  command.timeout = timeout_of(body);
  json::object answer;
  try {
    Outcome outcome = co_await view_.run(std::move(command));
    if (outcome.result.timed_out) throw timed_out();
    answer = answer_of(go_exit_code(outcome.result), outcome.out);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found && error.code() != ErrorCode::permission_denied &&
        error.code() != ErrorCode::invalid_argument) {
      throw;
    }
    answer = answer_of(-1, error.what());  // the shell could not be started
  }
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Execute::run_code(net::HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string argv;
  for (const std::string& argument : body.texts("argv")) argv += argument + " ";
  const std::string code = body.required("code");
  Command command;
  command.argv = {view_.shell(), "-c", script_of(body.required("language"), argv)};
  command.input = code;
  command.variables = variables_of(body);
  command.timeout = timeout_of(body);
  Outcome outcome = co_await view_.run(std::move(command));
  if (outcome.result.timed_out) throw timed_out();
  CodeOutput output = parse_code_output(outcome.out);
  json::object answer = answer_of(go_exit_code(outcome.result), output.text);
  if (!output.charts.empty()) answer["artifacts"] = json::object{{"charts", std::move(output.charts)}};
  co_await reply_json(exchange, std::move(answer));
}

}  // namespace sandkey::daytona_toolbox
