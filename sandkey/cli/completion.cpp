// completion: scripts for bash and zsh, made from the same grammar that reads the command line.
#include "sandkey/cli/verbs.h"
#include "sandkey/providers/registry.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace sandkey::cli {
namespace {

// What stands where an option's value or an argument is expected is told by its type's name in the grammar:
// SID, PROVIDER, DIR, FILE, PATH (here or in a sandbox), COMMAND, or the choices as in "bash|zsh".

struct Argument {
  std::string type;
  bool repeated = false;
};

struct Choice {
  std::vector<std::string> names;  // "-v", "--verbose"
  std::string type;                // empty: takes no value
  std::string description;
  bool repeated = false;
};

struct Verb {
  std::string name;
  std::string description;
  std::vector<Choice> options;
  std::vector<Argument> arguments;
};

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() > 0;
}

bool repeats(const CLI::Option& option) {
  return option.get_items_expected_max() > 1;
}

Verb describe(const CLI::App& app) {
  Verb verb{.name = app.get_name(), .description = app.get_description(), .options = {}, .arguments = {}};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      verb.arguments.push_back({.type = option->get_type_name(), .repeated = repeats(*option)});
      continue;
    }
    if (option->get_group().empty()) continue;  // hidden
    Choice choice{.names = {}, .type = {}, .description = option->get_description()};
    for (const std::string& name : option->get_snames()) choice.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) choice.names.push_back("--" + name);
    if (takes_value(*option)) choice.type = option->get_type_name();
    choice.repeated = repeats(*option);
    verb.options.push_back(std::move(choice));
  }
  if (app.get_prefix_command()) verb.arguments.push_back({.type = "COMMAND", .repeated = true});
  return verb;
}

std::vector<Verb> describe_verbs(const CLI::App& app) {
  std::vector<Verb> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    verbs.push_back(describe(*verb));
  }
  return verbs;
}

std::string joined(const std::vector<std::string>& words, const char* between = " ") {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

std::string provider_names() {
  std::vector<std::string> names;
  for (const ProviderEntry& entry : providers()) names.emplace_back(entry.name);
  return joined(names);
}

std::string choices_of(std::string type) {
  std::replace(type.begin(), type.end(), '|', ' ');
  return type;
}

std::vector<std::string> names_of(const std::vector<Choice>& options) {
  std::vector<std::string> names;
  for (const Choice& option : options) names.insert(names.end(), option.names.begin(), option.names.end());
  return names;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

// ---- bash

// In these, `kind` becomes the type of what stands there.
std::string bash_arguments(const std::vector<Verb>& verbs) {
  std::string text;
  for (const Verb& verb : verbs) {
    for (std::size_t i = 0; i < verb.arguments.size(); ++i) {
      const std::string place = verb.arguments[i].repeated ? "*" : std::to_string(i);
      text += "      " + verb.name + ":" + place + ") kind='" + verb.arguments[i].type + "' ;;\n";
    }
  }
  return text;
}

std::string bash_values(const std::vector<Verb>& verbs) {
  std::map<std::string, std::string> by_name;
  for (const Verb& verb : verbs) {
    for (const Choice& option : verb.options) {
      if (!option.type.empty()) by_name[joined(option.names, "|")] = option.type;
    }
  }
  std::string text;
  for (const auto& [names, type] : by_name) text += "      " + names + ") kind='" + type + "' ;;\n";
  return text;
}

std::string bash_options(const Verb& program, const std::vector<Verb>& verbs) {
  std::string text = "      '') words='" + joined(names_of(program.options)) + "' ;;\n";
  for (const Verb& verb : verbs) {
    text += "      " + verb.name + ") words='" + joined(names_of(verb.options)) + "' ;;\n";
  }
  return text;
}

constexpr const char* kBash = R"script(# bash completion for sandkey; "sandkey completion bash" writes it.

_sandkey() {
  local current=${COMP_WORDS[COMP_CWORD]} verb= kind= words= word index positional=0
  COMPREPLY=()
  [[ $current == '=' ]] && current=
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    [[ $word == '=' ]] && continue
    if [[ -n $kind ]]; then  # it was the value of the option before
      kind=
      continue
    fi
    case $word in
@VALUES@      --)
        [[ $verb == run ]] && { ((index++)); break; } ;;
      -*) ;;
      *)
        if [[ -z $verb ]]; then
          verb=$word
        elif [[ $verb == run ]]; then
          break
        else
          ((positional++))
        fi ;;
    esac
  done

  if [[ -z $kind && $current == -* && ! ($verb == run && $index -lt $COMP_CWORD) ]]; then
    case $verb in
@OPTIONS@    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    return
  fi
  if [[ -z $kind && -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W '@VERBS@' -- "$current")
    return
  fi
  if [[ -z $kind ]]; then
    case $verb:$positional in
@ARGUMENTS@    esac
  fi
  case $kind in
    SID)
      mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" ls --quiet 2>/dev/null)" -- "$current") ;;
    PROVIDER)
      mapfile -t COMPREPLY < <(compgen -W '@PROVIDERS@' -- "$current") ;;
    DIR)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    FILE)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    PATH)
      mapfile -t COMPREPLY < <(compgen -S : -W "$("${COMP_WORDS[0]}" ls --quiet 2>/dev/null)" -- "$current")
      if ((${#COMPREPLY[@]})); then
        compopt -o nospace 2>/dev/null
      else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi ;;
    COMMAND)
      if declare -F _command_offset >/dev/null; then
        _command_offset "$index"
      elif ((index == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$current")
      else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi ;;
    *'|'*)
      mapfile -t COMPREPLY < <(compgen -W "${kind//|/ }" -- "$current") ;;
  esac
}

complete -F _sandkey sandkey
)script";

std::string bash_script(const Verb& program, const std::vector<Verb>& verbs) {
  std::vector<std::string> names;
  for (const Verb& verb : verbs) names.push_back(verb.name);
  std::string text = replaced(kBash, "@VALUES@", bash_values(verbs));
  text = replaced(std::move(text), "@OPTIONS@", bash_options(program, verbs));
  text = replaced(std::move(text), "@ARGUMENTS@", bash_arguments(verbs));
  text = replaced(std::move(text), "@PROVIDERS@", provider_names());
  return replaced(std::move(text), "@VERBS@", joined(names));
}

// ---- zsh

std::string zsh_text(std::string text) {
  for (const char* special : {"\\", "[", "]", ":"})
    text = replaced(text, special, std::string("\\") + special);
  return replaced(std::move(text), "'", "'\\''");
}

std::string zsh_action(const std::string& type) {
  if (type == "SID") return "sandbox:_sandkey_sids";
  if (type == "PROVIDER") return "provider:(" + provider_names() + ")";
  if (type == "DIR") return "folder:_files -/";
  if (type == "FILE") return "file:_files";
  if (type == "PATH") return "path:_sandkey_paths";
  if (type == "COMMAND") return "command:_normal";
  if (type.find('|') != std::string::npos) return zsh_text(type) + ":(" + choices_of(type) + ")";
  return zsh_text(type) + ": ";
}

std::string zsh_option(const Choice& option) {
  std::vector<std::string> names = option.names;
  if (!option.type.empty()) {
    for (std::string& name : names) name += name.starts_with("--") ? "=" : "+";
  }
  const std::string tail = "'[" + zsh_text(option.description) + "]" +
                           (option.type.empty() ? "" : ":" + zsh_action(option.type)) + "'";
  const std::string repeat = option.repeated ? "'*'" : "";
  if (names.size() == 1) return repeat + names.front() + tail;
  const std::string exclusive = option.repeated ? "" : "'(" + joined(option.names) + ")'";
  return repeat + exclusive + "{" + joined(names, ",") + "}" + tail;
}

std::string zsh_verb(const Verb& verb) {
  std::string text = "    (" + verb.name + ")\n      _arguments -s -S";
  for (const Choice& option : verb.options) text += " \\\n        " + zsh_option(option);
  for (const Argument& argument : verb.arguments) {
    const std::string place = argument.type == "COMMAND" ? "*::" : argument.repeated ? "*:" : ":";
    text += " \\\n        '" + place + zsh_action(argument.type) + "'";
  }
  return text + " ;;\n";
}

constexpr const char* kZsh = R"script(#compdef sandkey
# zsh completion for sandkey; "sandkey completion zsh" writes it.

_sandkey_sids() {
  local -a sids
  sids=(${(f)"$(_call_program sids sandkey ls --quiet 2>/dev/null)"})
  compadd "$@" -a sids
}

_sandkey_paths() {
  if [[ $PREFIX == *:* ]]; then
    return 1
  fi
  _alternative 'sids:sandbox:_sandkey_sids -S \:' 'files:file:_files'
}

_sandkey() {
  local curcontext=$curcontext state line ret=1
  local -a verbs
  _arguments -C -S @PROGRAM@ '1:verb:->verb' '*::argument:->argument' && ret=0
  if [[ $state == verb ]]; then
    verbs=(
@VERBS@    )
    _describe verb verbs && ret=0
    return ret
  fi
  case $words[1] in
@CASES@  esac
}

if [[ $funcstack[1] == _sandkey ]]; then
  _sandkey "$@"
else
  compdef _sandkey sandkey
fi
)script";

std::string zsh_script(const Verb& program, const std::vector<Verb>& verbs) {
  std::string options;
  for (const Choice& option : program.options) options += (options.empty() ? "" : " ") + zsh_option(option);
  std::string names;
  std::string cases;
  for (const Verb& verb : verbs) {
    names += "      '" + verb.name + ":" + zsh_text(verb.description) + "'\n";
    cases += zsh_verb(verb);
  }
  std::string text = replaced(kZsh, "@PROGRAM@", options);
  text = replaced(std::move(text), "@VERBS@", names);
  return replaced(std::move(text), "@CASES@", cases);
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  const Verb program = describe(app);
  const std::vector<Verb> verbs = describe_verbs(app);
  return shell == "zsh" ? zsh_script(program, verbs) : bash_script(program, verbs);
}

}  // namespace sandkey::cli
