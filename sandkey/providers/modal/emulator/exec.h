// Something that runs in a sandbox, with its own input and outputs: a command, or one of the file tools.
#pragma once

#include "sandkey/base/async_event.h"
#include "sandkey/base/turnstile.h"
#include "sandkey/providers/modal/emulator/output_log.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>

namespace sandkey::modal::emulator {

namespace asio = boost::asio;

struct ExitStatus {
  int code = 0;
  std::optional<int> signal = std::nullopt;  // that ended it
};

// On one thread; held by whoever uses it.
class Exec {
 public:
  // Each output keeps at most so many bytes.
  Exec(asio::any_io_executor executor, std::size_t output_limit);
  virtual ~Exec() = default;
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;

  // Runs it to its end, whatever that is. Spawned once.
  static asio::awaitable<void> run(std::shared_ptr<Exec> exec);
  // Returns once it runs; throws what keeps it from that.
  asio::awaitable<void> started();

  [[nodiscard]] OutputLog& out() noexcept { return out_; }
  [[nodiscard]] OutputLog& error() noexcept { return error_; }
  // How it ended; nothing while it runs, and for ever if its sandbox went first.
  [[nodiscard]] const std::optional<ExitStatus>& exit() const noexcept { return exit_; }
  [[nodiscard]] bool over() const noexcept { return exit_ || failure_; }
  // Notified when it starts, has output, or is over.
  [[nodiscard]] AsyncEvent& changed() noexcept { return changed_; }

  // It will not come to its end any more: its sandbox has gone.
  void give_up();

  // Input at that offset of all there will be: what was written before is not written again. Throws
  // CallError(failed_precondition) where there is a gap, or nobody to take it. A lone end is always taken.
  asio::awaitable<void> write(std::uint64_t offset, std::string data, bool end);
  [[nodiscard]] std::uint64_t written() const noexcept { return written_; }
  [[nodiscard]] bool input_closed() const noexcept { return input_closed_ || over(); }
  // A stream of input has a number of its own, and gives way to who takes the next one.
  [[nodiscard]] std::uint64_t take_input() noexcept { return ++input_owner_; }
  [[nodiscard]] std::uint64_t input_owner() const noexcept { return input_owner_; }

 protected:
  // What it does. Calls mark_started() when it runs.
  virtual asio::awaitable<ExitStatus> perform() = 0;
  // False if it takes no more.
  virtual asio::awaitable<bool> feed(std::string data) = 0;
  virtual asio::awaitable<void> close_input() = 0;

  void mark_started();
  void put(OutputLog& log, std::string_view bytes);
  [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }

 private:
  asio::any_io_executor executor_;
  OutputLog out_;
  OutputLog error_;
  AsyncEvent changed_;
  Turnstile input_;
  bool started_ = false;
  bool input_closed_ = false;
  std::uint64_t written_ = 0;
  std::uint64_t input_owner_ = 0;
  std::optional<ExitStatus> exit_;
  std::exception_ptr failure_;
};

}  // namespace sandkey::modal::emulator
