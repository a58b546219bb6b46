// Text as one word of a POSIX shell command.
#pragma once

#include <string>
#include <string_view>

namespace sandkey {

// In single quotes, in which nothing but the quote itself means anything. Line breaks stay line breaks.
// Must not hold NUL, which no shell can take.
[[nodiscard]] std::string shell_quote(std::string_view text);

// Whether `name` can be a variable of a shell: letters, digits and '_', not beginning with a digit.
[[nodiscard]] bool is_shell_name(std::string_view name) noexcept;

}  // namespace sandkey
