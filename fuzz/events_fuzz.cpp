// Events from anywhere: what is accepted is written so that it reads back the same, as valid UTF-8.
#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/events/codec.h"

#include <boost/json/array.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

using namespace sandkey;

// But for the values of doubles: Boost.JSON 1.81 reads them up to the last digit only.
bool same(const json::value& a, const json::value& b) {
  if (a.is_double() && b.is_double()) return true;
  if (a.is_array() && b.is_array()) {
    const json::array& x = a.get_array();
    const json::array& y = b.get_array();
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  }
  if (a.is_object() && b.is_object()) {
    const json::object& x = a.get_object();
    const json::object& y = b.get_object();
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& p, const auto& q) {
      return p.key() == q.key() && same(p.value(), q.value());
    });
  }
  return a == b;
}

// Without the derived message, in which doubles are text.
json::object comparable(const Event& event) {
  json::object out = to_json(event);
  out.erase("message");
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Event event;
  try {
    event = parse_event(parse_json(text, "input"));
  } catch (const Error&) {
    return 0;
  }
  const std::string written = serialize(event);
  if (!utf8::is_valid(written) || written.find('\n') != std::string::npos) std::abort();
  const Event back = parse_event(parse_json(written, "own output"));  // an exception here is a finding, too
  if (!same(comparable(back), comparable(event))) std::abort();
  (void)truncate_content(text);
  if (const auto* observation = std::get_if<Observation>(&event)) (void)to_text(*observation);
  return 0;
}
