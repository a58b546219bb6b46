// One session's sandbox where a cloud would make two.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/runtime/provider.h"

#include <boost/asio/awaitable.hpp>

#include <string>

namespace sandkey {

// Two who create one session's sandbox at once, perhaps on two machines, end up in the older one, which
// find() gives; `own`, which was just made, is ended if it is not that one, and also if nobody can tell.
asio::awaitable<CreatedSandbox> keep_oldest(Engine& engine, Provider& provider, SandboxId own,
                                            std::string sid, Deadline deadline);

}  // namespace sandkey
