// A client that tests can kill: creates one sandbox, prints its id, and waits until its input ends.
// Usage: client FOLDER PROGRAM [--kept] [--thread] [--lease SECONDS] [--count N] [--leave]
#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/sandbox/sandbox.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <thread>

int main(int argc, char** argv) {
  using namespace sandkey;
  using clock = std::chrono::steady_clock;
  try {
    sandbox::Spec spec;
    spec.program = argv[2];
    bool in_thread = false;
    int count = 1;
    for (int i = 3; i < argc; ++i) {
      const std::string_view option = argv[i];
      if (option == "--kept") spec.bound_to_client = false;
      if (option == "--thread") in_thread = true;
      if (option == "--lease") spec.lease = std::chrono::seconds(std::atoi(argv[++i]));
      if (option == "--count") count = std::atoi(argv[++i]);
    }
    Engine engine;
    sandbox::SandboxHost host(engine, argv[1]);
    const auto work = [&] {
      for (int i = 0; i < count; ++i) {
        const auto start = clock::now();
        const std::string id = engine.wait(host.create(spec, engine.in(std::chrono::seconds(20))));
        const std::chrono::duration<double, std::milli> took = clock::now() - start;
        std::printf("%s %.2f\n", id.c_str(), took.count());
        std::fflush(stdout);
      }
    };
    if (in_thread) {
      std::thread(work).join();
    } else {
      work();
    }
    char byte = 0;
    while (::read(0, &byte, 1) > 0) {
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
