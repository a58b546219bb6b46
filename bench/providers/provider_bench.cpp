// Our side of one row: provider_bench PROVIDER OPERATION TIMES
//
//   create   a runtime constructed, connected, and its first command's result; another sandbox each time
//   list     the account's sandboxes
//
// The credential and the addresses come from the environment, as the vendors' SDKs read them. Once before,
// untimed; so what is timed is an account that is signed in. Prints JSON: medians of wall-clock milliseconds,
// CPU milliseconds each, and the process's largest memory.
#include "sandkey/base/error.h"
#include "sandkey/providers/registry.h"
#include "sandkey/runtime/ledger.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace sandkey;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr char kImage[] = "sandkey";  // of the emulated clouds: it holds our agent already

double cpu_ms() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) * 1e-3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

// Of this program alone: what getrusage() says began with whoever started it.
double peak_memory_mb() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmHWM:")) return std::strtod(line.c_str() + 6, nullptr) / 1024;
  }
  return 0;
}

class Measurement {
 public:
  void time(const std::function<void()>& work) {
    const auto began = Clock::now();
    const double cpu = cpu_ms();
    work();
    cpu_ += cpu_ms() - cpu;
    wall_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - began).count());
  }
  void forget() { *this = {}; }
  void print() {
    std::sort(wall_.begin(), wall_.end());
    std::printf("{\"wall_ms\": %.3f, \"cpu_ms\": %.3f, \"memory_mb\": %.1f}\n", wall_[wall_.size() / 2],
                cpu_ / static_cast<double>(wall_.size()), peak_memory_mb());
  }

 private:
  std::vector<double> wall_;
  double cpu_ = 0;
};

class Bench {
 public:
  explicit Bench(const std::string& provider) {
    config_.runtime = provider;
    config_.sandbox.base_container_image = kImage;
    provider_ = make_provider(engine_, config_);  // signs in, for the runtimes as well
  }

  // Throws Error(invalid_argument) for an operation that there is not.
  void run(std::string_view operation, int times) {
    const auto once = operation == "create" ? &Bench::create : operation == "list" ? &Bench::list : nullptr;
    if (once == nullptr) throw Error(ErrorCode::invalid_argument, "there is no such operation");
    (this->*once)();
    measurement_.forget();
    for (int i = 0; i < times; ++i) (this->*once)();
    measurement_.print();
  }

 private:
  void create() {
    RuntimeOptions options;
    options.setup_environment = false;  // the SDKs set nothing up either
    std::unique_ptr<ActionExecutionClient> runtime;
    measurement_.time([&] {
      runtime =
          make_runtime(engine_, config_, nullptr, "bench-" + std::to_string(++number_), std::move(options));
      runtime->connect();
      const Observation seen = runtime->run({.command = "true"});
      const auto* output = seen.as<CmdOutputObservation>();
      if (output == nullptr || output->metadata.exit_code != 0)
        throw Error(ErrorCode::internal, "true failed");
    });
    runtime->close();
  }

  void list() {
    measurement_.time([&] {
      if (engine_.wait(provider_->list(engine_.in(1min))).empty()) {
        throw Error(ErrorCode::internal, "the list is empty");
      }
    });
  }

  Engine engine_;
  OpenHandsConfig config_;
  std::shared_ptr<Provider> provider_;
  Measurement measurement_;
  int number_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || std::atoi(argv[3]) < 1) {
    std::fputs("usage: provider_bench PROVIDER create|list TIMES\n", stderr);
    return 2;
  }
  try {
    Bench bench(argv[1]);
    bench.run(argv[2], std::atoi(argv[3]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "provider_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
