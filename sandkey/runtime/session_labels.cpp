#include "sandkey/runtime/session_labels.h"

#include "sandkey/credentials/sha256.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <string_view>

namespace sandkey {
namespace {

constexpr char kKeptLabel[] = "sandkey-kept";
constexpr char kLeaseLabel[] = "sandkey-lease";
constexpr char kDirectoryLabel[] = "sandkey-directory";

std::string_view value_of(const Labels& labels, const char* name) {
  const auto found = labels.find(name);
  return found == labels.end() ? std::string_view() : std::string_view(found->second);
}

std::optional<std::chrono::seconds> seconds_of(std::string_view text) {
  long long seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds <= 0) return std::nullopt;
  return std::chrono::seconds(seconds);
}

}  // namespace

std::string sandbox_name(const std::string& sid) {
  constexpr std::size_t kLongest = 48;
  const bool plain = std::all_of(
      sid.begin(), sid.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
  if (plain && !sid.empty() && sid.size() <= kLongest && sid.front() != '-') return "sandkey-" + sid;
  return "sandkey--" + Sha256().update(sid).hex_digest().substr(0, 32);
}

Labels to_labels(const SessionLabels& session) {
  Labels labels{{kOursLabel, "true"},
                {kSidLabel, session.sid},
                {kKeptLabel, session.kept ? "true" : "false"},
                {kDirectoryLabel, session.working_dir}};
  if (session.lease) labels[kLeaseLabel] = std::to_string(session.lease->count());
  if (!session.attempt.empty()) labels[kAttemptLabel] = session.attempt;
  return labels;
}

SessionLabels session_of(const Labels& labels) {
  SessionLabels session;
  session.sid = value_of(labels, kSidLabel);
  session.kept = value_of(labels, kKeptLabel) == "true";
  session.lease = seconds_of(value_of(labels, kLeaseLabel));
  session.working_dir = value_of(labels, kDirectoryLabel);
  if (session.working_dir.empty()) session.working_dir = "/workspace";
  session.attempt = value_of(labels, kAttemptLabel);
  return session;
}

}  // namespace sandkey
