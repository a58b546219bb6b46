#include "sandkey/providers/daytona/emulator/knobs.h"

#include "sandkey/base/error.h"

#include <string>

namespace sandkey::daytona::emulator {
namespace {

constexpr double kLongest = 86400;  // seconds

[[noreturn]] void refuse(std::string_view name, const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "changing settings: \"" + std::string(name) + "\" " + why);
}

double seconds(std::chrono::milliseconds time) {
  return std::chrono::duration<double>(time).count();
}

std::chrono::milliseconds time_of(const json::object& settings, std::string_view name) {
  const auto number = find_number(settings, name);
  if (!number || *number < 0 || *number > kLongest) refuse(name, "is no number of seconds, 0 to 86400");
  return std::chrono::milliseconds(static_cast<std::int64_t>(*number * 1000));
}

}  // namespace

json::object to_json(const Knobs& knobs) {
  json::object object;
  object["list_delay_seconds"] = seconds(knobs.list_delay);
  object["create_seconds"] = seconds(knobs.create_time);
  object["change_seconds"] = seconds(knobs.change_time);
  object["failed_auths_per_minute"] = knobs.failed_auths;
  object["maintenance"] = knobs.maintenance;
  return object;
}

Knobs changed(const Knobs& knobs, const json::object& settings) {
  Knobs made = knobs;
  for (const auto& [name, value] : settings) {
    if (name == "list_delay_seconds") {
      made.list_delay = time_of(settings, name);
    } else if (name == "create_seconds") {
      made.create_time = time_of(settings, name);
    } else if (name == "change_seconds") {
      made.change_time = time_of(settings, name);
    } else if (name == "failed_auths_per_minute") {
      if (!value.is_int64() || value.get_int64() < 0) refuse(name, "is no number of requests");
      made.failed_auths = value.get_int64();
    } else if (name == "maintenance") {
      if (!value.is_bool()) refuse(name, "is neither true nor false");
      made.maintenance = value.get_bool();
    } else {
      refuse(name, "is none of this cloud's");
    }
  }
  return made;
}

}  // namespace sandkey::daytona::emulator
