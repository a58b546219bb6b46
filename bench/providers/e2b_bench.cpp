// Our side of one row: e2b_bench OPERATION TIMES
//
//   cloud    the cloud's own part of a create: that request alone, by our control plane
//   create   a runtime constructed, connected, and its first command's result; another sandbox each time
//   list     the account's sandboxes
//
// The credential and the addresses come from the environment, as E2B's SDKs read them. Once before, untimed;
// so what is timed is an account that is signed in. Prints JSON: medians of wall-clock milliseconds, CPU
// milliseconds each, and the process's largest memory.
#include "sandkey/accounts/accounts.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/e2b/control_plane.h"
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

constexpr char kTemplate[] = "sandkey";  // of the emulator: it holds our agent already

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
  Bench() {
    config_.runtime = "e2b";
    config_.sandbox.base_container_image = kTemplate;
    const Cloud cloud = find_provider(config_.runtime).cloud.value();
    const auto account = engine_.wait(engine_.shared<Accounts>()->sign_in(cloud, config_));
    control_ = std::make_unique<e2b::ControlPlane>(std::dynamic_pointer_cast<RestAccount>(account));
  }

  // Throws Error(invalid_argument) for an operation that there is not.
  void run(std::string_view operation, int times) {
    const auto once = operation == "cloud"    ? &Bench::cloud
                      : operation == "create" ? &Bench::create
                      : operation == "list"   ? &Bench::list
                                              : nullptr;
    if (once == nullptr) throw Error(ErrorCode::invalid_argument, "there is no such operation");
    (this->*once)();
    measurement_.forget();
    for (int i = 0; i < times; ++i) (this->*once)();
    measurement_.print();
  }

 private:
  void cloud() {
    e2b::NewSandbox wanted{.template_id = kTemplate, .timeout = 5min};
    std::string id;
    measurement_.time([&] { id = engine_.wait(control_->create(std::move(wanted), engine_.in(1min))).id; });
    engine_.wait(control_->kill(std::move(id), engine_.in(1min)));
  }

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
    if (!provider_) provider_ = make_provider(engine_, config_);
    measurement_.time([&] {
      if (engine_.wait(provider_->list(engine_.in(1min))).empty()) {
        throw Error(ErrorCode::internal, "the list is empty");
      }
    });
  }

  Engine engine_;
  OpenHandsConfig config_;
  std::unique_ptr<e2b::ControlPlane> control_;
  std::shared_ptr<Provider> provider_;
  Measurement measurement_;
  int number_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::atoi(argv[2]) < 1) {
    std::fputs("usage: e2b_bench cloud|create|list TIMES\n", stderr);
    return 2;
  }
  try {
    Bench bench;
    bench.run(argv[1], std::atoi(argv[2]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "e2b_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
