// Which process of which machine, told apart from one that got its number later.
#pragma once

#include <cstdint>
#include <string>

namespace sandkey {

// What could not be learnt (no /proc, say) is empty or 0, and then nothing is concluded from it.
struct ProcessIdentity {
  std::string host = {};        // the machine's name
  std::string machine = {};     // its machine id, since names are not unique
  std::string boot_id = {};     // changes with every start of the machine
  std::string namespaces = {};  // in which pid and start time were counted: containers share all of the above
  std::int64_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks after the boot

  bool operator==(const ProcessIdentity&) const = default;

  // Ours.
  [[nodiscard]] static ProcessIdentity current();
  // The owner of what nobody owns; never alive.
  [[nodiscard]] static ProcessIdentity nobody() { return {.pid = -1}; }
  // Whether it may still be running: false only where that is certain, so never for another machine's, nor
  // for another container's unless the machine has been restarted.
  [[nodiscard]] bool may_be_alive() const;
};

}  // namespace sandkey
