#include "sandkey/runtime/cloud_agent.h"

#include "sandkey/base/blocking_task.h"
#include "sandkey/base/error.h"
#include "sandkey/credentials/redactor.h"
#include "sandkey/runtime/agent_launch.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

namespace sandkey {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kFirstPause = 50ms;
constexpr std::chrono::milliseconds kLongestPause = 2s;
constexpr std::chrono::seconds kHelloTime = 5s;

// The script does nothing twice, so it may be sent again when nobody answered.
asio::awaitable<LaunchOutcome> run_script(Engine& engine, CloudShell& shell, AgentLaunch launch,
                                          Deadline deadline) {
  std::chrono::milliseconds pause = kFirstPause;
  for (;;) {
    std::optional<Error> failed;
    try {
      const ShellResult result = co_await shell.run(launch.script, launch.environment, deadline);
      co_return launch_outcome(result.output, result.error_output, result.exit_code);
    } catch (const Error& error) {
      // What the script itself said has no operation, and is said again the next time.
      if (error.code() != ErrorCode::unavailable || error.context().operation.empty()) throw;
      failed = error;
    }
    co_await shell.require_sandbox(deadline);
    if (engine.in(pause) >= deadline || pause > kLongestPause) throw_error(*failed);
    co_await engine.sleep_for(pause);
    pause *= 2;
  }
}

asio::awaitable<void> upload(CloudShell& shell, const AgentProgram& program, std::string path, bool has_gzip,
                             Deadline deadline) {
  const bool unpacked = co_await shell.put_unpacked(path, program.compressed, deadline);
  if (unpacked) co_return;
  if (has_gzip) {
    co_await shell.put(path + ".gz", program.compressed, deadline);
    co_return;
  }
  std::string plain = co_await run_blocking([&program] { return program.unpacked(); });
  co_await shell.put(std::move(path), std::move(plain), deadline);
}

asio::awaitable<void> start(Engine& engine, CloudShell& shell, const Secret& session_key,
                            std::string working_dir, std::string place, Deadline deadline) {
  const std::shared_ptr<const AgentProgram> program =
      co_await run_blocking([&engine] { return agent_program(engine); });
  const AgentLaunch launch = agent_launch(*program, session_key, working_dir, engine.random());
  LaunchOutcome outcome = co_await run_script(engine, shell, launch, deadline);
  if (outcome == LaunchOutcome::running || outcome == LaunchOutcome::started) co_return;
  const bool has_gzip = outcome == LaunchOutcome::absent_with_gzip;
  co_await upload(shell, *program, launch.upload_path, has_gzip, deadline);
  outcome = co_await run_script(engine, shell, launch, deadline);
  if (outcome == LaunchOutcome::running || outcome == LaunchOutcome::started) co_return;
  throw Error(ErrorCode::unavailable,
              "starting the agent in " + place + ": it was uploaded, but is not there; is its disk full?");
}

}  // namespace

asio::awaitable<bool> CloudShell::put_unpacked(std::string, std::string, Deadline) {
  co_return false;
}

asio::awaitable<void> start_cloud_agent(Engine& engine, CloudShell& shell, Secret session_key,
                                        std::string working_dir, std::string place, Deadline deadline) {
  try {
    co_await start(engine, shell, session_key, std::move(working_dir), std::move(place), deadline);
  } catch (const Error& error) {
    // The cloud, or the shell in it, may echo what it was given.
    Redactor redactor;
    redactor.add(session_key);
    const std::string said = redactor.redact(error.what());
    if (said == error.what()) throw;
    throw Error(error.code(), said, error.context());
  }
}

asio::awaitable<bool> agent_answers(Engine& engine, HttpTransport& network, AgentAccess access,
                                    Deadline deadline) {
  HttpRequest request;
  request.url = access.endpoint.url("/sandkey/v1/hello");
  request.headers = std::move(access.headers);
  if (!access.session_key.empty()) request.headers.set("X-Session-API-Key", access.session_key);
  request.operation = "asking whether the agent runs";
  request.deadline = std::min(deadline, engine.in(kHelloTime));
  int status = 0;
  try {
    const HttpResponse response = co_await network.send(std::move(request));
    status = response.status;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
  }
  co_return status == 200;
}

}  // namespace sandkey
