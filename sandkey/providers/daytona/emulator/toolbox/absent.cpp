#include "sandkey/providers/daytona/emulator/toolbox/absent.h"

#include "sandkey/providers/daytona/emulator/toolbox/requests.h"
#include "sandkey/providers/daytona/emulator/toolbox/toolbox_error.h"

#include <string>

namespace sandkey::daytona_toolbox {

boost::asio::awaitable<void> Absent::desktop(net::HttpExchange& exchange) {
  const bool accessibility = exchange.path().find("/computeruse/a11y/") != std::string::npos;
  throw ToolboxError(503, accessibility ? "A11Y_UNAVAILABLE" : "SERVICE_UNAVAILABLE",
                     "computer-use functionality is not available");
  co_return;
}

boost::asio::awaitable<void> Absent::start_language_server(net::HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::string language = body.required("languageId");
  (void)body.required("pathToProject");
  if (language != "python" && language != "typescript")
    throw bad_request("unsupported language: " + language);
  const std::string program = language == "python" ? "pylsp" : "typescript-language-server";
  throw internal_error("error starting LSP server: exec: \"" + program +
                       "\": executable file not found in $PATH");
}

boost::asio::awaitable<void> Absent::ask_language_server(net::HttpExchange& exchange) {
  if (exchange.method() == "POST") {
    const Body body = co_await read_json_body(exchange);
    (void)body.required("languageId");
    (void)body.required("pathToProject");
  } else {
    (void)required_query(exchange, "languageId");
    (void)required_query(exchange, "pathToProject");
  }
  throw ToolboxError(400, "LSP_SERVER_NOT_INITIALIZED", "the LSP server is not initialized");
}

}  // namespace sandkey::daytona_toolbox
