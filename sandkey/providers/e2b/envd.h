// E2B's envd, the server inside each of its sandboxes, as far as it takes to put our agent there: a command,
// and a file.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/url.h"
#include "sandkey/runtime/cloud_agent.h"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace sandkey::e2b {

inline constexpr std::uint16_t kEnvdPort = 49983;

// Where a sandbox's ports are.
struct PortAccess {
  Endpoint endpoint;
  HttpHeaders headers = {};  // routing, where one host serves all sandboxes
};

class Envd {
 public:
  Envd(std::shared_ptr<HttpTransport> network, PortAccess access, Secret token);

  // Runs `sh -c script` as the sandbox's default user, to its end. Throws Error: not_found (there is no such
  // sandbox), unauthenticated, unavailable, protocol, and those of HttpClient.
  asio::awaitable<ShellResult> shell(std::string script, std::map<std::string, std::string> environment,
                                     Deadline deadline);
  enum class Content { plain, gzip };
  // Makes the file of the content itself, or of what it is with gzip; the path is relative to the user's
  // home.
  asio::awaitable<void> upload(std::string path, std::string body, Content content, Deadline deadline);

 private:
  [[nodiscard]] HttpRequest request(std::string path, QueryParameters query, std::string operation,
                                    Deadline deadline) const;

  std::shared_ptr<HttpTransport> network_;
  PortAccess access_;
  Secret token_;
};

}  // namespace sandkey::e2b
