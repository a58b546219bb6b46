// The few lines of shell that make an interactive shell report the end of each command.
#pragma once

#include <string>
#include <string_view>

namespace sandkey::agent {

// Number of NUL-terminated fields in a record: nonce, exit status, last background pid, working directory,
// PATH.
inline constexpr int kReportFields = 5;

// For bash, as --rcfile. `folder` is the session's private folder, `nonce` the one of the first prompt.
[[nodiscard]] std::string bash_hooks(const std::string& folder, std::string_view nonce);
// For any POSIX sh, as $ENV.
[[nodiscard]] std::string sh_hooks(const std::string& folder, std::string_view nonce);

// What is typed at the prompt, the same for every command; a newline ends it.
[[nodiscard]] std::string bash_trigger(const std::string& folder);
[[nodiscard]] std::string sh_trigger(const std::string& folder);

// What `folder`/command must hold when the trigger is typed.
[[nodiscard]] std::string bash_command_file(std::string_view nonce, std::string_view command);
[[nodiscard]] std::string sh_command_file(std::string_view nonce, std::string_view command);

// Written to the terminal just before the command runs: all before it is the echo of the trigger.
[[nodiscard]] std::string start_marker(std::string_view nonce);

}  // namespace sandkey::agent
