// Signed URLs of files: who has one may read or write one path as one user, without the sandbox's token.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::e2b_envd {

enum class FileOperation { read, write };

// All as in the URL's query, decoded: the path before any resolution, an empty user where none is named.
// `expiration` is in seconds since 1970.
[[nodiscard]] std::string file_signature(std::string_view path, FileOperation operation,
                                         std::string_view user, std::string_view token,
                                         std::optional<std::int64_t> expiration = std::nullopt);

// In a time that does not depend on where they differ.
[[nodiscard]] bool equal_secrets(std::string_view left, std::string_view right) noexcept;

}  // namespace sandkey::e2b_envd
