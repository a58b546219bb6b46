// Filters and pages of Runloop's lists.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/net/http_server.h"

#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::runloop::emulator {

inline constexpr std::size_t kDefaultPage = 20;
inline constexpr std::size_t kMaxPage = 5000;

// The values that `metadata[key]=value` and `metadata[key][in]=a,b` of a query allow, by key. Brackets and
// all else may be percent-encoded. ApiError(400) for what cannot be decoded.
using MetadataFilter = std::map<std::string, std::set<std::string>>;
[[nodiscard]] MetadataFilter parse_metadata_filter(std::string_view query);
[[nodiscard]] bool matches(const MetadataFilter& filter, const std::map<std::string, std::string>& metadata);

// What a request says of pages: `limit`, `starting_after`, `include_total_count`.
struct PageQuery {
  std::size_t limit = kDefaultPage;
  std::string after = {};
  bool total = true;
};
[[nodiscard]] PageQuery parse_page(const net::HttpExchange& exchange);

// Of all items of a list in its order, one page as it is answered: {`key`: [...], "has_more", "total_count"}.
// ApiError(400) if there is no item of the id behind which it shall begin.
struct Item {
  std::string id;
  std::function<json::object()> show;
};
[[nodiscard]] json::object make_page(const PageQuery& query, std::string_view key,
                                     const std::vector<Item>& items);

}  // namespace sandkey::runloop::emulator
