#include "sandkey/base/own_program.h"

#include "sandkey/base/error.h"

#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

namespace sandkey {

namespace fs = std::filesystem;

namespace {

fs::path find_own(const Engine& engine, std::string_view name, int access) {
  std::vector<fs::path> folders;
  const std::optional<std::string> chosen = engine.environment("SANDKEY_PROGRAM_DIR");
  if (chosen && !chosen->empty()) {
    folders.emplace_back(*chosen);
  } else {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error).parent_path();
    if (!error) {
      folders.push_back(self);
      folders.push_back(self.parent_path() / "libexec" / "sandkey");
    }
    folders.emplace_back(SANDKEY_INSTALLED_BINDIR);
    folders.emplace_back(SANDKEY_INSTALLED_LIBEXECDIR "/sandkey");
    folders.emplace_back("/usr/bin");  // a package's, whatever prefix it was configured with
    folders.emplace_back("/usr/libexec/sandkey");
  }
  std::string looked;
  for (const fs::path& folder : folders) {
    fs::path program = folder / name;
    if (::access(program.c_str(), access) == 0) return program;
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  throw Error(ErrorCode::unsupported, "looking for the program " + std::string(name) + ": it is not in " +
                                          looked +
                                          "; install Sandkey completely, or set SANDKEY_PROGRAM_DIR to the "
                                          "folder that holds its programs");
}

}  // namespace

fs::path find_own_program(const Engine& engine, std::string_view name) {
  return find_own(engine, name, X_OK);
}

fs::path find_own_file(const Engine& engine, std::string_view name) {
  return find_own(engine, name, R_OK);
}

}  // namespace sandkey
