// The emulator's other side: what it saw, what really exists, and what shall go wrong next.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/url.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::contract {

// A request that the emulator answered.
struct JournalEntry {
  std::uint64_t number = 0;
  std::string route;  // "POST /v2/sandboxes"
  int status = 0;     // of HTTP; for gRPC what its status would be there
};

struct EmulatedSandbox {
  std::string id;
  std::string state;
  std::string account;  // "valid"
};

inline constexpr int kAlways = 0;

// What shall happen to requests of a route instead of, or besides, the usual.
struct Fault {
  std::string kind;  // status, grpc_status, drop_before, drop_after, hang, slow, garbage, half, echo
  int status = 0;    // of HTTP, also for gRPC
  std::map<std::string, std::string> headers = {};
  std::string body = {};
  std::optional<std::chrono::seconds> wait = std::nullopt;  // that it asks for
  int milliseconds = 0;
  int times = 1;  // kAlways: without end
  int skip = 0;   // so many requests go by first
};

// Blocking; a failure to reach the emulator is an Error. Never used on an engine thread.
class Emulator {
 public:
  // The one this program runs under, as far as it concerns the provider; null where it runs under none.
  [[nodiscard]] static std::unique_ptr<Emulator> around_us(std::string provider);

  // The texts of which the account's key is made; several come joined by ':'. Nothing if there is no such
  // account.
  [[nodiscard]] std::optional<std::vector<std::string>> account(std::string_view name, std::size_t parts);

  // The number of the last request so far; what came after it.
  [[nodiscard]] std::uint64_t last_request();
  [[nodiscard]] std::vector<JournalEntry> requests_since(std::uint64_t number);

  void inject(std::string_view route, const Fault& fault);
  void remove_faults();

  [[nodiscard]] std::vector<EmulatedSandbox> sandboxes();
  // As if its machine had failed.
  void kill(const std::string& id);

 private:
  Emulator(std::string provider, Endpoint endpoint, std::string key);
  json::value call(std::string method, std::string path, QueryParameters query = {}, std::string body = {});

  std::string provider_;
  Endpoint endpoint_;
  std::string key_;
  Engine engine_;
  HttpClient http_;
};

}  // namespace sandkey::contract
