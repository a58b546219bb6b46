// The encodings and line endings the editor can read, and writes back as it found them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sandkey::agent::files {

enum class Encoding { utf8, utf8_bom, utf16_le, utf16_be, latin1 };

// As Python calls it, for messages.
[[nodiscard]] std::string_view to_string(Encoding encoding) noexcept;

// What the mark at the beginning says; nothing if there is none. UTF-16 is only known by its mark.
[[nodiscard]] std::optional<Encoding> byte_order_mark(std::string_view bytes) noexcept;

// By its mark; else UTF-8 if it is that; else Latin-1, in which every byte means something, so that each byte
// not edited is written back as it was whatever the encoding really is.
[[nodiscard]] Encoding detect_encoding(std::string_view bytes) noexcept;

struct Conversion {
  std::string text;
  std::string error;  // not empty: what cannot be converted and where, as Python says it
};

// To UTF-8 without the mark, and back with it.
[[nodiscard]] Conversion decode_text(std::string_view bytes, Encoding encoding);
[[nodiscard]] Conversion encode_text(std::string_view text, Encoding encoding);

// Every \r\n and \r becomes \n, as Python's text mode reads.
[[nodiscard]] std::string normalize_newlines(std::string_view text);

// The most frequent line ending: "\n" unless "\r\n" or "\r" is more frequent.
[[nodiscard]] std::string_view usual_newline(std::string_view text) noexcept;

// Gives each \n of `text` the ending `newline`; a \r\n is left alone.
[[nodiscard]] std::string with_newlines(std::string_view text, std::string_view newline);

// Joins pieces of a text so that a \r at the end and a \n at the beginning stay two line endings.
void append_lines(std::string& out, std::string_view piece);

// Where in `raw` stands what is at `offset` of its normalized form.
[[nodiscard]] std::size_t raw_offset(std::string_view raw, std::size_t offset) noexcept;

}  // namespace sandkey::agent::files
