// What E2B's emulator reads of its clients: a refusal of the cloud's own kind, or something within its
// bounds. Input: a byte that chooses what it is, then the text.
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/faults.h"
#include "sandkey/emulator/known_secrets.h"
#include "sandkey/emulator/rfc3339.h"
#include "sandkey/providers/e2b/emulator/api_error.h"
#include "sandkey/providers/e2b/emulator/data_plane.h"
#include "sandkey/providers/e2b/emulator/listing.h"
#include "sandkey/providers/e2b/emulator/requests.h"
#include "sandkey/providers/e2b/emulator/templates.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace sandkey;
using namespace sandkey::e2b::emulator;

void require(bool good) {
  if (!good) std::abort();
}

void read_create(std::string_view text) {
  const json::object body = parse_body(text, true);
  const CreateRequest request = parse_create(body, text.size() % 2 == 0 ? ApiVersion::v1 : ApiVersion::v2);
  require(request.timeout.count() > 0 && request.timeout <= std::chrono::hours(kMaxHours));
  require(!request.network || find(request.network->shown, "password") == nullptr);
}

void read_page(std::string_view text) {
  const PageToken token = read_page_token(text, false);
  require(read_page_token(write_page_token(token, false), false) == token);
}

void read_time(std::string_view text) {
  const auto time = emulator::parse_rfc3339(text);
  if (time) require(emulator::parse_rfc3339(emulator::to_rfc3339(*time)) == *time);
}

void route(std::string_view text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const auto found =
      find_destination(text.substr(0, end), text.substr(std::min(end + 1, text.size())), "49983", "/x");
  if (found && found->port != 0) require(found->port <= 65535 && !found->sandbox.empty());
}

void mask(std::string_view text) {
  constexpr std::string_view kSecret = "e2b_0123456789abcdef";
  emulator::KnownSecrets secrets;
  secrets.add(kSecret, "known");
  const std::string masked = secrets.mask(std::string(text) + " " + std::string(kSecret) + " ");
  require(masked.ends_with(" [known] "));
  require(secrets.mask(masked) == masked);
}

void read(std::uint8_t what, std::string_view text) {
  switch (what % 8) {
    case 0:
      read_create(text);
      break;
    case 1:
      (void)parse_metadata_filter(text);
      break;
    case 2:
      read_page(text);
      break;
    case 3:
      read_time(text);
      break;
    case 4:
      (void)parse_template_reference(text);
      break;
    case 5:
      route(text);
      break;
    case 6:
      (void)emulator::parse_fault_rule(parse_body(text, true));
      break;
    default:
      mask(text);
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
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::protocol);
  }
  return 0;
}
