// Every request that came, and how it was answered.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/emulator/clock.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandkey::emulator {

inline constexpr std::size_t kMaxJournalBody = 64 * 1024;  // the rest of a longer one is not kept
inline constexpr std::size_t kMaxJournalEntries = 10'000;  // then the oldest goes
inline constexpr std::size_t kMaxJournalBytes = std::size_t{64} * 1024 * 1024;  // of all bodies; the same

// No credential is in it.
struct JournalEntry {
  std::uint64_t number = 0;
  std::string provider = {};
  Time time = {};
  std::string method = {};
  std::string path = {};                                          // as it came
  std::string query = {};                                         // the same, without the '?'
  std::vector<std::pair<std::string, std::string>> headers = {};  // names in lower case
  std::string body = {};
  std::optional<int> status = std::nullopt;  // none yet, or none at all
  // Until it was answered, of real time whatever the clock says; none yet.
  std::optional<std::chrono::duration<double, std::milli>> took = std::nullopt;
  std::string route = {};
  std::string grpc_status = {};  // of the answer, where it has one
  std::string fault = {};        // what the script did to it
};

class Journal {
 public:
  // Numbers it, and keeps it; whoever has it goes on filling it in, but for its body.
  void add(const std::shared_ptr<JournalEntry>& entry);
  // In place of the one it has.
  void set_body(JournalEntry& entry, std::string body);
  // Once its route is known.
  void count(const std::string& provider, const std::string& route);
  void clear();

  // Entries of that cloud (of all, if empty) with a higher number.
  [[nodiscard]] json::array entries(std::string_view provider, std::uint64_t since) const;
  // How often each route was called; those of `routes` that never were as well.
  [[nodiscard]] json::array coverage(const std::string& provider,
                                     const std::vector<std::string>& routes) const;

 private:
  void drop_oldest();

  std::deque<std::shared_ptr<const JournalEntry>> entries_;
  std::size_t bytes_ = 0;  // of their bodies
  std::uint64_t last_number_ = 0;
  std::map<std::string, std::map<std::string, std::uint64_t>> calls_;
};

}  // namespace sandkey::emulator
