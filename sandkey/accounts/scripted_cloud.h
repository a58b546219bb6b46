// For tests: a cloud's API that answers what a test writes, and the way of a program into it.
#pragma once

#include "sandkey/accounts/accounts.h"
#include "sandkey/base/engine.h"
#include "sandkey/config/temp_folder.h"
#include "sandkey/credentials/credential_spec.h"
#include "sandkey/net/scripted_server.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey {

// One answer of a scripted API.
struct ScriptedAnswer {
  int status = 200;
  std::string body = "{}";
  std::string headers = {};  // whole lines
};

// Gives its answers one after the other, and the last one for ever; without any it closes the connection.
class ScriptedApi {
 public:
  ScriptedApi() : server_([this](Connection& connection) { serve(connection); }) {}

  void answer(std::vector<ScriptedAnswer> answers) {
    const std::lock_guard lock(mutex_);
    answers_.assign(answers.begin(), answers.end());
  }
  // Of the requests so far: "GET /v2/sandboxes?limit=1", or whole heads.
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    for (const std::string& head : heads()) lines.push_back(head.substr(0, head.find(" HTTP/")));
    return lines;
  }
  [[nodiscard]] std::vector<std::string> heads() const {
    const std::lock_guard lock(mutex_);
    return heads_;
  }
  [[nodiscard]] std::vector<std::string> bodies() const {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }
  void forget_requests() {
    const std::lock_guard lock(mutex_);
    heads_.clear();
    bodies_.clear();
  }

  [[nodiscard]] const std::string& url() const { return server_.url; }
  // The text with this server's address as "API".
  [[nodiscard]] std::string shortened(std::string text) const {
    for (std::size_t at = text.find(url()); at != std::string::npos; at = text.find(url())) {
      text.replace(at, url().size(), "API");
    }
    return text;
  }

 private:
  static std::size_t length_of_body(const std::string& head) {
    constexpr std::string_view kName = "Content-Length: ";
    const std::size_t at = head.find(kName);
    return at == std::string::npos ? 0 : std::stoul(head.substr(at + kName.size()));
  }

  void serve(Connection& connection) {
    for (std::string head = connection.read_head(); !head.empty(); head = connection.read_head()) {
      const std::string body = connection.read_exactly(length_of_body(head));
      ScriptedAnswer now;
      {
        const std::lock_guard lock(mutex_);
        heads_.push_back(head);
        bodies_.push_back(body);
        if (answers_.empty()) return;
        now = answers_.front();
        if (answers_.size() > 1) answers_.pop_front();
      }
      const bool sent = connection.send(
          fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{}",
                      now.status, now.headers, now.body.size(), now.body));
      if (!sent) return;
    }
  }

  mutable std::mutex mutex_;
  std::deque<ScriptedAnswer> answers_;
  std::vector<std::string> heads_;
  std::vector<std::string> bodies_;
  Server server_;  // last: its threads use the rest
};

// A cloud behind such an API, and an engine in a world of its own to sign in to it from.
class ScriptedCloud : public ScriptedApi {
 public:
  explicit ScriptedCloud(Cloud cloud)
      : cloud_(cloud),
        engine_({.steady_now = [this] { return std::chrono::steady_clock::now() + skew.load(); },
                 .random = [this] { return random_.fetch_add(random_step); },
                 .environment = [this](const std::string& name) { return variable(name); }}) {
    variables["HOME"] = home.path().string();
    variables["SANDKEY_CONFIG_DIR"] = (home.path() / "config").string();
  }

  [[nodiscard]] Engine& engine() { return engine_; }
  // The text with the API's address and this test's folder as "API" and "~".
  [[nodiscard]] std::string shortened(std::string text) const {
    return home.shortened(ScriptedApi::shortened(std::move(text)));
  }

  std::shared_ptr<AuthenticatedAccount> sign_in(OpenHandsConfig config = {}) {
    return engine_.wait(engine_.shared<Accounts>()->sign_in(cloud_, std::move(config)));
  }
  // "" if it succeeded.
  std::string refusal(OpenHandsConfig config = {}) {
    try {
      (void)sign_in(std::move(config));
      return "";
    } catch (const Error& error) {
      return fmt::format("{}: {}", to_string(error.code()), shortened(error.what()));
    }
  }

  std::map<std::string, std::string> variables;  // not while something runs
  TempFolder home;
  std::atomic<std::chrono::nanoseconds> skew{};  // how far the clock was moved forward
  // Random numbers are all 0, so that nobody waits before trying again; or each is this much more than the
  // last.
  std::atomic<std::uint64_t> random_step = 0;

 private:
  std::optional<std::string> variable(const std::string& name) const {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  }

  const Cloud cloud_;
  std::atomic<std::uint64_t> random_ = 0;
  Engine engine_;
};

}  // namespace sandkey
