// What a cloud's sandbox carries as labels (metadata, tags): whose session it is, and what any process must
// know of it later. They are kept there and nowhere else.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>

namespace sandkey {

using Labels = std::map<std::string, std::string>;

inline constexpr char kOursLabel[] = "sandkey";     // "true": one of ours; what a list is filtered by
inline constexpr char kSidLabel[] = "sandkey-sid";  // what a session's sandbox is found by
// Of one create(): by it the sandbox is found whose making was not answered.
inline constexpr char kAttemptLabel[] = "sandkey-attempt";

struct SessionLabels {
  std::string sid = {};
  bool kept = false;
  std::optional<std::chrono::seconds> lease = std::nullopt;
  std::string working_dir = {};  // of the agent
  std::string attempt = {};
};

// For clouds in which only one sandbox at a time has each name, and names are looked up at once: the one of
// the session's sandbox, of letters, digits, '-' and '_', the same in every process; at most 56 of them.
[[nodiscard]] std::string sandbox_name(const std::string& sid);

[[nodiscard]] Labels to_labels(const SessionLabels& session);
// Of any sandbox: a label that is missing, or that somebody changed to what is none, leaves its default; the
// working directory's is /workspace.
[[nodiscard]] SessionLabels session_of(const Labels& labels);

}  // namespace sandkey
