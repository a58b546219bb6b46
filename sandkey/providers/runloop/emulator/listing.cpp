#include "sandkey/providers/runloop/emulator/listing.h"

#include "sandkey/base/percent.h"
#include "sandkey/providers/runloop/emulator/api_error.h"
#include "sandkey/providers/runloop/emulator/requests.h"

#include <algorithm>
#include <optional>

namespace sandkey::runloop::emulator {
namespace {

constexpr std::string_view kBegin = "metadata[";
constexpr std::string_view kIn = "][in]";

std::string decode(std::string_view text) {
  auto decoded = percent_decode(text, true);
  if (!decoded) throw invalid("The query has an invalid escape");
  return std::move(*decoded);
}

void add_values(std::string_view list, std::set<std::string>& values) {
  while (true) {
    const std::size_t comma = list.find(',');
    values.emplace(list.substr(0, comma));
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

MetadataFilter parse_metadata_filter(std::string_view query) {
  MetadataFilter filter;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string name = decode(pair.substr(0, equals));
    if (!name.starts_with(kBegin) || !name.ends_with(']')) continue;
    const std::string value = decode(pair.substr(std::min(equals + 1, pair.size())));
    const std::string_view inner = std::string_view(name).substr(kBegin.size());
    if (inner.ends_with(kIn)) {
      add_values(value, filter[std::string(inner.substr(0, inner.size() - kIn.size()))]);
    } else {
      filter[std::string(inner.substr(0, inner.size() - 1))].insert(value);
    }
  }
  return filter;
}

bool matches(const MetadataFilter& filter, const std::map<std::string, std::string>& metadata) {
  return std::ranges::all_of(filter, [&](const auto& wanted) {
    const auto found = metadata.find(wanted.first);
    return found != metadata.end() && wanted.second.contains(found->second);
  });
}

PageQuery parse_page(const net::HttpExchange& exchange) {
  PageQuery query;
  const std::uint64_t limit = parse_count(exchange.query("limit"), "limit", kDefaultPage);
  if (limit == 0) throw invalid("'limit' must be at least 1");
  query.limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, kMaxPage));
  query.after = exchange.query("starting_after").value_or("");
  query.total = exchange.query("include_total_count").value_or("true") != "false";
  return query;
}

json::object make_page(const PageQuery& query, std::string_view key, const std::vector<Item>& items) {
  auto begin = items.begin();
  if (!query.after.empty()) {
    begin = std::ranges::find(items, query.after, &Item::id);
    if (begin == items.end()) throw no_such("The item to start after,", query.after);
    ++begin;
  }
  const auto left = static_cast<std::size_t>(items.end() - begin);
  const std::size_t size = std::min(query.limit, left);
  json::array list;
  for (std::size_t i = 0; i < size; ++i, ++begin) list.emplace_back(begin->show());
  json::object page;
  page[key] = std::move(list);
  page["has_more"] = left > size;
  if (query.total) page["total_count"] = items.size();
  return page;
}

}  // namespace sandkey::runloop::emulator
