// What an emulated cloud is to the host on which it is mounted.
//
// A cloud lives in its provider's folder, sandkey/providers/NAME/emulator/, whose emulator.h declares
// sandkey::NAME::emulator::kEntry. All of it runs on one executor; nothing here is thread-safe.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/known_secrets.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/net/http_server.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator {

// What a cloud works with; outlives it.
struct World {
  Engine& engine;
  Clock& clock;
  KnownSecrets& secrets;
  LocalSandboxes& sandboxes;
  std::filesystem::path folder;  // for this cloud's files; there, and empty at the start
};

// Where it is served, HTTP/1.1 and HTTP/2 both.
struct Addresses {
  std::string http = {};   // http://127.0.0.1:PORT
  std::string https = {};  // https://127.0.0.1:PORT, with a certificate of the emulator's authority
  // NAME.localhost:PORT. For those who look up names below it (as curl and browsers do by themselves) they
  // lead to the https address too, and the certificate is good for one level of them.
  std::string domain = {};
};

using Variables = std::vector<std::pair<std::string, std::string>>;

// A request that has been given its place.
struct Call {
  std::string route;  // as in "POST /v2/sandboxes/{sandboxID}/pause": what fault scripts and the journal name
  std::function<asio::awaitable<void>(net::HttpExchange&)> run;
};

// How a call by gRPC fails.
struct CallFailure {
  int status = 0;  // gRPC's
  std::string message = {};
  std::optional<std::chrono::milliseconds> retry_after = std::nullopt;  // told as this cloud tells it
};

// A sandbox as the account that has it would see it, if it saw all.
struct SandboxRecord {
  std::string id = {};
  std::string state = {};
  std::map<std::string, std::string> metadata = {};
  std::string account = {};
  Time created = {};
  Time ends = {};
};

class Cloud {
 public:
  virtual ~Cloud() = default;

  // Where it is served; told once, before the first request.
  virtual void serve_at(const Addresses&) {}
  [[nodiscard]] virtual const Accounts& accounts() const noexcept = 0;
  // By which the vendor's own SDK finds it, as the account "valid".
  [[nodiscard]] virtual Variables variables(const Addresses& addresses) const = 0;

  // Names of all its routes.
  [[nodiscard]] virtual std::vector<std::string> routes() const = 0;
  // Which of them this request is for; decides nothing else. May throw net::HttpError.
  [[nodiscard]] virtual Call route(const net::HttpExchange& exchange) = 0;
  // The credential that came with it, if any; for the fault that echoes it.
  [[nodiscard]] virtual std::string credential(const net::HttpExchange& exchange) const = 0;
  // The body of an error as this cloud words them.
  [[nodiscard]] virtual std::string error_body(int status, const std::string& message) const = 0;
  // Answers with an error of the host's: by default that status, and the body above as JSON.
  virtual asio::awaitable<void> refuse(net::HttpExchange& exchange, int status, std::string message) const;
  // The same for a call by gRPC, in clouds that speak it.
  virtual asio::awaitable<void> fail_call(net::HttpExchange& exchange, CallFailure failure) const;
  // How the journal shows the body of a request to that route; `body` is what it kept of it.
  [[nodiscard]] virtual std::string readable_body(const std::string& route, std::string body) const;

  // All there are, whoever has them.
  [[nodiscard]] virtual std::vector<SandboxRecord> sandboxes() const = 0;
  // It dies as if its machine had failed. False if there is none of that id.
  virtual asio::awaitable<bool> fail(std::string id) = 0;

  // What can be changed while it runs, and how it stands; nothing by default.
  [[nodiscard]] virtual json::object settings() const;
  // Those that are named take these values. Throws Error(invalid_argument) for what cannot be, and changes
  // nothing then.
  virtual void change_settings(const json::object& settings);

  // No request is running any more.
  virtual asio::awaitable<void> close() = 0;
};

// Whatever would lead a program to the real cloud instead.
struct Mask {
  std::vector<std::string> prefixes = {};  // of variables: all that begin so are taken away
  // Variables that name a file or a folder of the vendor's tools; each is pointed at an empty place of that
  // kind.
  std::vector<std::string> files = {};
  std::vector<std::string> folders = {};
};

// What a provider's folder has for the host. A provider that is not emulated still masks its variables.
struct CloudEntry {
  std::string_view name;
  Mask (*mask)();
  std::unique_ptr<Cloud> (*make)(World& world);  // null: not emulated
};

}  // namespace sandkey::emulator
