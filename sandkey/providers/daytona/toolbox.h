// Daytona's toolbox, the server inside each of its sandboxes, as far as it takes to put our agent there: a
// command, and a file.
//
// It is reached through a proxy of the sandbox's region, another host than the API. The account's key does
// not go there: the sandbox's own token opens it as well (reference: server 0.190, its proxy).
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/secret.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/url.h"
#include "sandkey/runtime/cloud_agent.h"

#include <boost/asio/awaitable.hpp>

#include <map>
#include <memory>
#include <string>

namespace sandkey::daytona {

class Toolbox {
 public:
  // `address`: of this one sandbox's.
  Toolbox(std::shared_ptr<HttpTransport> network, Endpoint address, Secret token);

  // Runs `sh -c script` to its end; what it says to its two outputs is one text. Throws Error: unavailable
  // (it cannot be reached, or the sandbox is not started), unauthenticated, protocol, and those of
  // HttpClient.
  asio::awaitable<ShellResult> shell(std::string script, std::map<std::string, std::string> environment,
                                     Deadline deadline);
  // Makes the file, or replaces it; a relative path is below the user's home.
  asio::awaitable<void> put(std::string path, std::string content, Deadline deadline);

 private:
  [[nodiscard]] HttpRequest request(std::string method, const std::string& path, std::string operation,
                                    Deadline deadline) const;
  asio::awaitable<std::string> home(Deadline deadline);

  std::shared_ptr<HttpTransport> network_;
  Endpoint address_;
  Secret token_;
};

}  // namespace sandkey::daytona
