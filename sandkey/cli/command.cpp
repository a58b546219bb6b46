#include "sandkey/cli/command.h"

#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"
#include "sandkey/net/url.h"
#include "sandkey/runtime/agent_client.h"
#include "sandkey/runtime/fixed_agent.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

namespace sandkey::cli {
namespace {

// The first key of the file; the agent may know several.
Secret read_key(const std::string& path) {
  if (path.empty()) return {};
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw system_error("reading the session key file " + path, errno);
  std::array<char, 4096> buffer{};
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  if (n < 0) throw system_error("reading the session key file " + path, errno);
  std::string_view rest(buffer.data(), static_cast<std::size_t>(n));
  Secret key;
  while (!rest.empty() && key.empty()) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.empty() && line.front() != '#') key = Secret(line);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  wipe(buffer.data(), buffer.size());
  if (key.empty())
    throw Error(ErrorCode::credential_missing,
                "reading the session key file " + path + ": there is no key in it");
  return key;
}

}  // namespace

std::unique_ptr<ActionExecutionClient> attach(Engine& engine, const Target& target) {
  Endpoint endpoint = Endpoint::parse(target.agent, "--agent");
  auto provider = std::make_shared<FixedAgent>(std::move(endpoint), read_key(target.session_key_file));
  RuntimeOptions options;
  options.attach_to_existing = true;
  OpenHandsConfig config;
  config.sandbox.remote_runtime_init_timeout =
      std::chrono::ceil<std::chrono::seconds>(parse_duration(target.start_timeout, "--start-timeout"));
  auto runtime = std::make_unique<ActionExecutionClient>(engine, std::move(provider), config, nullptr,
                                                         "default", std::move(options));
  runtime->connect();
  return runtime;
}

std::unique_ptr<ActionExecutionClient> attach_own(Engine& engine, const Target& target,
                                                  std::string_view what) {
  auto runtime = attach(engine, target);
  if (runtime->agent().greeting().protocol == 0) {
    throw Error(ErrorCode::unsupported, std::string(what) + ": the agent at " + target.agent +
                                            " is not Sandkey's, and others cannot do this; start "
                                            "sandkey-agent there");
  }
  return runtime;
}

std::chrono::milliseconds parse_duration(std::string_view text, std::string_view what) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const double factor = unit.empty() || unit == "s" ? 1e3
                        : unit == "ms"              ? 1
                        : unit == "m"               ? 6e4
                        : unit == "h"               ? 3.6e6
                                                    : 0;
  if (error != std::errc() || factor == 0 || !(value > 0) || value * factor > 1e11) {
    throw Error(ErrorCode::invalid_argument, "reading " + std::string(what) + ": '" + std::string(text) +
                                                 "' is not a duration; write 30s, 1500ms, 2m or 1h");
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(value * factor));
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {  // somebody made our terminal non-blocking
      pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      throw system_error("writing output", errno);
    }
  }
}

}  // namespace sandkey::cli
