// What can be changed of the emulated Modal while it runs, by the admin API.
#pragma once

#include "sandkey/base/json.h"

#include <chrono>
#include <string>

namespace sandkey::modal::emulator {

struct Settings {
  // How long tokens are good for that are given out from now on.
  std::chrono::seconds auth_token{20 * 60};
  std::chrono::seconds router_token{60 * 60};
  // Creating a sandbox tells the way to its command router; otherwise that must be asked for.
  bool create_tells_router = true;
  // Told with every answer, if not empty.
  std::string warning = {};

  [[nodiscard]] json::object to_json() const;
  // Takes those that are named; throws Error(invalid_argument), and changes nothing then.
  void change(const json::object& wanted);
};

}  // namespace sandkey::modal::emulator
