#include "sandkey/providers/daytona/toolbox.h"

#include "sandkey/accounts/rest_answer.h"
#include "sandkey/accounts/rest_error.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/credentials/redactor.h"
#include "sandkey/credentials/sha256.h"
#include "sandkey/runtime/shell_quote.h"

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace sandkey::daytona {
namespace {

// Longer than the script that starts the agent ever takes; without a limit it may take for ever.
constexpr std::chrono::seconds kScriptTime{60};

struct Meaning {
  ErrorCode code;
  const char* what;
  Processed processed;
};

// What the toolbox, or the proxy before it, means by a status.
Meaning meaning_of(int status) {
  switch (status) {
    case 401:
    case 403:
      return {ErrorCode::unauthenticated, "the sandbox's own token was refused", Processed::no};
    case 400:  // so the proxy says of a sandbox that is not started
    case 404:  // and so of one whose container is not there
    case 429:
      return {ErrorCode::unavailable, "the sandbox cannot be reached now", Processed::no};
    case 408:
      return {ErrorCode::deadline_exceeded, "it took too long", Processed::yes};
    default:
      break;
  }
  if (status >= 500) return {ErrorCode::unavailable, "the sandbox cannot be reached now", Processed::unknown};
  return {ErrorCode::protocol, "is this Daytona's toolbox?", Processed::no};
}

[[noreturn]] void fail(const HttpResponse& response, const std::string& operation, const Secret& token) {
  const RestFailure said = read_failure(response, RetryPolicy(), {}, std::chrono::system_clock::now());
  const Meaning meaning = meaning_of(response.status);
  Redactor redactor;  // it may echo what it was sent
  redactor.add(token);
  const std::string text = redactor.redact(said.message).substr(0, kMaxQuoted);
  throw_error(Error(meaning.code,
                    fmt::format("{}: {} (HTTP {}{}{})", operation, meaning.what, response.status,
                                text.empty() ? "" : ": ", text),
                    {.provider = "daytona",
                     .operation = operation,
                     .phase = {},
                     .request_id = said.request_id,
                     .processed = meaning.processed}));
}

}  // namespace

Toolbox::Toolbox(std::shared_ptr<HttpTransport> network, Endpoint address, Secret token)
    : network_(std::move(network)), address_(std::move(address)), token_(std::move(token)) {}

HttpRequest Toolbox::request(std::string method, const std::string& path, std::string operation,
                             Deadline deadline) const {
  HttpRequest made;
  made.method = std::move(method);
  made.url = address_.url(path);
  made.unix_socket = address_.unix_socket();
  made.headers.set("Accept", "application/json");
  made.headers.set("X-Daytona-Preview-Token", token_);
  made.operation = std::move(operation);
  made.deadline = deadline;
  return made;
}

asio::awaitable<ShellResult> Toolbox::shell(std::string script,
                                            std::map<std::string, std::string> environment,
                                            Deadline deadline) {
  const std::string operation = "running a command in the sandbox of daytona";
  HttpRequest made = request("POST", "/process/execute", operation, deadline);
  made.headers.set("Content-Type", "application/json");
  json::object body;
  // The command is what a shell reads from its input; ours must not find the rest of it there.
  body["command"] = "exec sh -c " + shell_quote(script) + " </dev/null\n";
  body["envs"] = to_object(environment);
  body["timeout"] = kScriptTime.count();
  made.body = json::serialize(body);
  const HttpResponse response = co_await network_->send(std::move(made));
  if (response.status != 200) fail(response, operation, token_);
  const json::value answer = parse_json(response.body, operation + ": the answer");
  const json::object& ran = object_of(answer, "daytona", operation);
  auto exit_code = find_integer(ran, "exitCode");
  if (!exit_code) exit_code = find_integer(ran, "code");  // as older ones call it
  if (!exit_code) malformed_answer("daytona", operation, "it was not told how the command ended");
  co_return ShellResult{.exit_code = static_cast<int>(*exit_code), .output = text_of(ran, "result")};
}

asio::awaitable<std::string> Toolbox::home(Deadline deadline) {
  const std::string operation = "finding the home in the sandbox of daytona";
  HttpRequest made = request("GET", "/user-home-dir", operation, deadline);
  const HttpResponse response = co_await network_->send(std::move(made));
  if (response.status != 200) fail(response, operation, token_);
  const json::value answer = parse_json(response.body, operation + ": the answer");
  std::string dir = text_of(object_of(answer, "daytona", operation), "dir");
  if (!dir.starts_with('/')) malformed_answer("daytona", operation, "it names no folder");
  co_return dir;
}

// Its way for single files has changed between its versions; the one for many has not.
asio::awaitable<void> Toolbox::put(std::string path, std::string content, Deadline deadline) {
  const std::string operation = "putting a file into the sandbox of daytona";
  if (!path.starts_with('/')) {
    const std::string folder = co_await home(deadline);
    path = folder + "/" + path;
  }
  // Not to be found in what is sent, since it is made of it; at most 70 characters.
  const std::string boundary = Sha256().update(content).hex_digest();
  HttpRequest made = request("POST", "/files/bulk-upload", operation, deadline);
  made.headers.set("Content-Type", "multipart/form-data; boundary=" + boundary);
  made.body = fmt::format(
      "--{0}\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n{1}\r\n"
      "--{0}\r\nContent-Disposition: form-data; name=\"files[0].file\"; filename=\"file\"\r\n"
      "Content-Type: application/octet-stream\r\n\r\n",
      boundary, path);
  made.body += content;
  made.body += fmt::format("\r\n--{}--\r\n", boundary);
  made.repeatable = true;  // it replaces what is there
  const HttpResponse response = co_await network_->send(std::move(made));
  if (response.status < 200 || response.status > 299) fail(response, operation, token_);
}

}  // namespace sandkey::daytona
