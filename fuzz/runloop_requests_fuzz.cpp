// What Runloop's emulator reads of its clients, and what it tells of the outputs of their commands: a refusal
// of the cloud's own kind, or something within its bounds. Input: a byte that chooses what it is, then the
// text.
#include "sandkey/base/json.h"
#include "sandkey/base/utf8.h"
#include "sandkey/providers/runloop/emulator/api_error.h"
#include "sandkey/providers/runloop/emulator/file_routes.h"
#include "sandkey/providers/runloop/emulator/listing.h"
#include "sandkey/providers/runloop/emulator/output.h"
#include "sandkey/providers/runloop/emulator/requests.h"
#include "sandkey/providers/runloop/emulator/tunnels.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

namespace {

using namespace sandkey;
using namespace sandkey::runloop::emulator;

void require(bool good) {
  if (!good) std::abort();
}

void read_create(std::string_view text) {
  const CreateRequest request = parse_create(parse_body(text));
  const LaunchParameters launch = parse_launch(request.launch, {});
  require(launch.keep_alive > std::chrono::seconds(0) && launch.keep_alive <= kMaxKeepAlive);
  require(launch.cpus >= 0.5 && launch.cpus <= 16 && launch.memory_gib >= 1 && launch.disk_gib >= 2);
  require(!launch.user.empty() && launch.user.find_first_of("/.") == std::string::npos);
}

void read_wait(std::string_view text) {
  const WaitRequest request =
      parse_wait(parse_body(text), {"queued", "running", "completed"}, kMaxExecutionWait);
  require(!request.statuses.empty());
  require(request.timeout >= std::chrono::milliseconds(0) && request.timeout <= kMaxExecutionWait);
}

void read_others(std::string_view text) {
  const json::object body = parse_body(text);
  (void)parse_snapshot(body);
  (void)parse_tunnel(body);
  (void)parse_blueprint(body);
}

// The chunks of a stream are the stream, and none ends within a character that is whole.
void stream(std::string_view text) {
  std::uint64_t from = 0;
  while (const auto chunk = next_chunk(text, from, true)) {
    require(chunk->end > from && chunk->end <= text.size());
    require(chunk->bytes == text.substr(from, chunk->bytes.size()));
    require(chunk->end == text.size() || utf8::incomplete_tail(chunk->bytes) == 0);
    require(to_event(*chunk).ends_with("}\n\n"));
    from = chunk->end;
  }
  require(from == text.size());
}

void cut(std::string_view text) {
  const std::size_t lines = text.empty() ? 1 : static_cast<unsigned char>(text.front()) % 8 + std::size_t{1};
  const Tail tail = last_lines(text, lines);
  require(text.ends_with(tail.text) && tail.truncated == (tail.text.size() < text.size()));
  const auto breaks = static_cast<std::size_t>(std::ranges::count(tail.text, '\n'));
  require(breaks <= lines);
}

void route(std::string_view text) {
  const auto found = parse_tunnel_host(text);
  if (!found) return;
  require(found->port != 0 && !found->key.empty());
  const std::string url = tunnel_url(found->port, found->key, "127.0.0.1:1");
  require(parse_tunnel_host(std::string_view(url).substr(7)) == found);
}

void read(std::uint8_t what, std::string_view text) {
  switch (what % 8) {
    case 0:
      read_create(text);
      break;
    case 1:
      read_wait(text);
      break;
    case 2:
      read_others(text);
      break;
    case 3:
      (void)parse_input(parse_body(text));
      break;
    case 4:
      (void)matches(parse_metadata_filter(text), {{"a", "b"}});
      break;
    case 5:
      stream(text);
      break;
    case 6:
      cut(text);
      break;
    default:
      route(text);
      require(resolve_path(text, "/home/user").starts_with('/'));
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
    require(error.status() == 400 || error.status() == 501);
  }
  return 0;
}
