#include "fixtures.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace sandkey::sandbox_test {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

}  // namespace

TempDir::TempDir() {
  std::string pattern = "/tmp/sandkey-sb-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) fail("making a temporary folder");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view text) {
  std::ofstream(path) << text;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

UniqueFd connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail("connecting");
  return fd;
}

UniqueFd connect_tcp(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail("connecting");
  return fd;
}

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("sending");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::string receive(int fd, std::size_t bytes) {
  std::string all;
  std::array<char, 65536> piece{};
  while (all.size() < bytes) {
    const ssize_t n = ::recv(fd, piece.data(), std::min(piece.size(), bytes - all.size()), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    all.append(piece.data(), static_cast<std::size_t>(n));
  }
  return all;
}

Said run_at(const std::string& agent_socket, std::string_view script) {
  const UniqueFd fd = connect_unix(agent_socket);
  send_all(fd.get(), script);
  ::shutdown(fd.get(), SHUT_WR);
  const std::string all = receive(fd.get());
  const std::size_t end = all.rfind('\0');
  if (end == std::string::npos || all.substr(end + 1) == "fork") return {all.substr(0, end), -1};
  return {all.substr(0, end), std::stoi(all.substr(end + 1))};
}

bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const std::size_t end = text.rfind(')');
  return end != std::string::npos && text[end + 2] != 'Z' && text[end + 2] != 'X';
}

bool eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

namespace {

pid_t parent_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const std::size_t end = text.rfind(')');
  return end == std::string::npos ? -1 : std::stoi(text.substr(end + 4));
}

}  // namespace

pid_t keeper_of(pid_t init) {
  return parent_of(parent_of(init));
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> found;
  const std::string name = std::to_string(pid);
  std::ifstream in("/proc/" + name + "/task/" + name + "/children");
  for (pid_t child = 0; in >> child;) found.push_back(child);
  return found;
}

std::vector<std::string> groups_of(const std::string& id) {
  std::vector<std::string> found;
  std::error_code error;
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator entry("/sys/fs/cgroup", options, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string().starts_with("sandkey-" + id)) found.push_back(entry->path());
  }
  return found;
}

Spec SandboxTest::spec() {
  Spec made;
  made.program = SANDKEY_TEST_INIT;
  made.limits.disk_bytes = std::uint64_t{16} << 20;
  return made;
}

std::optional<ErrorCode> SandboxTest::failure_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    message = error.what();
    return error.code();
  }
  return std::nullopt;
}

std::optional<ErrorCode> SandboxTest::failure_to_create(Spec wanted) {
  return failure_of([&] { (void)create(std::move(wanted)); });
}

bool SandboxTest::nothing_left() const {
  std::error_code error;
  return fs::is_empty(folder, error) || error;
}

Client::Client(const std::string& folder, std::vector<std::string> options) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) fail("making pipes");
  in_.reset(in[1]);
  out_.reset(out[0]);
  const UniqueFd their_in(in[0]);
  const UniqueFd their_out(out[1]);
  std::vector<std::string> command{SANDKEY_TEST_CLIENT, folder, SANDKEY_TEST_INIT};
  command.insert(command.end(), options.begin(), options.end());
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, their_in.get(), 0);
  ::posix_spawn_file_actions_adddup2(&actions, their_out.get(), 1);
  const int error = ::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("starting a client");
}

Client::~Client() {
  kill();
}

std::string Client::id() {
  std::string line;
  char c = 0;
  while (::read(out_.get(), &c, 1) == 1 && c != '\n') line += c;
  return line.substr(0, line.find(' '));
}

void Client::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace sandkey::sandbox_test
