// For tests: a folder of their own, removed with all that is in it.
#pragma once

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sandkey {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sandkey-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  // Makes the folders around it, for their owner only.
  std::filesystem::path write(const std::filesystem::path& name, std::string_view content,
                              mode_t mode = 0600) const {
    const std::filesystem::path file = path_ / name;
    for (std::filesystem::path at = path_; const std::filesystem::path& part : name.parent_path()) {
      at /= part;
      ::mkdir(at.c_str(), 0700);
    }
    std::ofstream(file, std::ios::binary | std::ios::trunc) << content;
    if (::chmod(file.c_str(), mode) != 0) throw std::runtime_error("chmod " + file.string());
    return file;
  }

  // The text with this folder's path as "~".
  [[nodiscard]] std::string shortened(std::string text) const {
    const std::string own = path_.string();
    for (std::size_t at = text.find(own); at != std::string::npos; at = text.find(own, at)) {
      text.replace(at, own.size(), "~");
    }
    return text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace sandkey
