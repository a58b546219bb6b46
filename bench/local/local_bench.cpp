// What a sandbox on this machine costs beside a bare bubblewrap, both in one run, round by round. Prints one
// JSON object a line, with medians.
//
// Usage: local_bench SANDKEY_PROGRAM [ROUNDS] [IDLE] [LIVE]
#include "sandkey/base/error.h"
#include "sandkey/providers/registry.h"
#include "sandkey/runtime/ledger.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using namespace sandkey;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void report(const std::string& what, const std::vector<double>& values, const char* unit, double beside = 0) {
  std::printf("{\"what\":\"%s\",\"unit\":\"%s\",\"n\":%zu,\"median\":%.3f,\"min\":%.3f", what.c_str(), unit,
              values.size(), median(values), *std::min_element(values.begin(), values.end()));
  if (beside > 0) std::printf(",\"times_bare_bwrap\":%.2f", median(values) / beside);
  std::puts("}");
  std::fflush(stdout);
}

// A program from start to exit, in milliseconds.
double time_of(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const auto start = Clock::now();
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ);
  if (error != 0) throw system_error("starting " + command.front(), error);
  int status = 0;
  ::waitpid(pid, &status, 0);
  const double time = ms_since(start);
  if (status != 0) throw Error(ErrorCode::internal, command.front() + " failed");
  return time;
}

// As in the comparison of other sandboxes: every namespace, a private root.
std::vector<std::string> bare_bwrap() {
  return {"bwrap",     "--unshare-all", "--die-with-parent",
          "--ro-bind", "/usr",          "/usr",
          "--symlink", "usr/lib",       "/lib",
          "--symlink", "usr/lib64",     "/lib64",
          "--symlink", "usr/bin",       "/bin",
          "--symlink", "usr/sbin",      "/sbin",
          "--proc",    "/proc",         "--dev",
          "/dev",      "--tmpfs",       "/tmp",
          "/bin/true"};
}

// The processes of all sandboxes of this machine.
std::set<pid_t> sandbox_processes() {
  std::set<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::string name;
    std::getline(std::ifstream(entry.path() / "comm"), name);
    if (name == "sandkey-keeper" || name == "bwrap" || name == "sandkey-agent" || name == "bash")
      found.insert(static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10)));
  }
  return found;
}

double pss_kb(const std::set<pid_t>& pids) {
  double sum = 0;
  for (const pid_t pid : pids) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("Pss:")) sum += std::strtod(line.c_str() + 4, nullptr);
    }
  }
  return sum;
}

double memory_in_use_kb() {
  std::ifstream file("/proc/meminfo");
  double total = 0;
  double available = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemTotal:")) total = std::strtod(line.c_str() + 9, nullptr);
    if (line.starts_with("MemAvailable:")) available = std::strtod(line.c_str() + 13, nullptr);
  }
  return total - available;
}

class Bench {
 public:
  explicit Bench(std::string program) : program_(std::move(program)) { ledger_ = open_user_ledger(engine_); }

  // Start to the first observation, all of it in this process; ending it is measured by itself.
  std::pair<double, double> first_observation(bool prepared) {
    const auto start = Clock::now();
    const auto runtime = make_runtime(engine_, config_, nullptr, "first", options(prepared));
    runtime->connect();
    const Observation seen = runtime->run({.command = "true"});
    const double first = ms_since(start);
    const auto* output = seen.as<CmdOutputObservation>();
    if (output == nullptr || output->metadata.exit_code != 0) throw Error(ErrorCode::internal, "true failed");
    const auto closing = Clock::now();
    runtime->close();
    return {first, ms_since(closing)};
  }

  void times(int rounds) {
    std::vector<double> bare;
    std::vector<double> run;
    std::vector<double> bare_run;
    std::vector<double> plain;
    std::vector<double> full;
    std::vector<double> close;
    for (int i = -2; i < rounds; ++i) {  // the first two warm the caches
      const double b = time_of(bare_bwrap());
      const double r = time_of({program_, "run", "--", "true"});
      const double v = time_of({program_, "--version"});
      const auto [p, closed] = first_observation(false);
      const auto [f, ignored] = first_observation(true);
      if (i < 0) continue;
      bare.push_back(b);
      run.push_back(r);
      bare_run.push_back(v);
      plain.push_back(p);
      full.push_back(f);
      close.push_back(closed);
    }
    report("bare bwrap, /bin/true", bare, "ms");
    report("sandkey run -- true", run, "ms", median(bare));
    report("sandkey --version, of which", bare_run, "ms", median(bare));
    report("construct, connect, first observation in process", full, "ms", median(bare));
    report("the same without setting up the environment", plain, "ms", median(bare));
    report("close", close, "ms");
  }

  // Each asked for one command, so that its agent has a shell, or not.
  void many(int count, bool with_shell, const std::string& name) {
    const std::set<pid_t> before = sandbox_processes();
    const double used_before = memory_in_use_kb();
    std::vector<std::unique_ptr<ActionExecutionClient>> runtimes;
    const auto start = Clock::now();
    for (int i = 0; i < count; ++i) {
      runtimes.push_back(
          make_runtime(engine_, config_, nullptr, name + "-" + std::to_string(i), options(false)));
    }
    engine_.wait(all(runtimes, [](ActionExecutionClient& one) { return one.async_connect(); }));
    const double created = ms_since(start);
    int alive = 0;
    for (const auto& one : runtimes) {
      alive += with_shell ? one->run({.command = "echo live"}).content == "live" : one->check_if_alive();
    }
    std::set<pid_t> pids = sandbox_processes();
    for (const pid_t old : before) pids.erase(old);
    const double pss = pss_kb(pids) / count;
    const double used = (memory_in_use_kb() - used_before) / count;
    const auto ending = Clock::now();
    engine_.wait(all(runtimes, [](ActionExecutionClient& one) { return one.async_close(); }));
    std::printf(
        "{\"what\":\"%s\",\"n\":%d,\"alive\":%d,\"processes_each\":%.2f,\"pss_kb_each\":%.0f,"
        "\"memory_in_use_kb_each\":%.0f,\"created_per_s\":%.0f,\"ended_per_s\":%.0f}\n",
        name.c_str(), count, alive, static_cast<double>(pids.size()) / count, pss, used,
        1000.0 * count / created, 1000.0 * count / ms_since(ending));
    std::fflush(stdout);
  }

 private:
  using Step = std::function<asio::awaitable<void>(ActionExecutionClient&)>;
  using Runtimes = std::vector<std::unique_ptr<ActionExecutionClient>>;

  [[nodiscard]] RuntimeOptions options(bool prepared) const {
    RuntimeOptions options;
    options.ledger = ledger_;
    options.setup_environment = prepared;
    return options;
  }

  // Eight at a time.
  asio::awaitable<void> all(Runtimes& runtimes, Step step) {
    TaskGroup group(engine_);
    std::size_t next = 0;
    const auto worker = [&]() -> asio::awaitable<void> {
      while (next < runtimes.size()) co_await step(*runtimes[next++]);
    };
    for (int i = 0; i < 8; ++i) group.spawn(worker());
    co_await group.join();
  }

  Engine engine_;
  const std::string program_;
  const OpenHandsConfig config_;
  std::shared_ptr<Ledger> ledger_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: local_bench SANDKEY_PROGRAM [ROUNDS] [IDLE] [LIVE]\n");
    return 2;
  }
  const auto number = [&](int at, int otherwise) { return argc > at ? std::atoi(argv[at]) : otherwise; };
  std::string folder = (fs::temp_directory_path() / "skb-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  ::setenv("SANDKEY_STATE_DIR", folder.c_str(), 1);
  int code = 0;
  try {
    Bench bench(argv[1]);
    bench.times(number(2, 30));
    bench.many(number(3, 100), false, "idle");
    bench.many(number(4, 500), true, "live");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "local_bench: %s\n", error.what());
    code = 1;
  }
  fs::remove_all(folder);
  return code;
}
