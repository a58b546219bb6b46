#include "sandkey/agent/files/edit_history.h"

#include <algorithm>
#include <utility>

namespace sandkey::agent::files {

void EditHistory::push(std::string path, std::string bytes) {
  if (path.size() + bytes.size() > kMaxHistoryBytes) {
    // Going back to an older one instead would lose more than the last edit.
    while (latest(path) != nullptr) pop(path);
    return;
  }
  versions_.push_back({std::move(path), std::move(bytes)});
  bytes_ += cost(versions_.back());
  const auto is_same_file = [this](const Version& version) { return version.path == versions_.back().path; };
  if (std::count_if(versions_.begin(), versions_.end(), is_same_file) >
      static_cast<long>(kMaxVersionsPerFile)) {
    forget(std::find_if(versions_.begin(), versions_.end(), is_same_file));
  }
  while (versions_.size() > kMaxVersions || bytes_ > kMaxHistoryBytes) {
    forget(versions_.begin());
  }
}

const std::string* EditHistory::latest(std::string_view path) const noexcept {
  const auto version = find_latest(path);
  return version == versions_.end() ? nullptr : &version->bytes;
}

void EditHistory::pop(std::string_view path) {
  const auto version = find_latest(path);
  if (version != versions_.end()) forget(version);
}

void EditHistory::forget(std::list<Version>::const_iterator version) {
  bytes_ -= cost(*version);
  versions_.erase(version);
}

std::list<EditHistory::Version>::const_iterator EditHistory::find_latest(
    std::string_view path) const noexcept {
  const auto found = std::find_if(versions_.rbegin(), versions_.rend(),
                                  [path](const Version& version) { return version.path == path; });
  return found == versions_.rend() ? versions_.end() : std::prev(found.base());
}

}  // namespace sandkey::agent::files
