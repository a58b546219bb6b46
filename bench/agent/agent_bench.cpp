// What the agent costs, through our client over a Unix socket. Prints one JSON object a line, with medians.
//
// Usage: agent_bench AGENT_BINARY [RUNS]
#include "sandkey/base/error.h"
#include "sandkey/runtime/action_execution_client.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/runtime/fixed_agent.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using namespace sandkey;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void report(const std::string& what, std::vector<double> values, const char* unit) {
  std::sort(values.begin(), values.end());
  const auto at = [&values](double share) {
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
  };
  std::printf(
      "{\"server\":\"sandkey\",\"what\":\"%s\",\"unit\":\"%s\",\"n\":%zu,\"median\":%.3f,\"min\":%.3f,"
      "\"p99\":%.3f}\n",
      what.c_str(), unit, values.size(), at(0.5), values.front(), at(0.99));
  std::fflush(stdout);
}

// A field of /proc/PID/status, in KB.
double status_kb(pid_t pid, const std::string& field) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field + ":")) return std::strtod(line.c_str() + field.size() + 1, nullptr);
  }
  return 0;
}

// Starts /proc/self/clear_refs' peak again, so that VmHWM is that of what follows.
void reset_peak(pid_t pid) {
  std::ofstream("/proc/" + std::to_string(pid) + "/clear_refs") << 5;
}

// An agent of its own home, so that no ~/.bashrc of this machine is measured.
class AgentProcess {
 public:
  AgentProcess(const std::string& binary, bool hide_ipython) {
    std::string name = (fs::temp_directory_path() / "sandkey-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw system_error("making a folder", errno);
    folder_ = name;
    fs::create_directories(folder_ + "/hide/IPython");
    std::ofstream(folder_ + "/hide/IPython/__init__.py") << "raise ImportError\n";
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setenv("HOME", folder_.c_str(), 1);
      if (hide_ipython) ::setenv("PYTHONPATH", (folder_ + "/hide").c_str(), 1);
      const int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, 2);
      const std::string address = "unix:" + socket();
      ::execl(binary.c_str(), binary.c_str(), "--listen", address.c_str(), "--working-dir",
              (folder_ + "/work").c_str(), nullptr);
      ::_exit(127);
    }
  }
  ~AgentProcess() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;

  [[nodiscard]] std::string socket() const { return folder_ + "/s"; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  std::string folder_;
  pid_t pid_ = -1;
};

std::unique_ptr<ActionExecutionClient> connect(Engine& engine, const AgentProcess& agent) {
  auto provider = std::make_shared<FixedAgent>(Endpoint::parse("unix:" + agent.socket()));
  RuntimeOptions options;
  options.attach_to_existing = true;
  const OpenHandsConfig config;
  auto runtime = std::make_unique<ActionExecutionClient>(engine, std::move(provider), config, nullptr,
                                                         "bench", std::move(options));
  runtime->connect();
  return runtime;
}

std::vector<double> repeat(int times, const std::function<void()>& work) {
  std::vector<double> values;
  for (int i = 0; i < times; ++i) {
    const auto start = Clock::now();
    work();
    values.push_back(ms_since(start));
  }
  return values;
}

double time_command(const char* command) {
  const auto start = Clock::now();
  if (std::system(command) != 0) return -1;
  return ms_since(start);
}

int bench(const std::string& binary, int runs) {
  Engine engine;
  std::printf("{\"server\":\"sandkey\",\"what\":\"binary\",\"unit\":\"bytes\",\"n\":1,\"median\":%ju}\n",
              static_cast<std::uintmax_t>(fs::file_size(binary)));
  {
    const AgentProcess agent(binary, false);
    const auto runtime = connect(engine, agent);
    report("resident, idle", {status_kb(agent.pid(), "VmRSS")}, "KB");
    const CmdRunAction action{.command = "true"};
    (void)runtime->run(action);
    report("run(true)", repeat(runs, [&] { (void)runtime->run(action); }), "ms");
    const IPythonRunCellAction cell{.code = "1"};
    if (runtime->agent().greeting().python) {
      (void)runtime->run_ipython(cell);
      report("cell, IPython if installed", repeat(runs, [&] { (void)runtime->run_ipython(cell); }), "ms");
    }
    report("resident, after these", {status_kb(agent.pid(), "VmRSS")}, "KB");

    const std::string big = agent.folder() + "/big";
    {
      std::ofstream file(big, std::ios::binary);
      std::vector<char> block(1 << 20);
      for (int i = 0; i < 100; ++i) {
        for (std::size_t j = 0; j < block.size(); ++j) block[j] = static_cast<char>(engine.random());
        file.write(block.data(), static_cast<std::streamsize>(block.size()));
      }
    }
    for (const pid_t pid : {agent.pid(), ::getpid()}) reset_peak(pid);
    const double agent_before = status_kb(agent.pid(), "VmRSS");
    const double client_before = status_kb(::getpid(), "VmRSS");
    const std::string there = agent.folder() + "/work/big";
    report("100 MB up", repeat(3, [&] { engine.wait(runtime->agent().put_file(big, there, kNoDeadline)); }),
           "ms");
    report("100 MB down",
           repeat(3, [&] { engine.wait(runtime->agent().get_file(there, big + ".back", kNoDeadline)); }),
           "ms");
    report("agent's growth in these", {status_kb(agent.pid(), "VmHWM") - agent_before}, "KB");
    report("client's growth in these", {status_kb(::getpid(), "VmHWM") - client_before}, "KB");
    if (time_command(("cmp " + big + " " + big + ".back").c_str()) < 0) {
      std::fprintf(stderr, "agent_bench: the file came back different\n");
      return 1;
    }
  }
  for (const bool hide : {true, false}) {
    std::vector<double> first;
    for (int i = 0; i < 10; ++i) {
      const AgentProcess agent(binary, hide);
      const auto runtime = connect(engine, agent);
      const IPythonRunCellAction cell{.code = "1"};
      const auto start = Clock::now();
      (void)runtime->run_ipython(cell);
      first.push_back(ms_since(start));
    }
    report(hide ? "first cell, plain" : "first cell, IPython if installed", std::move(first), "ms");
  }
  std::vector<double> bare;
  for (int i = 0; i < 10; ++i) {
    bare.push_back(
        time_command("python3 -c 'from IPython.core.interactiveshell import InteractiveShell as S; "
                     "S.instance()' 2>/dev/null"));
  }
  if (bare.front() > 0) report("bare IPython import and instance, whole process", std::move(bare), "ms");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: agent_bench AGENT_BINARY [RUNS]\n");
    return 2;
  }
  try {
    return bench(argv[1], argc > 2 ? std::atoi(argv[2]) : 2000);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "agent_bench: %s\n", error.what());
    return 1;
  }
}
