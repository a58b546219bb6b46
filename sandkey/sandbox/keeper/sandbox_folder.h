// The folder by which others reach one sandbox.
#pragma once

#include "sandkey/base/unique_fd.h"

#include <string>
#include <string_view>

namespace sandkey::sandbox {

// Appears under its name complete, with both sockets listening, or not at all: so a folder whose control
// socket refuses connections belongs to a keeper that is dead.
class SandboxFolder {
 public:
  // Throws Error(conflict) if the name is taken.
  SandboxFolder(const std::string& parent, const std::string& name);
  ~SandboxFolder();  // removes it
  SandboxFolder(const SandboxFolder&) = delete;
  SandboxFolder& operator=(const SandboxFolder&) = delete;

  [[nodiscard]] UniqueFd take_control() noexcept { return std::move(control_); }
  [[nodiscard]] UniqueFd take_agent() noexcept { return std::move(agent_); }
  void write_file(const char* name, std::string_view text) const;
  void remove() noexcept;

 private:
  void make(const std::string& parent, const std::string& name);

  UniqueFd parent_;
  UniqueFd folder_;
  std::string current_name_;  // empty once it is removed
  UniqueFd control_;
  UniqueFd agent_;
};

}  // namespace sandkey::sandbox
