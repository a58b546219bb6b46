#include "sandkey/providers/e2b/emulator/interpreter/interpreter.h"

#include "sandkey/base/error.h"
#include "sandkey/providers/e2b/emulator/interpreter/server_source.h"

#include <boost/asio/this_coro.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace sandkey::e2b_interpreter {
namespace {

constexpr std::size_t kMostWords = 4096;  // of what it says when it fails
// Reads the source from the descriptor named after it, as the source itself does for its kernels.
constexpr const char* kBoot =
    "import os,sys;SOURCE=os.fdopen(int(sys.argv[2]),encoding='utf-8',closefd=False).read();"
    "exec(compile(SOURCE,'<interpreter>','exec'))";

asio::awaitable<void> feed(AgentStream& stream) {
  const bool taken = co_await stream.write(std::as_bytes(std::span(kServerSource)));
  if (taken) co_await stream.close_input();
}

struct Outcome {
  ExecResult result = {};
  std::string words = {};
};

asio::awaitable<void> run(AgentStream& stream, TaskGroup& tasks, Outcome& outcome) {
  const ExecSink sink = [&outcome](std::size_t, std::span<const std::byte> bytes) -> asio::awaitable<void> {
    if (outcome.words.size() < kMostWords)
      outcome.words.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    co_return;
  };
  std::function<void()> on_started = [&tasks, &stream] { tasks.spawn(feed(stream)); };
  outcome.result = co_await stream.follow(sink, std::move(on_started));
}

}  // namespace

asio::awaitable<void> start(AgentClient& agent, std::map<std::string, std::string> variables,
                            Deadline deadline) {
  ExecCommand command;
  command.argv = {"/usr/bin/env", "-i"};
  for (const auto& [name, value] : variables) command.argv.push_back(name + "=" + value);
  command.argv.insert(command.argv.end(), {"python3", "-c", kBoot, "serve", "0"});
  const std::unique_ptr<AgentStream> stream = agent.exec(command);
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  TaskGroup tasks(agent.engine(), executor);
  Outcome outcome;
  co_await agent.engine().with_deadline(tasks.run(run(*stream, tasks, outcome)), deadline,
                                        "start the code interpreter");
  if (outcome.result.exit_code == 0) co_return;
  throw Error(ErrorCode::unsupported, "starting the code interpreter: python3 ended with " +
                                          std::to_string(outcome.result.exit_code) +
                                          " and said: " + outcome.words);
}

}  // namespace sandkey::e2b_interpreter
