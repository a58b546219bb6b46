// Sandboxes to look at from inside and outside.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/sandbox/sandbox.h"

#include <gtest/gtest.h>

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::sandbox_test {

using namespace std::chrono_literals;

// Goes with all that is in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view text);
[[nodiscard]] std::string read_file(const std::string& path);

// What a shell inside said, and its exit status (-1: it was cut off).
struct Said {
  std::string output;
  int code = -1;
};

[[nodiscard]] UniqueFd connect_unix(const std::string& path);
[[nodiscard]] UniqueFd connect_tcp(std::uint16_t port);
void send_all(int fd, std::string_view bytes);
// Up to the end, or to `bytes` of them.
[[nodiscard]] std::string receive(int fd, std::size_t bytes = ~std::size_t{0});
[[nodiscard]] Said run_at(const std::string& agent_socket, std::string_view script);

[[nodiscard]] bool is_alive(pid_t pid);
// Polls until it holds, for at most ten seconds.
[[nodiscard]] bool eventually(const std::function<bool()>& condition);
[[nodiscard]] pid_t keeper_of(pid_t init);
[[nodiscard]] std::vector<pid_t> children_of(pid_t pid);
// Control groups of sandboxes whose id is this.
[[nodiscard]] std::vector<std::string> groups_of(const std::string& id);

using sandbox::Spec;
using sandbox::Status;

class SandboxTest : public ::testing::Test {
 protected:
  [[nodiscard]] static Spec spec();
  std::string create(Spec wanted = spec()) { return engine.wait(host.create(std::move(wanted), soon())); }
  Said inside(const std::string& id, std::string_view script) { return run_at(host.socket(id), script); }
  Status describe(const std::string& id) { return engine.wait(host.describe(id, soon())); }
  void destroy(const std::string& id) { engine.wait(host.destroy(id, soon())); }
  [[nodiscard]] Deadline soon() const { return engine.in(20s); }
  [[nodiscard]] std::optional<ErrorCode> failure_of(const std::function<void()>& work);
  [[nodiscard]] std::optional<ErrorCode> failure_to_create(Spec wanted);
  [[nodiscard]] bool nothing_left() const;

  TempDir dir;
  Engine engine;
  std::string folder = dir / "s";
  sandbox::SandboxHost host{engine, folder};
  std::string message;  // of the last failure
};

// A client in a process of its own, which can be killed.
class Client {
 public:
  Client(const std::string& folder, std::vector<std::string> options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  [[nodiscard]] std::string id();  // of the next sandbox it made
  void kill();

 private:
  pid_t pid_ = -1;
  UniqueFd in_;
  UniqueFd out_;
};

}  // namespace sandkey::sandbox_test
