#include "sandkey/providers/e2b/emulator/envd/test_sandbox.h"

#include <utility>

namespace sandkey::e2b_envd {

TestSandbox::TestSandbox(EnvdSettings settings, std::optional<std::uint64_t> disk_bytes)
    : sandbox_(disk_bytes) {
  if (settings.sandbox_id.empty()) settings.sandbox_id = sandbox_.id();
  sandbox_.run(
      [this, &settings] { envd_.emplace(engine(), engine().executor(0), agent(), std::move(settings)); });
  sandbox_.serve([this](net::HttpExchange& exchange) { return envd_->handle(exchange); });
}

TestSandbox::~TestSandbox() {
  sandbox_.kill();
  engine().wait(envd_->close());
  sandbox_.stop();
  sandbox_.run([this] { envd_.reset(); });
}

void TestSandbox::pause() {
  sandbox_.run([this] { envd_->paused(); });
  sandbox_.pause();
}

void TestSandbox::resume() {
  sandbox_.resume();
  sandbox_.run([this] { envd_->resumed(); });
}

}  // namespace sandkey::e2b_envd
