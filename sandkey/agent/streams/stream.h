// What a client can follow, feed and resume: a process's input and outputs, or a connection inside the
// sandbox.
#pragma once

#include "sandkey/agent/streams/output_window.h"
#include "sandkey/base/async_event.h"
#include "sandkey/base/json.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sandkey::agent {

// Output is held until the client acknowledged it (OutputWindow), so that a client whose connection broke
// goes on at the byte it had reached. Input carries its offset, so that repeated bytes are taken once.
class Stream {
 public:
  enum Channel : std::uint8_t { kStdout = 0, kStderr = 1 };
  static constexpr std::size_t kChannels = 2;

  Stream(boost::asio::any_io_executor executor, std::string id);
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  // Of the process that was started; 0 of a connection.
  [[nodiscard]] virtual int pid() const noexcept { return 0; }
  [[nodiscard]] OutputWindow& output(std::size_t channel) noexcept { return outputs_[channel]; }
  // Nothing more will come on any channel, and result() is there.
  [[nodiscard]] bool finished() const noexcept { return result_.has_value(); }
  // How it ended: {"exit_code", "signal", "timed_out"} of a process, {"error"} of a connection.
  [[nodiscard]] const std::optional<json::object>& result() const noexcept { return result_; }
  // Notified when there is more output, more room, or a result.
  [[nodiscard]] AsyncEvent& changed() noexcept { return changed_; }
  void acknowledge(std::size_t channel, std::uint64_t offset);

  // Bytes of input taken so far.
  [[nodiscard]] std::uint64_t input_offset() const noexcept { return input_offset_; }
  // Whether the other end takes more.
  [[nodiscard]] bool input_open() const noexcept { return input_open_; }
  // One writer at a time; `input_busy` keeps a second one out.
  bool input_busy = false;
  // Hands over input, waiting until it is taken. False: the other end does not want it any more.
  [[nodiscard]] virtual boost::asio::awaitable<bool> write_input(std::span<const char> data) = 0;
  virtual void close_input() = 0;
  // Makes a waiting write_input() give up; what it had handed over stays counted.
  virtual void cancel_input() = 0;

  // To what runs in the foreground, or to the process that was started alone.
  virtual void signal(int number, bool alone) = 0;
  virtual void resize(unsigned rows, unsigned columns) = 0;
  // Ends it now, whatever it is doing.
  virtual void kill() = 0;

  // When the last client left; max() while one follows. Streams nobody follows are ended after a while.
  std::chrono::steady_clock::time_point left_at = std::chrono::steady_clock::now();
  int followers = 0;

 protected:
  // Returns when there is room for output; false if the stream was ended meanwhile.
  [[nodiscard]] boost::asio::awaitable<bool> wait_for_room(std::size_t channel);
  void produce(std::size_t channel, std::string_view bytes);
  void finish(json::object result);

  boost::asio::any_io_executor executor_;
  std::uint64_t input_offset_ = 0;
  bool input_open_ = true;

 private:
  std::string id_;
  std::array<OutputWindow, kChannels> outputs_;
  std::optional<json::object> result_;
  AsyncEvent changed_;
};

}  // namespace sandkey::agent
