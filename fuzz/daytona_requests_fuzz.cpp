// What Daytona's emulator reads of its clients: a refusal of the cloud's own kind, or something within its
// bounds. Input: a byte that chooses what it is, then the text.
#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/net/http_server.h"
#include "sandkey/providers/daytona/emulator/api_error.h"
#include "sandkey/providers/daytona/emulator/data_plane.h"
#include "sandkey/providers/daytona/emulator/knobs.h"
#include "sandkey/providers/daytona/emulator/listing.h"
#include "sandkey/providers/daytona/emulator/requests.h"
#include "sandkey/providers/daytona/emulator/snapshots.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

namespace {

using namespace sandkey;
using namespace sandkey::daytona::emulator;

void require(bool good) {
  if (!good) std::abort();
}

void read_create(std::string_view text) {
  const CreateRequest request = parse_create(parse_body(text));
  require(request.auto_stop >= 0 && request.auto_stop <= kMaxMinutes);
  require(request.auto_archive > 0 && request.auto_archive <= kMaxAutoArchive);
  require(request.auto_delete >= kNever && request.auto_delete <= kMaxMinutes);
  require(request.ttl >= 0 && request.ttl <= kMaxMinutes);
  require(request.sizes.cpu >= 1 && request.sizes.memory >= 1 && request.sizes.disk >= 1);
}

void read_list(std::string_view text) {
  const ListQuery query = parse_list_query(text);
  ListItem item;
  item.name = "box";
  (void)matches(item, query);
}

void read_place(std::string_view text) {
  const Cursor cursor = read_cursor(text);
  require(read_cursor(write_cursor(cursor)) == cursor);
}

void make_snapshot(std::string_view text) {
  static Engine engine;
  Snapshots snapshots(engine, {});
  const Snapshot& made = snapshots.create(parse_body(text), "somebody", {});
  require(snapshots.find(made.name, "somebody") == &made);
}

void route(std::string_view text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view target = text.substr(std::min(end + 1, text.size()));
  const std::optional<Destination> found = find_destination(text.substr(0, end), target);
  if (found) require(found->path.find('?') == std::string::npos);
  const std::string kept = without_token(target);
  require(kept.size() <= target.size() && without_token(kept) == kept);
}

void read(std::uint8_t what, std::string_view text) {
  switch (what % 6) {
    case 0:
      read_create(text);
      break;
    case 1:
      read_list(text);
      break;
    case 2:
      read_place(text);
      break;
    case 3:
      make_snapshot(text);
      break;
    case 4:
      route(text);
      break;
    default:
      (void)changed(Knobs(), parse_body(text));
      break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const void* const bytes = data + 1;
  try {
    read(data[0], std::string_view(static_cast<const char*>(bytes), size - 1));
  } catch (const ApiError& error) {
    require(error.status() >= 400 && error.status() < 500);
  } catch (const net::HttpError& error) {
    require(error.status() == 400);
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_argument);
  }
  return 0;
}
