#include "fixtures.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace sandkey::runtime_test {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("the socket's path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// Empty at the end of the connection.
std::string receive(int fd) {
  std::array<char, 65536> buffer{};
  ssize_t n = 0;
  do {
    n = ::recv(fd, buffer.data(), buffer.size(), 0);
  } while (n < 0 && errno == EINTR);
  return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return text;
}

}  // namespace

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "sandkey-rt-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) fail("making a temporary folder");
  path_ = fs::canonical(pattern).string();
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file) fail("writing " + path);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

unsigned mode_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777U : 0U;
}

Process::Process(const Spawn& spawn) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const std::array<int, 3> given{spawn.in, spawn.out, spawn.err};
  for (int number = 0; number < 3; ++number) {
    const int fd = given.at(static_cast<std::size_t>(number));
    if (fd >= 0) {
      posix_spawn_file_actions_adddup2(&actions, fd, number);
    } else if (!spawn.controlling_terminal.empty()) {
      // The first terminal that a new session opens becomes its own.
      posix_spawn_file_actions_addopen(&actions, number, spawn.controlling_terminal.c_str(), O_RDWR, 0);
    } else {
      posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0);
    }
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::vector<char*> argv;
  for (const std::string& word : spawn.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::vector<std::string> variables;
  for (const auto& [name, value] : spawn.environment) variables.push_back(name + "=" + value);
  std::vector<char*> envp;
  for (std::string& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);
  const int error = posix_spawn(&pid_, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  errno = error;
  if (error != 0) fail("starting " + spawn.argv[0]);
}

Process::~Process() {
  if (status_) return;
  signal(SIGKILL);
  (void)wait();
}

void Process::signal(int number) const {
  ::kill(pid_, number);
}

int Process::wait() {
  if (status_) return *status_;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return *status_;
}

bool have_python() {
  return ::access("/usr/bin/python3", X_OK) == 0 || ::access("/usr/local/bin/python3", X_OK) == 0;
}

std::map<std::string, std::string> plain_environment(const std::string& home) {
  return {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
          {"HOME", home},
          {"LANG", "C.UTF-8"}};
}

AgentProcess::AgentProcess(std::map<std::string, std::string> more_environment,
                           std::vector<std::string> more_arguments) {
  fs::create_directory(home());
  fs::create_directory(work());
  write_file(home() + "/.bashrc", "");
  Spawn spawn;
  spawn.argv = {SANDKEY_AGENT, "--listen", address(), "--working-dir", work()};
  spawn.argv.insert(spawn.argv.end(), more_arguments.begin(), more_arguments.end());
  spawn.environment = plain_environment(home());
  spawn.environment.insert(more_environment.begin(), more_environment.end());
  const UniqueFd log(::open((dir_ / "agent.log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  spawn.out = log.get();
  spawn.err = log.get();
  process_ = std::make_unique<Process>(spawn);
}

AgentProcess::~AgentProcess() {
  if (!process_) return;
  process_->signal(SIGTERM);
  (void)process_->wait();
  if (::testing::Test::HasFailure()) std::cerr << "the agent said: " << read_file(dir_ / "agent.log") << '\n';
}

void AgentProcess::kill() {
  process_.reset();
}

std::shared_ptr<Provider> fixed(const std::string& address, std::string_view key) {
  return std::make_shared<FixedAgent>(Endpoint::parse(address), Secret(key));
}

OpenHandsConfig quick_config() {
  OpenHandsConfig config;
  config.sandbox.remote_runtime_init_timeout = std::chrono::seconds(60);
  return config;
}

UnixListener::UnixListener(std::string path, Serve serve)
    : path_(std::move(path)),
      serve_(std::move(serve)),
      listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const sockaddr_un address = address_of(path_);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), 128) != 0) {
    fail("listening on " + path_);
  }
  acceptor_ = std::thread([this] {
    while (true) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      if (fd < 0) return;
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        ::close(fd);
        return;
      }
      open_.push_back(fd);
      threads_.emplace_back([this, fd] {
        serve_(*this, fd);
        unwatch(fd);
        ::close(fd);
      });
    }
  });
}

UnixListener::~UnixListener() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    ::shutdown(listener_.get(), SHUT_RDWR);
  }
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
}

void UnixListener::watch(int fd) {
  const std::lock_guard lock(mutex_);
  open_.push_back(fd);
  if (stopping_) ::shutdown(fd, SHUT_RDWR);
}

void UnixListener::unwatch(int fd) {
  const std::lock_guard lock(mutex_);
  std::erase(open_, fd);
}

ScriptedServer::ScriptedServer(Script script) : script_(std::move(script)) {
  listener_ = std::make_unique<UnixListener>(dir_ / "server.sock",
                                             [this](UnixListener& listener, int fd) { serve(listener, fd); });
}

ScriptedServer::~ScriptedServer() = default;

std::vector<ScriptedRequest> ScriptedServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::size_t ScriptedServer::count(std::string_view part_of_line) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(
      requests_.begin(), requests_.end(),
      [&](const ScriptedRequest& request) { return request.line.find(part_of_line) != std::string::npos; }));
}

std::string ScriptedServer::reply(int status, std::string_view body, std::string_view type) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " Scripted\r\nContent-Type: ";
  text += type;
  text += "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  text += body;
  return text;
}

void ScriptedServer::serve(UnixListener&, int fd) {
  std::string pending;
  while (true) {
    std::size_t end = 0;
    while ((end = pending.find("\r\n\r\n")) == std::string::npos) {
      const std::string more = receive(fd);
      if (more.empty()) return;
      pending += more;
    }
    ScriptedRequest request;
    request.head = pending.substr(0, end + 4);
    pending.erase(0, end + 4);
    request.line = request.head.substr(0, request.head.find("\r\n"));
    std::size_t length = 0;
    const std::string folded = lower(request.head);
    const std::size_t field = folded.find("\r\ncontent-length:");
    if (field != std::string::npos) length = std::strtoul(folded.c_str() + field + 17, nullptr, 10);
    if (folded.find("expect: 100-continue") != std::string::npos)
      (void)send_all(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    const bool chunked = folded.find("transfer-encoding: chunked") != std::string::npos;
    while (chunked ? !pending.ends_with("0\r\n\r\n") : pending.size() < length) {
      const std::string more = receive(fd);
      if (more.empty()) return;
      pending += more;
    }
    request.body = chunked ? std::exchange(pending, {}) : pending.substr(0, length);
    if (!chunked) pending.erase(0, length);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const std::optional<std::string> answer = script_(request);
    if (!answer) {
      while (!receive(fd).empty()) {
      }
      return;
    }
    if (answer->empty()) return;
    if (!send_all(fd, *answer) || answer->find("Connection: close") != std::string::npos) return;
  }
}

CuttingProxy::CuttingProxy(std::string agent_socket, Plan plan)
    : agent_socket_(std::move(agent_socket)), plan_(std::move(plan)) {
  listener_ = std::make_unique<UnixListener>(dir_ / "proxy.sock",
                                             [this](UnixListener& listener, int fd) { serve(listener, fd); });
}

CuttingProxy::~CuttingProxy() = default;

int CuttingProxy::requests(std::string_view part_of_line) const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::count_if(lines_.begin(), lines_.end(), [&](const std::string& line) {
    return line.find(part_of_line) != std::string::npos;
  }));
}

void CuttingProxy::serve(UnixListener& listener, int client) {
  const UniqueFd agent(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(agent_socket_);
  if (::connect(agent.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
  struct Watched {
    UnixListener& listener;
    int fd;
    Watched(UnixListener& l, int f) : listener(l), fd(f) { listener.watch(fd); }
    ~Watched() { listener.unwatch(fd); }
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
  };
  const Watched watched(listener, agent.get());

  // A request begins with the first bytes that come after a reply; nobody here pipelines.
  bool in_reply = true;
  Cut cut;
  std::size_t sent = 0;
  std::string reply_head;
  std::array<pollfd, 2> ready{{{client, POLLIN, 0}, {agent.get(), POLLIN, 0}}};
  while (::poll(ready.data(), ready.size(), -1) >= 0 || errno == EINTR) {
    if (ready[1].revents != 0) {
      std::string bytes = receive(agent.get());
      if (bytes.empty()) return;
      if (!std::exchange(in_reply, true)) {
        sent = 0;
        reply_head.clear();
      }
      std::size_t allowed = std::string::npos;
      if (cut.where == Cut::Where::reply) allowed = cut.after;
      if (cut.where == Cut::Where::payload) {
        if (reply_head.size() < 4096) reply_head += bytes.substr(0, 4096);
        const std::size_t head = reply_head.find("\r\n\r\n");
        const std::size_t chunk =
            head == std::string::npos ? std::string::npos : reply_head.find("\r\n", head + 4);
        // A command's result (frame 3) is let through, or it would never arrive.
        constexpr char kResult = 3;
        if (chunk != std::string::npos && chunk + 2 < reply_head.size() && reply_head[chunk + 2] != kResult)
          allowed = chunk + 2 + 5 + cut.after;
      }
      const bool enough = allowed != std::string::npos && sent + bytes.size() >= allowed;
      if (enough) bytes.resize(allowed - std::min(allowed, sent));
      sent += bytes.size();
      if (!send_all(client, bytes)) return;
      if (enough) {
        ++cuts_;
        return;
      }
      continue;  // replies first, so that what comes next is known to be a request
    }
    if (ready[0].revents != 0) {
      std::string bytes = receive(client);
      if (bytes.empty()) return;
      if (std::exchange(in_reply, false)) {
        const std::string line = bytes.substr(0, bytes.find("\r\n"));
        const std::lock_guard lock(mutex_);
        lines_.push_back(line);
        cut = plan_(line);
        sent = 0;
      }
      const bool enough = cut.where == Cut::Where::request && sent + bytes.size() >= cut.after;
      if (enough) bytes.resize(cut.after - std::min(cut.after, sent));
      sent += bytes.size();
      if (!send_all(agent.get(), bytes)) return;
      if (enough) {
        ++cuts_;
        return;
      }
    }
  }
}

}  // namespace sandkey::runtime_test
