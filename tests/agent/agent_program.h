// The real sandkey-agent, started by a test on sockets of its own.
#pragma once

#include "sandkey/base/json.h"
#include "tests/agent/raw_http.h"

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::test {

// A folder in /tmp that others may enter, removed with everything in it.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view content, unsigned mode = 0644);
[[nodiscard]] std::string read_file(const std::string& path);  // empty if it is not there
[[nodiscard]] std::vector<std::string> names_in(const std::string& folder);

// A named pipe that is always open here: a command that writes to it tells the test, one that reads waits for
// it.
class Fifo {
 public:
  explicit Fifo(std::string path);
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  void say(std::string_view line);
  [[nodiscard]] bool wait_for_line();  // false: it did not come for very long

 private:
  std::string path_;
  UniqueFd fd_;
};

struct ProgramOptions {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;  // added to a minimal one
  std::optional<uid_t> user;             // needs root
};

struct ProgramEnd {
  int code = -1;  // 128 + signal
  std::string output;
};

// Runs the program to its end.
[[nodiscard]] ProgramEnd run_agent(const ProgramOptions& options);

// Runs it until the end of the object. The addresses it listens on are those it was given; ports are known
// from what it printed.
class AgentProgram {
 public:
  explicit AgentProgram(const ProgramOptions& options);
  ~AgentProgram();
  AgentProgram(const AgentProgram&) = delete;
  AgentProgram& operator=(const AgentProgram&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  // SIGTERM; the exit code, or 128 + the signal that ended it.
  int terminate();
  [[nodiscard]] bool running() const;
  [[nodiscard]] std::size_t peak_memory() const;  // VmHWM in bytes

 private:
  pid_t pid_ = -1;
  UniqueFd output_;
  std::string printed_;
  std::uint16_t port_ = 0;
};

// A request with a body of known length.
[[nodiscard]] std::string request(std::string_view method, std::string_view target,
                                  std::string_view body = {}, std::string_view headers = {});
[[nodiscard]] std::string action(std::string_view type, json::object args,
                                 std::optional<double> timeout = {});
[[nodiscard]] std::string form(std::string_view filename, std::string_view content,
                               std::string_view field = "file");
inline constexpr std::string_view kFormHeader = "Content-Type: multipart/form-data; boundary=b0und\r\n";

struct ZipEntry {
  std::string name;
  std::string data;
  std::optional<std::uint32_t> claimed_size = std::nullopt;  // a lie about how much it unpacks to
};
[[nodiscard]] std::string make_zip(const std::vector<ZipEntry>& entries);

// True once it is; false when it is not for very long. For what follows from an action, but not at once.
template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + RawClient::kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

}  // namespace sandkey::test
