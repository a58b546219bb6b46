// What the daemon says of files.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/runtime/agent_client.h"

#include <string>
#include <string_view>

namespace sandkey::daytona_toolbox {

// `entry` is what the path leads to.
[[nodiscard]] json::object file_info(const std::string& path, const RemoteEntry& entry);

// The header of one part of a bulk download: its name, the file's name in two spellings, and what more is
// given.
[[nodiscard]] std::string part_head(std::string_view name, std::string_view filename,
                                    std::string_view content_type, std::string_view more = {});

// The i of "files[i].path" and "files[i].file".
struct UploadField {
  enum class Kind { path, file, other } kind = Kind::other;
  std::string index = {};
  bool operator==(const UploadField&) const = default;
};
[[nodiscard]] UploadField upload_field(std::string_view name);

// The occurrences of a plain text replaced, from left to right; an empty pattern changes nothing.
[[nodiscard]] std::string replaced(std::string_view text, std::string_view pattern, std::string_view value);

// What `grep --null -n` printed: FILE NUL LINE:CONTENT. Lines that are none are left out.
[[nodiscard]] json::array parse_matches(std::string_view output);
// What `find -print0` printed, in order.
[[nodiscard]] json::array parse_paths(std::string_view output);

}  // namespace sandkey::daytona_toolbox
