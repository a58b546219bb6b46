// How the requests of one account travel. What stands before the network, from the outside in:
//
//   trace         measures each call as its caller sees it
//   retry         repeats what may be repeated (retry.h), within the deadline and the account's budget
//   authenticate  adds the credential, for the account's own servers only; asks once for another on a 401
//   log           one record of every request that leaves
//
//   auto http = make_account_transport(engine, network, {.endpoints = {api}, .credential = ...});
//   const HttpResponse response = co_await http->send(std::move(request));
//
// Nothing else attaches a credential, and nothing follows a redirect: a credential goes nowhere but to the
// places it was bound to.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/retry.h"
#include "sandkey/net/url.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sandkey {

// One request and what came of it. Holds no query, header or body, and nothing of a credential, even if the
// server sends it back.
struct HttpRecord {
  std::string operation;
  std::string method;
  std::string origin;  // scheme://host[:port]
  std::string path;
  int status = 0;                      // of the answer, if there was one
  std::optional<ErrorCode> error;      // if there was none
  std::optional<std::uint64_t> bytes;  // of the answer's body; unknown for streams, which have only begun
  std::chrono::microseconds took{};
  std::string request_id;  // the server's
};

// key=value, in one line.
[[nodiscard]] std::string to_string(const HttpRecord& record);

// Called on io threads, several at a time.
using HttpObserver = std::function<void(const HttpRecord&)>;

// Gives the headers that carry the credential. `refused`: the server did not accept the last ones; look where
// they came from again, and give the same ones if there are no others. One call at a time. Runs on an io
// thread, may be running still when the transport is gone, and ends with the engine at the latest.
using CredentialSource = std::function<asio::awaitable<HttpHeaders>(bool refused)>;

struct AccountTransportOptions {
  std::vector<Endpoint> endpoints;  // where the credential may go, and so all that can be reached
  bool allow_cleartext = false;     // to hosts other than this one
  CredentialSource credential;
  RetryPolicy retry = {};
  std::string request_id_header = {};  // of answers
  HttpObserver trace = {};             // once for each call
  HttpObserver log = {};               // once for each request on the wire
};

// Throws Error(invalid_argument) for endpoints that would take the credential through a network unencrypted.
//
// Besides the errors of HttpClient, its calls throw invalid_argument for a request to any other place (which
// is not sent), and what the credential's source throws. An answer is given as it came, also the last of
// several that asked to try again, and a 401 for which there was no other credential.
//
// The engine must outlive the transport, and the transport its calls.
[[nodiscard]] std::shared_ptr<HttpTransport> make_account_transport(Engine& engine,
                                                                    std::shared_ptr<HttpTransport> network,
                                                                    AccountTransportOptions options);

}  // namespace sandkey
