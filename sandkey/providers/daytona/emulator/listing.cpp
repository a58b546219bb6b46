#include "sandkey/providers/daytona/emulator/listing.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/error.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/requests.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cctype>

namespace sandkey::daytona::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kContainers = "container";

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_one_of(const std::vector<std::string>& wanted, std::string_view value) {
  return wanted.empty() || std::ranges::find(wanted, value) != wanted.end();
}

template <class Value>
bool is_within(const std::pair<std::optional<Value>, std::optional<Value>>& range, const Value& value) {
  return (!range.first || value >= *range.first) && (!range.second || value <= *range.second);
}

// Also with an offset without its colon, as the Python SDK writes it: the server takes whatever JavaScript's
// Date does.
std::optional<emu::Time> time_of(std::string_view query, std::string_view name) {
  constexpr std::size_t kOffset = 5;  // "+0000"
  std::string text = query_text(query, name);
  if (text.empty()) return std::nullopt;
  const char sign = text[text.size() - std::min(text.size(), kOffset)];
  if (sign == '+' || (sign == '-' && text.find('T') != std::string::npos)) text.insert(text.size() - 2, ":");
  const auto time = emu::parse_rfc3339(text);
  if (!time) throw ApiError(400, std::string(name) + " must be a Date instance");
  return time;
}

SortBy sort_of(std::string_view query) {
  const std::string text = query_text(query, "sort");
  if (text.empty() || text == "lastActivityAt") return SortBy::last_activity;
  if (text == "name") return SortBy::name;
  if (text == "cpu") return SortBy::cpu;
  if (text == "memoryGib") return SortBy::memory;
  if (text == "diskGib") return SortBy::disk;
  if (text == "createdAt") return SortBy::created;
  throw ApiError(
      400,
      "sort must be one of the following values: name, cpu, memoryGib, diskGib, lastActivityAt, createdAt");
}

bool is_ascending(std::string_view query) {
  const std::string text = query_text(query, "order");
  if (text != "asc" && text != "desc" && !text.empty()) {
    throw ApiError(400, "order must be one of the following values: asc, desc");
  }
  return text == "asc";
}

}  // namespace

// ---- What lists know

void ListIndex::put(ListItemPtr item, emu::Time now) {
  const std::string id = item->id;
  add(id, {.since = now, .item = std::move(item)});
}

void ListIndex::remove(const std::string& id, emu::Time now) {
  add(id, {.since = now, .item = nullptr});
}

void ListIndex::add(const std::string& id, Version version) {
  std::deque<Version>& versions = versions_[id];
  // What is older than the one that is told now is told no more.
  const emu::Time told = version.since - delay_;
  while (versions.size() > 1 && versions[1].since <= told) versions.pop_front();
  versions.push_back(std::move(version));
}

std::vector<ListItemPtr> ListIndex::seen(const std::string& organization, emu::Time now) {
  std::vector<ListItemPtr> items;
  for (auto each = versions_.begin(); each != versions_.end();) {
    std::deque<Version>& versions = each->second;
    while (versions.size() > 1 && versions[1].since + delay_ <= now) versions.pop_front();
    const Version& told = versions.front();
    const bool begun = told.since + delay_ <= now;
    if (begun && !told.item) {
      each = versions_.erase(each);
      continue;
    }
    if (begun && told.item->organization == organization) items.push_back(told.item);
    ++each;
  }
  return items;
}

// ---- What is asked of them

std::map<std::string, std::string> parse_labels(std::string_view text) {
  const ApiError invalid(400, "Invalid labels JSON format");
  json::value value;
  try {
    value = parse_json(text, "the labels");
  } catch (const Error&) {
    throw invalid;
  }
  if (!value.is_object()) throw invalid;
  std::map<std::string, std::string> labels;
  for (const auto& [name, each] : value.get_object()) {
    if (!each.is_string()) throw invalid;
    labels[std::string(name)] = std::string(std::string_view(each.get_string()));
  }
  return labels;
}

ListQuery parse_list_query(std::string_view text) {
  ListQuery query;
  query.id_prefix = lower(query_text(text, "id"));
  query.name_prefix = lower(query_text(text, "name"));
  if (const std::string labels = query_text(text, "labels"); !labels.empty()) {
    query.labels = parse_labels(labels);
  }
  query.states = query_list(text, "states");
  for (const std::string& state : query.states) {
    if (!is_state_name(state)) throw ApiError(400, "each value in states must be a state of a sandbox");
  }
  query.snapshots = query_list(text, "snapshots");
  query.regions = query_list(text, "regionIds");
  query.classes = query_list(text, "sandboxClasses");
  query.errored_deleted = query_flag(text, "includeErroredDeleted").value_or(false);
  query.is_public = query_flag(text, "isPublic");
  query.is_recoverable = query_flag(text, "isRecoverable");
  query.cpu = {query_integer(text, "minCpu"), query_integer(text, "maxCpu")};
  query.memory = {query_integer(text, "minMemoryGiB"), query_integer(text, "maxMemoryGiB")};
  query.disk = {query_integer(text, "minDiskGiB"), query_integer(text, "maxDiskGiB")};
  query.created = {time_of(text, "createdAtAfter"), time_of(text, "createdAtBefore")};
  query.last_event = {time_of(text, "lastEventAfter"), time_of(text, "lastEventBefore")};
  query.sort = sort_of(text);
  query.ascending = is_ascending(text);
  return query;
}

bool matches(const ListItem& item, const ListQuery& query) {
  const auto has_label = [&](const auto& wanted) {
    const auto found = item.labels.find(wanted.first);
    return found != item.labels.end() && found->second == wanted.second;
  };
  return item.id.starts_with(query.id_prefix) && lower(item.name).starts_with(query.name_prefix) &&
         std::ranges::all_of(query.labels, has_label) && is_one_of(query.states, item.state) &&
         is_one_of(query.snapshots, item.snapshot) && is_one_of(query.regions, item.target) &&
         is_one_of(query.classes, kContainers) && (query.errored_deleted || !item.errored_deleted) &&
         query.is_public.value_or(item.is_public) == item.is_public &&
         query.is_recoverable.value_or(item.is_recoverable) == item.is_recoverable &&
         is_within(query.cpu, item.sizes.cpu) && is_within(query.memory, item.sizes.memory) &&
         is_within(query.disk, item.sizes.disk) && is_within(query.created, item.created) &&
         is_within(query.last_event, item.last_event);
}

// ---- Pages

Cursor cursor_at(const ListItem& item, SortBy sort) {
  const auto at = [](emu::Time time) { return static_cast<std::int64_t>(time.time_since_epoch().count()); };
  Cursor cursor{.id = item.id};
  switch (sort) {
    case SortBy::name:
      cursor.text = item.name;
      break;
    case SortBy::cpu:
      cursor.number = item.sizes.cpu;
      break;
    case SortBy::memory:
      cursor.number = item.sizes.memory;
      break;
    case SortBy::disk:
      cursor.number = item.sizes.disk;
      break;
    case SortBy::last_activity:
      cursor.number = at(item.last_activity);
      break;
    case SortBy::created:
      cursor.number = at(item.created);
      break;
  }
  return cursor;
}

std::string write_cursor(const Cursor& cursor) {
  json::object object;
  object["number"] = cursor.number;
  object["text"] = cursor.text;
  object["id"] = cursor.id;
  return base64_encode(json::serialize(object));
}

Cursor read_cursor(std::string_view text) {
  const ApiError invalid(400, "Invalid cursor");
  const auto decoded = base64_decode(text);
  if (!decoded) throw invalid;
  json::value value;
  try {
    value = parse_json(*decoded, "the cursor");
  } catch (const Error&) {
    throw invalid;
  }
  if (!value.is_object()) throw invalid;
  const json::object& object = value.get_object();
  const auto number = find_integer(object, "number");
  const auto name = find_string(object, "text");
  const auto id = find_string(object, "id");
  if (!number || !name || !id) throw invalid;
  return {.number = *number, .text = std::string(*name), .id = std::string(*id)};
}

std::vector<ListItemPtr> select(std::vector<ListItemPtr> items, const ListQuery& query) {
  std::erase_if(items, [&](const ListItemPtr& each) { return !matches(*each, query); });
  std::ranges::sort(items, [&](const ListItemPtr& a, const ListItemPtr& b) {
    const Cursor left = cursor_at(*a, query.sort);
    const Cursor right = cursor_at(*b, query.sort);
    return query.ascending ? left < right : right < left;
  });
  return items;
}

Page cut_page(const std::vector<ListItemPtr>& items, const ListQuery& query,
              const std::optional<Cursor>& after, std::size_t limit) {
  Page page;
  for (const ListItemPtr& each : items) {
    const Cursor here = cursor_at(*each, query.sort);
    if (after && (query.ascending ? here <= *after : here >= *after)) continue;
    if (page.items.size() == limit) {
      page.next = write_cursor(cursor_at(*page.items.back(), query.sort));
      break;
    }
    page.items.push_back(each);
  }
  return page;
}

}  // namespace sandkey::daytona::emulator
