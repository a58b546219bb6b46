// Tells text files from binary ones by their beginning, as the reference (binaryornot) does wherever its
// answer does not hang on a statistical guess at the encoding: UTF-8, and UTF-16 with a byte order mark, are
// text; what has a zero byte or 0xFF otherwise is binary; single-byte encodings are text unless nearly every
// byte is unprintable.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sandkey::agent::files {

// How much of a file is looked at.
inline constexpr std::size_t kBinaryProbeBytes = 1024;

// `beginning` is the first kBinaryProbeBytes of a file, or all of a shorter one.
[[nodiscard]] bool looks_binary(std::string_view beginning) noexcept;

// False for what cannot be read: saying why is left to whoever opens the file next. True for "*.pyc" in any
// case.
[[nodiscard]] bool is_binary_file(const std::string& path);

}  // namespace sandkey::agent::files
