// TOML as Sandkey reads it: values with the line they stand on, and errors that never quote the text, which
// may hold a secret.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

struct TomlValue {
  enum class Type { boolean, integer, real, text, date, list, table };
  Type type = Type::table;
  std::string key = {};  // its name in the table around it
  int line = 0;          // of the key, from 1; 0 for the document
  bool boolean = false;
  std::int64_t integer = 0;
  double real = 0;
  std::string text = {};
  std::vector<TomlValue> items = {};  // of a list or a table; a table's in the order of their lines

  [[nodiscard]] bool is(Type wanted) const noexcept { return type == wanted; }
  // The table's value of that key, or null.
  [[nodiscard]] const TomlValue* find(std::string_view name) const noexcept;
};

// "text", "a whole number", "a table", ...: to say what was found.
[[nodiscard]] std::string_view describe(TomlValue::Type type) noexcept;

// The document's table. Throws Error(invalid_argument): "WHAT:3:17: not valid TOML (...)".
[[nodiscard]] TomlValue parse_toml(std::string_view text, std::string_view what);

// A text as a TOML basic string, quotes included.
[[nodiscard]] std::string toml_quoted(std::string_view text);

// A key as a message may show it: printable ASCII, not endless.
[[nodiscard]] std::string shown_key(std::string_view key);

}  // namespace sandkey
