// Our standard input as coroutines can read it.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <memory>
#include <span>

namespace sandkey::cli {

// Standard input may be a file, which no event loop can wait for, so a thread reads it into a pipe. The
// destructor tells the thread to end and does not wait for that: who shares our input may take what the
// thread was told of, and then its read lasts.
class StandardInput {
 public:
  explicit StandardInput(const boost::asio::any_io_executor& executor);
  ~StandardInput();
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;

  // 0 at its end.
  [[nodiscard]] boost::asio::awaitable<std::size_t> read_some(std::span<std::byte> buffer);

 private:
  struct Reader;
  std::unique_ptr<Reader> reader_;
  UniqueFd stop_;
};

}  // namespace sandkey::cli
