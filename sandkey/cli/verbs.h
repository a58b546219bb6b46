// The verbs of the program. Each gives the exit code, or throws what report() in main.cpp turns into 125.
#pragma once

#include "sandkey/cli/context.h"
#include "sandkey/cli/sandbox.h"

#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sandkey::cli {

// What the command, the cell or the shell gets from us.
struct ExecutionOptions {
  SandboxOptions sandbox = {};
  std::vector<std::string> env = {};  // "K=V", or "K" for our own value
  std::optional<std::string> cwd = std::nullopt;
  std::optional<std::string> timeout = std::nullopt;
};

// execute.cpp
[[nodiscard]] int run(Context& context, const ExecutionOptions& options,
                      const std::vector<std::string>& command);
// `code` "-": from standard input.
[[nodiscard]] int python(Context& context, const ExecutionOptions& options, const std::string& code);
[[nodiscard]] int shell(Context& context, const ExecutionOptions& options);

// copy.cpp
[[nodiscard]] int copy(Context& context, const AgentOptions& agent, const std::string& source,
                       const std::string& destination);

// ports.cpp; `ports`: PORT or LOCAL:PORT
[[nodiscard]] int forward(Context& context, const std::string& sid, const std::string& ports);
[[nodiscard]] int url(Context& context, const std::string& sid, const std::string& port);

// manage.cpp
[[nodiscard]] int list(Context& context, const std::optional<std::string>& provider);
// The sids of the ledger, one a line, without asking any provider.
[[nodiscard]] int list_names(Context& context);
struct Chosen {
  std::vector<std::string> sids = {};
  bool all = false;
  std::optional<std::string> provider = std::nullopt;  // where to look for what the ledger does not know
};
[[nodiscard]] int remove(Context& context, const Chosen& chosen);
[[nodiscard]] int pause(Context& context, const Chosen& chosen);
[[nodiscard]] int resume(Context& context, const Chosen& chosen);
[[nodiscard]] int show_providers(Context& context);

// auth.cpp
struct AuthOptions {
  std::string action;                  // status, check, login, logout
  std::vector<std::string> providers;  // none: all that there are
  bool explain = false;
  // login
  std::optional<std::string> form =
      std::nullopt;                   // by the name of one of its parts; else the provider's first
  std::vector<std::string> set = {};  // NAME=VALUE: what is no secret
  bool allow_cleartext = false;
  bool unchecked = false;
};
// 0 accepted or found, 3 missing, 4 rejected, 5 not permitted, 6 unreachable.
[[nodiscard]] int auth(Context& context, const AuthOptions& options);

// config.cpp
[[nodiscard]] int show_config(Context& context);

// doctor.cpp: 0 if all is well, 1 if something is not.
[[nodiscard]] int doctor(Context& context, const std::vector<std::string>& providers);

// emulate.cpp: hands over to sandkey-emulator, which knows these arguments.
[[nodiscard]] int emulate(Context& context, const std::vector<std::string>& arguments);

// completion.cpp: the script for "bash" or "zsh", made from the program's own grammar.
[[nodiscard]] std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace sandkey::cli
