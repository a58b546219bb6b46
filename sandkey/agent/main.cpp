// sandkey-agent: the action execution server that runs inside a sandbox.
#include "sandkey/agent/agent.h"
#include "sandkey/agent/identity.h"
#include "sandkey/agent/version.h"
#include "sandkey/base/descriptors.h"
#include "sandkey/base/error.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using sandkey::Error;
using sandkey::ErrorCode;

constexpr std::string_view kHelp = R"(sandkey-agent: executes an agent's actions inside a sandbox

Usage: sandkey-agent --listen unix:PATH|HOST:PORT|fd:N [options]

  --listen ADDRESS          where to serve; may be given several times. HOST is numeric or 'localhost';
                            port 0 lets the system choose (the choice is printed); fd:N is an inherited
                            Unix socket that listens already
  --ready-fd N              an inherited descriptor to write a line to, and close, once it serves
  --working-dir DIR         where shells start (default: the current folder; made if missing)
  --session-key-file FILE   the keys that open this agent, one a line, mode 0600; needed for HOST:PORT.
                            Read again when a key is not known, so that others can be added
  --warm-python             start the Python worker at once
  --version, --help

Environment: NO_CHANGE_TIMEOUT_SECONDS (default 10) is how long a command may stay silent before it is
reported as still running.

Examples:
  sandkey-agent --listen unix:/run/sandkey.sock --working-dir /workspace
  sandkey-agent --listen 0.0.0.0:60000 --session-key-file /run/keys --working-dir /workspace
)";

struct Arguments {
  std::vector<std::string> listen;
  std::string working_dir;
  std::string session_key_file;
  std::optional<int> ready_fd;
  bool warm_python = false;
};

[[noreturn]] void fail_usage(const std::string& what) {
  throw Error(ErrorCode::invalid_argument, what + "; see sandkey-agent --help");
}

// Beyond the standard three; nothing if the text is no such number.
std::optional<int> parse_descriptor(std::string_view text) {
  int fd = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc() || end != text.data() + text.size() || fd < 3) return std::nullopt;
  return fd;
}

bool known_flag(std::string_view name) {
  return name == "--warm-python" || name == "--version" || name == "--help";
}

std::optional<Arguments> parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    std::string_view name = argv[i];
    std::optional<std::string> attached;
    if (const std::size_t equals = name.find('=');
        name.starts_with("--") && equals != std::string_view::npos) {
      attached = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    const auto value = [&]() -> std::string {
      if (attached) return *attached;
      if (i + 1 >= argc) fail_usage("reading the command line: " + std::string(name) + " needs a value");
      return argv[++i];
    };
    if (name == "--listen") {
      arguments.listen.push_back(value());
    } else if (name == "--working-dir") {
      arguments.working_dir = value();
    } else if (name == "--session-key-file") {
      arguments.session_key_file = value();
    } else if (name == "--ready-fd") {
      const std::string text = value();
      arguments.ready_fd = parse_descriptor(text);
      if (!arguments.ready_fd || ::fcntl(*arguments.ready_fd, F_SETFD, FD_CLOEXEC) != 0) {
        fail_usage("reading the command line: --ready-fd '" + text + "' is not an open descriptor above 2");
      }
    } else if (attached && known_flag(name)) {
      fail_usage("reading the command line: " + std::string(name) + " takes no value");
    } else if (name == "--warm-python") {
      arguments.warm_python = true;
    } else if (name == "--version") {
      std::printf("sandkey-agent %.*s\n", static_cast<int>(sandkey::agent::kVersion.size()),
                  sandkey::agent::kVersion.data());
      return std::nullopt;
    } else if (name == "--help" || name == "-h") {
      std::fputs(kHelp.data(), stdout);
      return std::nullopt;
    } else {
      fail_usage("reading the command line: '" + std::string(name) + "' is not known");
    }
  }
  if (arguments.listen.empty()) fail_usage("reading the command line: --listen is missing");
  return arguments;
}

std::string absolute_folder(const std::string& folder) {
  if (!folder.empty() && ::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    throw sandkey::system_error("making the working directory " + folder, errno);
  }
  char* resolved = ::realpath(folder.empty() ? "." : folder.c_str(), nullptr);
  if (resolved == nullptr) throw sandkey::system_error("finding the working directory " + folder, errno);
  std::string path(resolved);
  std::free(resolved);  // NOLINT(cppcoreguidelines-no-malloc): realpath's contract
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    throw Error(ErrorCode::invalid_argument, "using the working directory " + path + ": it is not a folder");
  }
  return path;
}

std::chrono::seconds soft_timeout() {
  const char* text = std::getenv("NO_CHANGE_TIMEOUT_SECONDS");
  if (text == nullptr || *text == '\0') return std::chrono::seconds(10);
  int seconds = 0;
  const std::string_view view(text);
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), seconds);
  if (error != std::errc() || end != view.data() + view.size() || seconds < 1) {
    throw Error(ErrorCode::invalid_argument,
                "reading NO_CHANGE_TIMEOUT_SECONDS: it must be a whole number of seconds from 1");
  }
  return std::chrono::seconds(seconds);
}

void listen(sandkey::agent::Agent& agent, const std::string& address) {
  if (address.starts_with("unix:")) {
    agent.listen_unix(address.substr(5));
    std::fprintf(stderr, "sandkey-agent: listening on %s\n", address.c_str());
    return;
  }
  if (address.starts_with("fd:")) {
    const std::optional<int> fd = parse_descriptor(std::string_view(address).substr(3));
    if (!fd) fail_usage("listening on '" + address + "': it must be the number of a descriptor above 2");
    agent.listen_descriptor(*fd);
    return;
  }
  const std::size_t colon = address.rfind(':');
  std::string host = colon == std::string::npos ? std::string() : address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    host.clear();  // which colon is the last one of an IPv6 address cannot be told
  }
  std::uint16_t port = 0;
  const std::string_view digits =
      std::string_view(address).substr(colon == std::string::npos ? 0 : colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (host.empty() || error != std::errc() || end != digits.data() + digits.size()) {
    fail_usage("listening on '" + address + "': it must be unix:PATH, HOST:PORT or fd:N");
  }
  port = agent.listen_tcp(host, port);
  std::fprintf(stderr, "sandkey-agent: listening on %s:%u\n", host.c_str(), static_cast<unsigned>(port));
}

void prepare_process() {
  sandkey::open_standard_descriptors();
  // Nobody we start may read our memory, environment or descriptors.
  ::prctl(PR_SET_DUMPABLE, 0);
  // Orphans of what we start become ours, so that they are reaped and can be killed.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::signal(SIGPIPE, SIG_IGN);
  // One arena: threads come and go with transfers, and each would keep a heap of its own.
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_TRIM_THRESHOLD, 256 * 1024);
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

int run(int argc, char** argv) {
  const std::optional<Arguments> arguments = parse(argc, argv);
  if (!arguments) return 0;
  prepare_process();

  sandkey::agent::AgentOptions options;
  options.executor.identity = sandkey::agent::current_identity();
  options.executor.environment = sandkey::agent::child_environment(options.executor.identity);
  options.executor.working_dir = absolute_folder(arguments->working_dir);
  options.executor.soft_timeout = soft_timeout();
  options.warm_python = arguments->warm_python;
  sandkey::agent::SessionKeys keys;
  if (!arguments->session_key_file.empty()) keys = sandkey::agent::SessionKeys(arguments->session_key_file);

  boost::asio::io_context context(1);
  boost::asio::signal_set signals(context);
  // As process 1 under a keeper, which ends us by SIGKILL, we take none: the kernel then drops all that is
  // sent from inside, so that nothing inside can end the sandbox.
  if (::getpid() != 1 || !arguments->ready_fd) {
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) signals.add(number);
  }
  sandkey::agent::Agent agent(context.get_executor(), std::move(keys), std::move(options));
  for (const std::string& address : arguments->listen) listen(agent, address);
  if (arguments->ready_fd) {
    // Whoever waits for this has died if it cannot be told, and then nobody would ever end us.
    if (::write(*arguments->ready_fd, "\n", 1) != 1) {
      throw sandkey::system_error("telling that the agent is ready", errno);
    }
    ::close(*arguments->ready_fd);
  }
  signals.async_wait([&](const boost::system::error_code&, int) {
    agent.stop();
    context.stop();
  });
  context.run();
  // Handlers that still wait hold references into the agent, and the event loop would only end them after it.
  // Nothing that matters is left to destructors: stop() has killed what runs and removed what lies about.
  std::fflush(nullptr);
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sandkey-agent: %s\n", error.what());
    return 2;
  }
}
