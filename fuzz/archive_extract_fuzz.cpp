// Whatever bytes are extracted, nothing outside the destination is made or changed.

#include "sandkey/base/archive/archive.h"
#include "sandkey/base/unique_fd.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxBytes = 1 << 20;

// A directory with a destination, links in it that lead out, and what they lead to.
struct Playground {
  Playground() {
    std::string pattern = (fs::temp_directory_path() / "archive-fuzz-XXXXXX").native();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    root = pattern;
    fs::create_directories(root / "outside");
    std::ofstream(root / "outside/f") << "theirs";
  }
  ~Playground() {
    std::error_code ignored;
    fs::remove_all(root, ignored);
  }
  Playground(const Playground&) = delete;
  Playground& operator=(const Playground&) = delete;

  void fill() const {
    fs::create_directories(root / "in");
    fs::create_directory_symlink("../outside", root / "in/d");
    fs::create_symlink("../outside/f", root / "in/l");
  }
  void check() const {
    const auto count = [](const fs::path& path) {
      return std::distance(fs::directory_iterator(path), fs::directory_iterator());
    };
    std::string text;
    std::ifstream(root / "outside/f") >> text;
    if (count(root) != 2 || count(root / "outside") != 1 || text != "theirs" ||
        fs::hard_link_count(root / "outside/f") != 1) {
      std::fputs("something outside the destination was changed\n", stderr);
      std::abort();
    }
  }

  fs::path root;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Playground playground;
  const sandkey::UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC));
  if (::write(fd.get(), data, size) != static_cast<ssize_t>(size)) std::abort();
  for (const bool outward : {false, true}) {
    ::lseek(fd.get(), 0, SEEK_SET);
    playground.fill();
    try {
      const sandkey::ExtractReport report =
          sandkey::extract(fd.get(), playground.root / "in",
                           {.max_entries = 64, .max_total_bytes = kMaxBytes, .outward_symlinks = outward});
      if (report.bytes > kMaxBytes) std::abort();
    } catch (const sandkey::Error&) {
    }
    playground.check();
    fs::remove_all(playground.root / "in");
  }
  return 0;
}
