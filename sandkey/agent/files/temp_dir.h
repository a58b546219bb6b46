// A directory of its own for each test, and a full disk.
#pragma once

#include <gtest/gtest.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

namespace sandkey::agent::files {

// Makes files that grow beyond `bytes` fail as on a full disk, though with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

class TempDirTest : public ::testing::Test {
 protected:
  TempDirTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sandkey-files-XXXXXX").string();
    dir_ = ::mkdtemp(pattern.data());
  }
  ~TempDirTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  [[nodiscard]] std::string path(std::string_view name) const { return dir_ + "/" + std::string(name); }

  // Returns the path of the new file.
  std::string put(std::string_view name, std::string_view bytes) const {
    std::string where = path(name);
    std::filesystem::create_directories(std::filesystem::path(where).parent_path());
    std::ofstream(where, std::ios::binary) << bytes;
    return where;
  }

  [[nodiscard]] static std::string get(const std::string& where) {
    std::ifstream file(where, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  [[nodiscard]] static unsigned mode(const std::string& where) {
    struct stat info {};
    return ::stat(where.c_str(), &info) == 0 ? info.st_mode & 07777U : 0U;
  }

  std::string dir_;
};

}  // namespace sandkey::agent::files
