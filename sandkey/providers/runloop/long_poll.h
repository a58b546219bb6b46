// Questions that Runloop holds until there is something to say, or its patience is over: then they are asked
// again at once, so that nobody learns of anything later than it happens.
#pragma once

#include "sandkey/base/engine.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <functional>
#include <string>

namespace sandkey::runloop {

struct Question {
  std::chrono::seconds hold;  // how long Runloop may hold it
  Deadline deadline;          // a little later
};

// Sends one question. Gives what is waited for as it stands ("provisioning"), or nothing where the wait is
// over.
using Ask = std::function<asio::awaitable<std::string>(Question)>;

// Asks until the wait is over. Neither Runloop's patience nor ours (deadline_exceeded) ends it, nor a
// connection that breaks (unavailable), unless that happens time and again; all other errors do. What is
// answered without having been held is asked again a little later. Throws deadline_exceeded, saying how it
// stands.
asio::awaitable<void> long_poll(Engine& engine, std::string operation, Deadline deadline, Ask ask);

}  // namespace sandkey::runloop
