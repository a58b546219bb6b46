// Daytona's lists of sandboxes: what they show, since when, filtered and cut into pages.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/emulator/rfc3339.h"
#include "sandkey/providers/daytona/emulator/state.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::daytona::emulator {

// A sandbox as a list saw it.
struct ListItem {
  std::string id = {};
  std::string organization = {};
  std::string name = {};
  std::string state = {};
  std::string snapshot = {};
  std::string target = {};
  std::map<std::string, std::string> labels = {};
  Sizes sizes = {};
  bool is_public = false;
  bool is_recoverable = false;
  bool errored_deleted = false;
  sandkey::emulator::Time created = {};
  sandkey::emulator::Time last_activity = {};
  sandkey::emulator::Time last_event = {};
  json::object shown = {};
};
using ListItemPtr = std::shared_ptr<const ListItem>;

// Remembers what was so as long as somebody may still be told.
class ListIndex {
 public:
  explicit ListIndex(std::chrono::milliseconds delay) : delay_(delay) {}

  void set_delay(std::chrono::milliseconds delay) noexcept { delay_ = delay; }
  void put(ListItemPtr item, sandkey::emulator::Time now);
  void remove(const std::string& id, sandkey::emulator::Time now);
  // What lists of that organization tell now.
  [[nodiscard]] std::vector<ListItemPtr> seen(const std::string& organization, sandkey::emulator::Time now);

 private:
  struct Version {
    sandkey::emulator::Time since;
    ListItemPtr item;  // null: it is gone
  };
  void add(const std::string& id, Version version);

  std::chrono::milliseconds delay_;
  std::map<std::string, std::deque<Version>> versions_;
};

enum class SortBy { name, cpu, memory, disk, last_activity, created };

// As the parameters of a query ask for it; throws ApiError(400).
struct ListQuery {
  std::string id_prefix = {};  // in lower case, both
  std::string name_prefix = {};
  std::map<std::string, std::string> labels = {};
  std::vector<std::string> states = {};  // empty: any, of these lists
  std::vector<std::string> snapshots = {};
  std::vector<std::string> regions = {};
  std::vector<std::string> classes = {};
  bool errored_deleted = false;
  std::optional<bool> is_public = std::nullopt;
  std::optional<bool> is_recoverable = std::nullopt;
  using Range = std::pair<std::optional<std::int64_t>, std::optional<std::int64_t>>;
  Range cpu = {};
  Range memory = {};
  Range disk = {};
  using Times = std::pair<std::optional<sandkey::emulator::Time>, std::optional<sandkey::emulator::Time>>;
  Times created = {};
  Times last_event = {};
  SortBy sort = SortBy::last_activity;
  bool ascending = false;
};
[[nodiscard]] ListQuery parse_list_query(std::string_view query);
// {"name": "value"}; throws ApiError(400) for what is none.
[[nodiscard]] std::map<std::string, std::string> parse_labels(std::string_view text);

[[nodiscard]] bool matches(const ListItem& item, const ListQuery& query);

// Where a page ended: what it was sorted by, as a number or a text, and the id. Opaque to clients: base64 of
// JSON.
struct Cursor {
  std::int64_t number = 0;
  std::string text = {};
  std::string id = {};
  auto operator<=>(const Cursor&) const = default;
};
[[nodiscard]] Cursor cursor_at(const ListItem& item, SortBy sort);
[[nodiscard]] std::string write_cursor(const Cursor& cursor);
// Throws ApiError(400).
[[nodiscard]] Cursor read_cursor(std::string_view text);

// Those that match, in their order.
[[nodiscard]] std::vector<ListItemPtr> select(std::vector<ListItemPtr> items, const ListQuery& query);

struct Page {
  std::vector<ListItemPtr> items = {};
  std::optional<std::string> next = std::nullopt;
};
// Of what select() gave.
[[nodiscard]] Page cut_page(const std::vector<ListItemPtr>& items, const ListQuery& query,
                            const std::optional<Cursor>& after, std::size_t limit);

}  // namespace sandkey::daytona::emulator
