#include "sandkey/runtime/oldest_sandbox.h"

#include "sandkey/base/error.h"

#include <optional>
#include <utility>

namespace sandkey {
namespace {

constexpr std::chrono::seconds kCleanUp{30};

}  // namespace

asio::awaitable<CreatedSandbox> keep_oldest(Engine& engine, Provider& provider, SandboxId own,
                                            std::string sid, Deadline deadline) {
  std::optional<SandboxId> oldest;
  std::optional<Error> failed;
  try {
    oldest = co_await provider.find(std::move(sid), deadline);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) throw;
    failed = error;
  }
  if (failed) {
    co_await provider.destroy(own, engine.in(kCleanUp));
    throw_error(*failed);
  }
  if (!oldest || *oldest == own) co_return CreatedSandbox{.id = own};
  co_await provider.destroy(own, engine.in(kCleanUp));
  co_return CreatedSandbox{.id = *oldest, .own = false};
}

}  // namespace sandkey
