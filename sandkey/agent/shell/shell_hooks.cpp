#include "sandkey/agent/shell/shell_hooks.h"

namespace sandkey::agent {

// Names begin with __sk_ and nothing is exported, so no child sees any of it.
//
// - The hook runs with its errors to /dev/null, which also keeps it silent under `set -x`.
// - `${!-}` survives `set -u` where no job was started yet.
// - Input that the command left unread is dropped (bash): otherwise the shell would execute it. Only at the
// prompt
//   that ends a command: at one that an idle key or such input drew, what can be read may be the next
//   trigger.
// - PS1 is the fallback for a command that replaced PROMPT_COMMAND: it expands to nothing, and forks nothing,
//   unless the hook did not run.
// - History is off: it would hold triggers instead of commands.
// - Under `set -e` a hook that hands on the last status would end the shell, so there $? begins as 0.
std::string bash_hooks(const std::string& folder, std::string_view nonce) {
  return R"([ -f ~/.bashrc ] && . ~/.bashrc
alias git="git --no-pager"
set +o history
unset HISTFILE PROMPT_COMMAND
IGNOREEOF=1000000
__sk_n=)" +
         std::string(nonce) + R"(
__sk_report() {
  __sk_e=$?
  PS2=
  PS1='${__sk_r-$(__sk_report)}'
  __sk_i=0
  while [ -z "${__sk_r+x}" ] && [ $((__sk_i += 1)) -lt 10000 ] && read -t 0; do IFS= read -r __sk_x; done
  __sk_r=
  printf '%s\0' "$__sk_n" "$__sk_e" "${!-}" "$PWD" "$PATH" >')" +
         folder + R"(/done'
}
__sk_next() {
  IFS= read -r __sk_n
  IFS= read -r -d '' __sk_c || :
  PROMPT_COMMAND='{ __sk_report; } 2>/dev/null'
  unset __sk_r
  printf '\033]sandkey;%s\007' "$__sk_n" >/dev/tty
  case $- in *e*) return 0; esac
  return "$__sk_e"
}
PROMPT_COMMAND='{ __sk_report; } 2>/dev/null'
PS1= PS2=
true
)";
}

// PS1's command substitution is the only hook every sh has; it forks once per command. The status is kept by
// the command file, since the substitution runs in a subshell.
std::string sh_hooks(const std::string& folder, std::string_view nonce) {
  return "unset ENV HISTFILE\nset -o ignoreeof\n__sk_n=" + std::string(nonce) + R"(
__sk_report() { printf '%s\0' "$__sk_n" "$1" "${!-}" "$PWD" "$PATH" >')" +
         folder + R"(/done'; }
__sk_begin() { printf '\033]sandkey;%s\007' "$__sk_n" >/dev/tty; return "$1"; }
PS1='$(__sk_report $?)' PS2=
true
)";
}

// No reserved word in front: after `eval` of an unclosed quote, bash does not know one as the next line's
// first word.
std::string bash_trigger(const std::string& folder) {
  return "__sk_next <'" + folder + "/command' 2>/dev/null;eval \"$__sk_c\"";
}

std::string sh_trigger(const std::string& folder) {
  return ". '" + folder + "/command'";
}

std::string bash_command_file(std::string_view nonce, std::string_view command) {
  return std::string(nonce) + "\n" + std::string(command);
}

std::string sh_command_file(std::string_view nonce, std::string_view command) {
  return "__sk_e=$? __sk_n=" + std::string(nonce) + " PS1='$(__sk_report $?)' PS2=;__sk_begin \"$__sk_e\"\n" +
         std::string(command) + "\n";
}

std::string start_marker(std::string_view nonce) {
  return "\033]sandkey;" + std::string(nonce) + "\007";
}

}  // namespace sandkey::agent
