// Credential files and helpers' replies from anywhere: understood or refused with a plain text. Our own file
// is also edited: what was saved is read back, and what another entry says stays. Input: a byte that chooses
// the format, the file.
#include "sandkey/base/error.h"
#include "sandkey/credentials/helper_command.h"
#include "sandkey/credentials/profile_file.h"
#include "sandkey/providers/daytona/credential_spec.h"
#include "sandkey/providers/e2b/credential_spec.h"
#include "sandkey/providers/modal/credential_spec.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace {

using namespace sandkey;

void require(bool condition) {
  if (!condition) std::abort();
}

void require_plain(const Offer& offer) {
  require(offer.outcome == Offer::Outcome::found || !offer.reason.empty());
  require(
      std::all_of(offer.reason.begin(), offer.reason.end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
  require(offer.outcome != Offer::Outcome::found || !offer.parts.empty());
}

// A private folder of this process.
const std::filesystem::path& folder() {
  static const struct Folder {
    Folder() {
      std::string name = (std::filesystem::temp_directory_path() / "credential-fuzz-XXXXXX").string();
      require(::mkdtemp(name.data()) != nullptr);
      path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
  } made;
  return made.path;
}

void try_profiles(std::string_view text) {
  const CredentialSpec& spec = modal::credential_spec();
  const ProfileFile file(folder());
  std::ofstream(file.path(), std::ios::binary | std::ios::trunc) << text;
  require(::chmod(file.path().c_str(), 0600) == 0);
  const ProfileEntry work = file.read(spec, "work");
  require_plain(work.offer);
  std::vector<ProfileFile::Line> lines;
  lines.push_back({"token_id", Secret("ak-\"1\\")});
  try {
    file.save("default", "modal", lines);
  } catch (const Error&) {
    return;
  }
  const ProfileEntry saved = file.read(spec, "default");
  if (saved.offer.outcome == Offer::Outcome::broken) return;  // by what the rest of the profile says
  require(saved.offer.parts.at("token_id").value.matches("ak-\"1\\"));
  const ProfileEntry after = file.read(spec, "work");
  require(after.offer.outcome == work.offer.outcome && after.offer.parts.size() == work.offer.parts.size());
  for (const auto& [name, part] : work.offer.parts) {
    require(after.offer.parts.at(name).value.matches(part.value.expose()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Environment nothing = [](const std::string&) { return std::nullopt; };
  const std::chrono::system_clock::time_point now{std::chrono::hours(24 * 365 * 50)};
  switch (data[0] % 5) {
    case 0:
      require_plain(e2b::parse_cli_file(text, nothing, now));
      break;
    case 1:
      require_plain(daytona::parse_cli_file(text, nothing, now));
      break;
    case 2:
      require_plain(modal::parse_cli_file(text, nothing, now));
      break;
    case 3:
      require_plain(parse_helper_reply(text, daytona::credential_spec(), now));
      break;
    default:
      try_profiles(text);
      break;
  }
  return 0;
}
