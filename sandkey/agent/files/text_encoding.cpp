#include "sandkey/agent/files/text_encoding.h"

#include "sandkey/base/utf8.h"

#include <cstdint>

namespace sandkey::agent::files {
namespace {

constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";
constexpr std::string_view kUtf16LeMark = "\xFF\xFE";
constexpr std::string_view kUtf16BeMark = "\xFE\xFF";

std::string hex(std::uint32_t value, std::size_t digits) {
  std::string out(digits, '0');
  for (std::size_t i = digits; i-- > 0; value >>= 4U) out[i] = "0123456789abcdef"[value & 0xFU];
  return out;
}

Conversion decode_utf8(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const utf8::Decoded step = utf8::decode(bytes.substr(i));
    if (!step.valid) {
      return {{},
              "'utf-8' codec can't decode byte 0x" + hex(static_cast<unsigned char>(bytes[i]), 2) +
                  " in position " + std::to_string(i) + ": invalid byte"};
    }
    i += step.length;
  }
  return {std::string(bytes), {}};
}

Conversion decode_utf16(std::string_view bytes, Encoding encoding) {
  const auto fail = [&](std::size_t at, const char* why) {
    return Conversion{{},
                      "'" + std::string(to_string(encoding)) + "' codec can't decode bytes in position " +
                          std::to_string(at) + ": " + why};
  };
  const auto unit_at = [&](std::size_t i) {
    const std::uint32_t first = static_cast<unsigned char>(bytes[i]);
    const std::uint32_t second = static_cast<unsigned char>(bytes[i + 1]);
    return encoding == Encoding::utf16_le ? first | (second << 8U) : second | (first << 8U);
  };
  Conversion out;
  out.text.reserve(bytes.size());
  for (std::size_t i = 2; i < bytes.size(); i += 2) {
    if (i + 1 == bytes.size()) return fail(i, "truncated data");
    std::uint32_t c = unit_at(i);
    if (c >= 0xDC00 && c <= 0xDFFF) return fail(i, "illegal encoding");
    if (c >= 0xD800 && c <= 0xDBFF) {
      if (i + 3 >= bytes.size()) return fail(i, "unexpected end of data");
      const std::uint32_t low = unit_at(i + 2);
      if (low < 0xDC00 || low > 0xDFFF) return fail(i, "illegal UTF-16 surrogate");
      c = 0x10000 + ((c - 0xD800) << 10U) + (low - 0xDC00);
      i += 2;
    }
    utf8::append(out.text, c);
  }
  return out;
}

}  // namespace

std::string_view to_string(Encoding encoding) noexcept {
  switch (encoding) {
    case Encoding::utf8:
      return "utf-8";
    case Encoding::utf8_bom:
      return "utf-8-sig";
    case Encoding::utf16_le:
      return "utf-16-le";
    case Encoding::utf16_be:
      return "utf-16-be";
    case Encoding::latin1:
      return "latin-1";
  }
  return "?";
}

std::optional<Encoding> byte_order_mark(std::string_view bytes) noexcept {
  if (bytes.starts_with(kUtf8Mark)) return Encoding::utf8_bom;
  if (bytes.starts_with(kUtf16LeMark)) return Encoding::utf16_le;
  if (bytes.starts_with(kUtf16BeMark)) return Encoding::utf16_be;
  return std::nullopt;
}

Encoding detect_encoding(std::string_view bytes) noexcept {
  const std::optional<Encoding> mark = byte_order_mark(bytes);
  if (mark && (mark != Encoding::utf8_bom || utf8::is_valid(bytes))) return *mark;
  return utf8::is_valid(bytes) ? Encoding::utf8 : Encoding::latin1;
}

Conversion decode_text(std::string_view bytes, Encoding encoding) {
  switch (encoding) {
    case Encoding::utf8:
      return decode_utf8(bytes);
    case Encoding::utf8_bom:
      return decode_utf8(bytes.substr(kUtf8Mark.size()));
    case Encoding::utf16_le:
    case Encoding::utf16_be:
      return decode_utf16(bytes, encoding);
    case Encoding::latin1:
      break;
  }
  Conversion out;
  out.text.reserve(bytes.size() + bytes.size() / 8);
  for (const char c : bytes) utf8::append(out.text, static_cast<unsigned char>(c));
  return out;
}

Conversion encode_text(std::string_view text, Encoding encoding) {
  if (encoding == Encoding::utf8) return {std::string(text), {}};
  if (encoding == Encoding::utf8_bom) return {std::string(kUtf8Mark).append(text), {}};
  Conversion out;
  out.text.reserve(encoding == Encoding::latin1 ? text.size() : 2 * text.size() + 2);
  const auto put_unit = [&](std::uint32_t unit) {
    const char low = static_cast<char>(unit & 0xFFU);
    const char high = static_cast<char>(unit >> 8U);
    out.text += encoding == Encoding::utf16_le ? low : high;
    out.text += encoding == Encoding::utf16_le ? high : low;
  };
  if (encoding != Encoding::latin1) put_unit(0xFEFF);
  std::size_t position = 0;
  for (std::size_t i = 0; i < text.size(); ++position) {
    const utf8::Decoded step = utf8::decode(text.substr(i));
    const char32_t c = step.code_point;
    i += step.length;
    if (encoding == Encoding::latin1) {
      if (c > 0xFF) {
        const std::string code = c <= 0xFFFF ? "\\u" + hex(c, 4) : "\\U" + hex(c, 8);
        return {{},
                "'latin-1' codec can't encode character '" + code + "' in position " +
                    std::to_string(position) + ": ordinal not in range(256)"};
      }
      out.text += static_cast<char>(c);
    } else if (c > 0xFFFF) {
      put_unit(0xD800 + ((static_cast<std::uint32_t>(c) - 0x10000) >> 10U));
      put_unit(0xDC00 + ((static_cast<std::uint32_t>(c) - 0x10000) & 0x3FFU));
    } else {
      put_unit(c);
    }
  }
  return out;
}

std::string normalize_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t cr = text.find('\r');
    out += text.substr(0, cr);
    if (cr == std::string_view::npos) break;
    out += '\n';
    text.remove_prefix(cr + (text.substr(cr, 2) == "\r\n" ? 2 : 1));
  }
  return out;
}

std::string_view usual_newline(std::string_view text) noexcept {
  std::size_t lf = 0;
  std::size_t cr = 0;
  std::size_t crlf = 0;
  for (std::size_t i = text.find_first_of("\r\n"); i != std::string_view::npos;
       i = text.find_first_of("\r\n", i + 1)) {
    if (text[i] == '\n') {
      ++lf;
    } else if (text.substr(i, 2) == "\r\n") {
      ++crlf;
      ++i;
    } else {
      ++cr;
    }
  }
  if (crlf > lf && crlf >= cr) return "\r\n";
  return cr > lf ? "\r" : "\n";
}

std::string with_newlines(std::string_view text, std::string_view newline) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) {
      out += newline;
    } else {
      out += text[i];
    }
  }
  return out;
}

void append_lines(std::string& out, std::string_view piece) {
  if (out.ends_with('\r') && piece.starts_with('\n')) out += '\r';
  out += piece;
}

std::size_t raw_offset(std::string_view raw, std::size_t offset) noexcept {
  std::size_t i = 0;
  for (; offset > 0; --offset) i += raw.substr(i, 2) == "\r\n" ? 2 : 1;
  return i;
}

}  // namespace sandkey::agent::files
