// A folder only we may use, for what the agent exchanges with the processes it starts.
#pragma once

#include <string>
#include <string_view>

namespace sandkey::agent {

// Made on construction (mode 0700) in the first of $TMPDIR, /tmp, /dev/shm, /run, /var/tmp that can be
// written; removed with its files on destruction. Throws Error when none can.
class PrivateFolder {
 public:
  PrivateFolder();
  ~PrivateFolder();
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  void write(const std::string& name, std::string_view content);  // 0600, replaces
  // Replaces a file of that name, and makes the folder again if somebody removed it.
  void make_fifo(const std::string& name);
  [[nodiscard]] bool is_fifo(const std::string& name) const noexcept;
  void remove() noexcept;

 private:
  std::string path_;
};

}  // namespace sandkey::agent
