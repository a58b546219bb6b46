// Enough of bash's grammar to tell one command from several, and the names of control keys.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::agent {

// The top-level commands of `input` as OpenHands counts them: only a newline separates two; `;`, `&`, `&&`
// and pipes do not, nor do newlines within quotes, compound commands, functions or here-documents. More than
// one piece means the action is to be refused.
//
// Each piece has its trailing blanks removed and keeps comments that follow it; comments before the first
// command are a piece of their own. Blank input gives one empty piece. What cannot be parsed is one piece,
// unchanged: bash shall have the last word. That includes what bashlex, which OpenHands' own server asks,
// does not know: `[[ ]]`, `case`, `select`, `time`, `coproc`, `for ((`, `$((`, `$[`, array assignments,
// quoted here-document delimiters.
[[nodiscard]] std::vector<std::string> split_commands(std::string_view input);

// Whether an input names a control key rather than text to type: exactly three bytes beginning with `C-`.
[[nodiscard]] bool is_special_key(std::string_view input) noexcept;

// The byte that key sends ("C-c": 3, "C-[": 27, "C-?": 127), if it is a key with one.
[[nodiscard]] std::optional<char> control_key(std::string_view input) noexcept;

}  // namespace sandkey::agent
