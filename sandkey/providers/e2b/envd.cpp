#include "sandkey/providers/e2b/envd.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/credentials/redactor.h"
#include "sandkey/net/connect_envelope.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <string_view>
#include <utility>

namespace sandkey::e2b {
namespace {

constexpr std::size_t kMostOutput = std::size_t{64} * 1024;  // of a script of ours

Error failure(ErrorCode code, const std::string& operation, const std::string& what, Processed processed) {
  return Error(
      code, operation + ": " + what,
      {.provider = "e2b", .operation = operation, .phase = {}, .request_id = {}, .processed = processed});
}

// It may echo what it was sent.
std::string quoted(const std::string& text, const Secret& token) {
  constexpr std::size_t kMostSaid = 300;
  Redactor redactor;
  redactor.add(token);
  return redactor.redact(text).substr(0, kMostSaid);
}

// What envd, or the proxy before it, says instead of an answer.
[[noreturn]] void fail(int status, const std::string& body, const std::string& operation,
                       const Secret& token) {
  std::string said;
  try {
    const json::value document = parse_json(body, "the answer");
    if (document.is_object()) said = std::string(find_string(document.get_object(), "message").value_or(""));
  } catch (const Error&) {
    said.clear();  // a page of some proxy's
  }
  const std::string what =
      "HTTP " + std::to_string(status) + (said.empty() ? "" : ": " + quoted(said, token));
  switch (status) {
    case 401:
    case 403:
      throw_error(failure(ErrorCode::unauthenticated, operation,
                          what + "; the sandbox's own token was refused", Processed::no));
    case 404:
      throw failure(ErrorCode::protocol, operation, what + "; is this E2B's envd?", Processed::no);
    case 502:
      // So it is for a sandbox that ended, is paused, or is not quite there yet.
      throw failure(ErrorCode::unavailable, operation, what, Processed::unknown);
    case 507:
      throw failure(ErrorCode::quota_exceeded, operation, what, Processed::no);
    default:
      break;
  }
  if (status == 429) throw failure(ErrorCode::rate_limited, operation, what, Processed::no);
  if (status >= 500) throw failure(ErrorCode::unavailable, operation, what, Processed::unknown);
  throw failure(ErrorCode::protocol, operation, what, Processed::no);
}

ErrorCode code_of(const std::string& word) {
  if (word == "unauthenticated") return ErrorCode::unauthenticated;
  if (word == "permission_denied") return ErrorCode::permission_denied;
  if (word == "resource_exhausted") return ErrorCode::rate_limited;
  if (word == "deadline_exceeded") return ErrorCode::deadline_exceeded;
  return ErrorCode::unavailable;
}

json::object start_request(const std::string& script, const std::map<std::string, std::string>& environment) {
  json::object variables;
  for (const auto& [name, value] : environment) variables[name] = value;
  json::object process;
  process["cmd"] = "/bin/sh";
  process["args"] = json::array{"-c", script};
  process["envs"] = std::move(variables);
  json::object message;
  message["process"] = std::move(process);
  message["stdin"] = false;
  return message;
}

// Base64 text of one output, onto what came before.
void append_output(const json::object& data, std::string_view channel, std::string& to,
                   const std::string& operation) {
  const auto text = find_string(data, channel);
  if (!text) return;
  const auto bytes = base64_decode(*text);
  if (!bytes) throw failure(ErrorCode::protocol, operation, "an output is not base64", Processed::yes);
  to += bytes->substr(0, kMostOutput - std::min(kMostOutput, to.size()));
}

// Whether the command has ended.
bool read_event(const std::string& payload, ShellResult& result, const std::string& operation) {
  const json::value message = parse_json(payload, operation + ": an event");
  const json::value* event = message.is_object() ? find(message.get_object(), "event") : nullptr;
  if (event == nullptr || !event->is_object()) return false;
  const json::object& kinds = event->get_object();
  if (const json::value* data = find(kinds, "data"); data != nullptr && data->is_object()) {
    append_output(data->get_object(), "stdout", result.output, operation);
    append_output(data->get_object(), "stderr", result.error_output, operation);
  }
  const json::value* end = find(kinds, "end");
  if (end == nullptr || !end->is_object()) return false;
  result.exit_code = static_cast<int>(find_integer(end->get_object(), "exitCode").value_or(0));
  return true;
}

}  // namespace

Envd::Envd(std::shared_ptr<HttpTransport> network, PortAccess access, Secret token)
    : network_(std::move(network)), access_(std::move(access)), token_(std::move(token)) {}

HttpRequest Envd::request(std::string path, QueryParameters query, std::string operation,
                          Deadline deadline) const {
  HttpRequest made;
  made.method = "POST";
  made.url = access_.endpoint.url(path, query);
  made.unix_socket = access_.endpoint.unix_socket();
  made.headers = access_.headers.clone();
  made.headers.set("Accept", "application/json");  // or its proxy may answer in HTML
  if (!token_.empty()) made.headers.set("X-Access-Token", token_);
  made.operation = std::move(operation);
  made.deadline = deadline;
  return made;
}

asio::awaitable<ShellResult> Envd::shell(std::string script, std::map<std::string, std::string> environment,
                                         Deadline deadline) {
  const std::string operation = "running a command in the sandbox of e2b";
  const QueryParameters no_query;
  HttpRequest made = request("/process.Process/Start", no_query, operation, deadline);
  made.headers.set("Content-Type", "application/connect+json");
  made.headers.set("Connect-Protocol-Version", "1");
  made.body = connect_envelope(json::serialize(start_request(script, environment)));
  HttpStream stream = co_await network_->open(std::move(made));
  if (stream.status() != 200) {
    const int status = stream.status();
    const std::string body = co_await stream.read_all(kMostOutput);
    fail(status, body, operation, token_);
  }
  ConnectReader events(source_of(std::move(stream)));
  ShellResult result;
  bool ended = false;
  while (const auto message = co_await events.next()) {
    if (!message->end_of_stream) {
      ended = read_event(message->payload, result, operation) || ended;
      continue;
    }
    if (const auto failed = parse_connect_end(message->payload)) {
      throw_error(failure(code_of(failed->code), operation,
                          failed->code + ": " + quoted(failed->message, token_), Processed::unknown));
    }
  }
  if (!ended)
    throw failure(ErrorCode::protocol, operation, "it was not told how the command ended", Processed::yes);
  co_return result;
}

asio::awaitable<void> Envd::upload(std::string path, std::string body, Content content, Deadline deadline) {
  const std::string operation = "putting a file into the sandbox of e2b";
  QueryParameters query{{"path", path}};
  HttpRequest made = request("/files", std::move(query), operation, deadline);
  made.headers.set("Content-Type", "application/octet-stream");
  if (content == Content::gzip) made.headers.set("Content-Encoding", "gzip");
  made.body = std::move(body);
  made.repeatable = true;  // it replaces what is there
  const HttpResponse response = co_await network_->send(std::move(made));
  if (response.status < 200 || response.status > 299) fail(response.status, response.body, operation, token_);
}

}  // namespace sandkey::e2b
