// Text as Python prints it. The reference's messages are made of paths, errors and lists in Python's
// notation, and agents' prompts rely on them, so they are made the same way here. All text is valid UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sandkey::agent::files {

// What str.isspace() calls white space.
[[nodiscard]] bool is_space(char32_t code_point) noexcept;
[[nodiscard]] std::string_view strip_right(std::string_view text) noexcept;
[[nodiscard]] std::string_view strip(std::string_view text) noexcept;

// str(Path(path)): repeated slashes, `.` and a trailing slash go; `..` stays, since behind a symlink it means
// something.
[[nodiscard]] std::string path_text(std::string_view path);
// Path(directory) / path.
[[nodiscard]] std::string join_path(std::string_view directory, std::string_view path);
[[nodiscard]] inline bool is_absolute(std::string_view path) noexcept {
  return path.substr(0, 1) == "/";
}
// The last component, and Path(path).suffix with its dot ("" for ".bashrc" and "a.").
[[nodiscard]] std::string_view file_name(std::string_view path) noexcept;
[[nodiscard]] std::string_view suffix(std::string_view path) noexcept;

[[nodiscard]] std::string to_lower_ascii(std::string_view text);

// "'/a b'": quotes, backslashes and control characters escaped.
[[nodiscard]] std::string repr(std::string_view text);
// "[1, 2]".
[[nodiscard]] std::string list_text(const std::vector<long long>& values);
// str(OSError): "[Errno 13] Permission denied: '/x'"; without a path the part after the colon is left out.
[[nodiscard]] std::string os_error_text(int error_number, std::string_view path = {});

// The offset after the line that starts at `begin`, for lines that end in \n, \r\n or \r as in Python's text
// mode.
[[nodiscard]] std::size_t next_line(std::string_view text, std::size_t begin) noexcept;

}  // namespace sandkey::agent::files
