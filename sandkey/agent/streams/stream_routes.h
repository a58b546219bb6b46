// Streams over HTTP: processes and connections that survive a broken client connection.
//
//   POST   /sandkey/v1/exec                start a process and follow it   (body: ExecRequest as JSON)
//   POST   /sandkey/v1/dial                connect to a port inside and follow it   ({"id", "port"})
//   GET    /sandkey/v1/streams/ID          how far it is
//   GET    /sandkey/v1/streams/ID/output?stdout=N&stderr=N    follow it from these offsets
//   POST   /sandkey/v1/streams/ID/ack?stdout=N&stderr=N       everything before them was received
//   POST   /sandkey/v1/streams/ID/input?offset=N[&eof=1]      bytes for stdin or the connection
//   POST   /sandkey/v1/streams/ID/signal?number=N[&alone=1]   to what is in the foreground, or the process
//   alone POST   /sandkey/v1/streams/ID/resize?rows=N&columns=N DELETE /sandkey/v1/streams/ID          end
//   and forget it
//
// Following a process says its number in X-Sandkey-Pid.
//
// The client chooses the id; starting the same id again follows the existing stream, so a lost reply starts
// nothing twice. Following yields frames: one byte kind, four bytes length (big endian), payload. Kinds: 0
// nothing (keeps the connection alive), 1 stdout, 2 stderr, 3 the result as JSON, always last.
#pragma once

#include "sandkey/agent/streams/stream.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sandkey::net {
class HttpExchange;
}

namespace sandkey::agent {

class ChildReaper;

enum class FrameKind : std::uint8_t { keep_alive = 0, out = 1, err = 2, result = 3 };

class StreamRoutes {
 public:
  static constexpr std::size_t kMaxStreams = 1000;
  static constexpr std::size_t kMaxFrame = std::size_t{64} * 1024;
  static constexpr std::chrono::seconds kKeepAlive{15};
  static constexpr std::chrono::seconds kForgetFinished{600};  // with nobody following
  static constexpr std::chrono::seconds kDefaultLinger{300};   // a running one nobody follows is then ended

  StreamRoutes(boost::asio::any_io_executor executor, ChildReaper& reaper,
               std::vector<std::string> environment, std::string working_dir);
  ~StreamRoutes();

  // `path` is what follows /sandkey/v1/. False: not one of ours.
  [[nodiscard]] boost::asio::awaitable<bool> handle(net::HttpExchange& exchange, std::string_view path);
  void close();

 private:
  struct Entry {
    std::shared_ptr<Stream> stream;
    std::chrono::seconds linger{kDefaultLinger};
  };

  boost::asio::awaitable<void> start_exec_stream(net::HttpExchange& exchange);
  boost::asio::awaitable<void> start_dial_stream(net::HttpExchange& exchange);
  boost::asio::awaitable<void> follow(net::HttpExchange& exchange, std::shared_ptr<Stream> stream,
                                      std::uint64_t out, std::uint64_t err);
  boost::asio::awaitable<void> take_input(net::HttpExchange& exchange, std::shared_ptr<Stream> stream);
  [[nodiscard]] std::shared_ptr<Stream> find(const std::string& id);
  // Before another stream is added. Throws HttpError(429) when all there are still run or are followed.
  void make_room();
  void sweep();

  boost::asio::any_io_executor executor_;
  ChildReaper& reaper_;
  std::vector<std::string> environment_;
  std::string working_dir_;
  std::unordered_map<std::string, Entry> streams_;
};

}  // namespace sandkey::agent
