// Filters and pages of E2B's lists.
#pragma once

#include "sandkey/emulator/rfc3339.h"

#include <map>
#include <string>
#include <string_view>

namespace sandkey::e2b::emulator {

// The pairs that a `metadata` parameter asks for. `value` is the query's, decoded once as every parameter is;
// the cloud then decodes the whole again, splits it at '&' and '=', and decodes each name and value a third
// time. Throws ApiError(400) for what cannot be decoded or is no pair.
[[nodiscard]] std::map<std::string, std::string> parse_metadata_filter(std::string_view value);
[[nodiscard]] bool matches(const std::map<std::string, std::string>& filter,
                           const std::map<std::string, std::string>& metadata);

// Where a page ended: opaque to clients, base64url of "<time>__<id>", with "__asc" behind it for ascending
// order.
struct PageToken {
  sandkey::emulator::Time time = {};
  std::string id = {};
  bool operator==(const PageToken&) const = default;
};
[[nodiscard]] std::string write_page_token(const PageToken& token, bool ascending);
// Throws ApiError(400) for one that is none, or belongs to the other order.
[[nodiscard]] PageToken read_page_token(std::string_view text, bool ascending);

}  // namespace sandkey::e2b::emulator
