// Making file descriptors.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <string>
#include <string_view>

namespace sandkey {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

// Not inherited by what we start. Throws system_error(what).
[[nodiscard]] Pipe make_pipe(const std::string& what);

// A file in memory, to be read from its beginning; not inherited. `name` is for /proc only. Throws
// system_error(what).
[[nodiscard]] UniqueFd memory_file(const char* name, std::string_view text, const std::string& what);

// Opens /dev/null for each of the descriptors 0 to 2 that is closed, or the next one made takes its place, to
// be read as our input or to get what we print.
void open_standard_descriptors();

}  // namespace sandkey
