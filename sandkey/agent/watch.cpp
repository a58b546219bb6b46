#include "sandkey/agent/watch.h"

#include "sandkey/agent/request_parts.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/events/codec.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using net::HttpError;
using net::HttpExchange;
using Descriptor = asio::posix::stream_descriptor;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::uint32_t kMask = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_MODIFY | IN_ATTRIB | IN_DELETE |
                                IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

constexpr std::size_t kEventBuffer = std::size_t{64} * 1024;

[[noreturn]] void fail(const std::string& doing, int error_number) {
  const Error error = system_error(doing, error_number);
  throw HttpError(status_of(error), error.what());
}

json::array names_of(std::uint32_t mask) {
  json::array names;
  if ((mask & (IN_CREATE | IN_MOVED_TO)) != 0) names.emplace_back("create");
  if ((mask & (IN_MOVED_FROM | IN_MOVE_SELF)) != 0) names.emplace_back("rename");
  if ((mask & IN_ATTRIB) != 0) names.emplace_back("attributes");
  if ((mask & IN_MODIFY) != 0) names.emplace_back("write");
  if ((mask & (IN_DELETE | IN_DELETE_SELF)) != 0) names.emplace_back("remove");
  return names;
}

// A folder, and with `recursive` those below it. Lines for the client gather in take().
class Watch {
 public:
  Watch(int inotify, std::string root, bool recursive)
      : inotify_(inotify), root_(std::move(root)), recursive_(recursive) {}

  void start() {
    add("");
    if (folders_.empty()) fail("watching " + root_, errno);
  }

  void handle(const inotify_event& event, std::string_view name) {
    if ((event.mask & IN_Q_OVERFLOW) != 0) {
      end("more changed at once than could be told; look at the folder and watch it anew");
      return;
    }
    const auto found = folders_.find(event.wd);
    if (found == folders_.end()) return;
    if ((event.mask & IN_IGNORED) != 0) {
      folders_.erase(found);
      return;
    }
    const bool of_itself = name.empty();
    if (of_itself && !found->second.empty()) return;  // its parent tells the same
    const std::string path = of_itself ? "." : join(found->second, name);
    report(path, event.mask);
    if ((event.mask & IN_ISDIR) == 0 || of_itself || !recursive_) return;
    if ((event.mask & IN_MOVED_FROM) != 0) forget(path);
    if ((event.mask & (IN_CREATE | IN_MOVED_TO)) != 0) add(path, true);
  }

  [[nodiscard]] std::string take() { return std::exchange(lines_, {}); }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  static std::string join(const std::string& folder, std::string_view name) {
    return folder.empty() ? std::string(name) : folder + "/" + std::string(name);
  }

  void report(const std::string& name, std::uint32_t mask) {
    json::array events = names_of(mask);
    if (events.empty()) return;
    lines_ += write_json(json::object{{"name", name}, {"events", std::move(events)}}) + "\n";
  }

  void end(std::string_view why) {
    lines_ += write_json(json::object{{"error", why}}) + "\n";
    ended_ = true;
  }

  // `fresh`: what is in it was not seen being made.
  void add(const std::string& folder, bool fresh = false) {
    if (ended_) return;
    const std::string path = folder.empty() ? root_ : root_ + "/" + folder;
    if (folders_.size() >= kMaxWatchedFolders) {
      end("there are more than " + std::to_string(kMaxWatchedFolders) + " folders to watch");
      return;
    }
    const std::uint32_t follow = folder.empty() ? 0U : IN_DONT_FOLLOW;
    const int number = ::inotify_add_watch(inotify_, path.c_str(), kMask | follow);
    if (number < 0) {
      const bool gone = errno == ENOENT || errno == ENOTDIR || errno == EACCES;
      if (!folder.empty() && !gone) end("watching " + path + ": " + std::strerror(errno));
      return;  // the root's caller looks
    }
    folders_[number] = folder;
    if (!recursive_) return;
    std::error_code error;
    for (fs::directory_iterator it(path, error), last; !error && it != last; it.increment(error)) {
      const std::string name = join(folder, it->path().filename().string());
      if (fresh) report(name, IN_CREATE);
      std::error_code ignored;
      if (fs::is_directory(it->symlink_status(ignored))) add(name, fresh);
    }
  }

  void forget(const std::string& folder) {
    for (const auto& [number, path] : folders_) {
      if (path == folder || path.starts_with(folder + "/")) ::inotify_rm_watch(inotify_, number);
    }  // each is erased when the kernel confirms
  }

  int inotify_;
  std::string root_;
  bool recursive_;
  std::map<int, std::string> folders_;
  std::string lines_;
  bool ended_ = false;
};

void read_events(int inotify, Watch& watch) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): written before read
  std::array<char, kEventBuffer> buffer;
  while (!watch.ended()) {
    const ssize_t size = ::read(inotify, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    for (ssize_t at = 0; at < size && !watch.ended();) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* const name = buffer.data() + at + sizeof event;
      watch.handle(event, {name, event.len == 0 ? 0 : ::strnlen(name, event.len)});
      at += static_cast<ssize_t>(sizeof event + event.len);
    }
  }
}

// False when nothing came for as long as a connection may be silent.
asio::awaitable<bool> wait_for_events(std::shared_ptr<Descriptor> inotify) {
  asio::steady_timer timer(inotify->get_executor(), kWatchKeepAlive);
  timer.async_wait([inotify](const boost::system::error_code& error) {
    boost::system::error_code ignored;
    if (!error) inotify->cancel(ignored);
  });
  const auto [error] = co_await inotify->async_wait(Descriptor::wait_read, kAsTuple);
  co_return !error;
}

}  // namespace

asio::awaitable<void> watch_folder(asio::any_io_executor executor, HttpExchange& exchange) {
  const std::string path = absolute_path(exchange, "path");
  UniqueFd made(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!made) fail("watching " + path, errno);
  const int number = made.get();
  auto inotify = std::make_shared<Descriptor>(executor, made.release());
  Watch watch(number, path, exchange.query("recursive").value_or("") == "1");
  watch.start();
  bool alive = co_await exchange.start(200, "application/x-ndjson");
  std::string lines = "{\"watching\":true}\n" + watch.take();
  while (alive) {
    alive = co_await exchange.write(lines);
    if (!alive || watch.ended()) break;
    const bool events = co_await wait_for_events(inotify);
    if (events) read_events(number, watch);
    lines = watch.take();
    if (lines.empty()) lines = "\n";
  }
  if (alive) (void)co_await exchange.finish();
}

}  // namespace sandkey::agent
