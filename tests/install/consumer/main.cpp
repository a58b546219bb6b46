// The smallest program that needs Sandkey's headers, its compiled code, and what that links in turn.

#include "sandkey/base/archive/archive.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/fixed_agent.h"

#include <cstdio>
#include <memory>
#include <string>

int main() {
  const sandkey::json::value parsed = sandkey::parse_json(R"({"name": "sand key"})", "the sample");
  const auto name = sandkey::find_string(parsed.as_object(), "name");
  if (!name || *name != "sand key") return 1;
  try {
    sandkey::pack(1, "/does/not/exist");
    return 1;
  } catch (const sandkey::Error& error) {
    if (error.code() != sandkey::ErrorCode::not_found) return 1;
  }
  sandkey::Engine engine;
  sandkey::OpenHandsConfig config;
  config.sandbox.remote_runtime_init_timeout = std::chrono::seconds(1);
  auto agent = std::make_shared<sandkey::FixedAgent>(sandkey::Endpoint::parse("unix:/does/not/exist"));
  sandkey::ActionExecutionClient runtime(engine, agent, config, nullptr, "consumer");
  try {
    runtime.connect();
    return 1;
  } catch (const sandkey::Error& error) {
    if (error.context().phase != "wait until the agent is alive") return 1;
  }
  std::puts("consumer: ok");
  return 0;
}
