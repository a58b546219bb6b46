// What somebody who mistyped a name probably meant.
#pragma once

#include <span>
#include <string_view>

namespace sandkey {

// The candidate fewest edits away (a swap of neighbours is one), if it is near enough to be a slip of the
// hand; else empty.
[[nodiscard]] std::string_view nearest_name(std::string_view name,
                                            std::span<const std::string_view> candidates);

}  // namespace sandkey
