// An emulator in this process, and a client of it.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/host.h"
#include "sandkey/net/http_client.h"
#include "tests/runtime/fixtures.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sandkey::emulator_test {

using namespace std::chrono_literals;

struct Answer {
  int status = 0;
  std::string body = {};
  json::value document = nullptr;                                 // of the body, if it is JSON
  std::vector<std::pair<std::string, std::string>> headers = {};  // names in lower case

  [[nodiscard]] std::string header(std::string_view name) const;
  // A member that is a text.
  [[nodiscard]] std::string text(std::string_view key) const;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

class EmulatorTest : public ::testing::Test {
 protected:
  EmulatorTest();
  ~EmulatorTest() override;

  // To E2B, as the account of that name (nobody, if empty).
  [[nodiscard]] Answer ask(const std::string& method, const std::string& path, const std::string& body = {},
                           const std::string& account = "valid", Headers headers = {});
  // To a port of a sandbox.
  [[nodiscard]] Answer ask_inside(const std::string& sandbox, int port, const std::string& method,
                                  const std::string& path, const std::string& body = {},
                                  Headers headers = {});
  [[nodiscard]] Answer admin(const std::string& method, const std::string& path,
                             const std::string& body = {});
  [[nodiscard]] Answer send(HttpRequest request);

  void advance(std::chrono::seconds time);
  // Its id.
  [[nodiscard]] std::string create(const std::string& body = R"({"templateID":"base"})",
                                   const std::string& account = "valid");
  [[nodiscard]] std::string state_of(const std::string& sandbox, const std::string& account = "valid");
  void break_next(const std::string& route, const std::string& fault);
  [[nodiscard]] std::string key(const std::string& account, std::string_view provider = "e2b");
  [[nodiscard]] std::string variable(std::string_view name) const;
  [[nodiscard]] std::uint16_t port() const;
  // Starts a command in the sandbox by way of envd, and leaves it running until the test ends.
  void run_inside(const Answer& sandbox, const std::string& script);

  runtime_test::TempDir dir_;
  Engine engine_;
  std::unique_ptr<emulator::Host> host_;
  std::string url_;
  std::unique_ptr<HttpClient> client_;
  std::vector<std::unique_ptr<HttpStream>> running_;
};

}  // namespace sandkey::emulator_test
