#include "sandkey/emulator/machine/file_text.h"

#include <cstddef>
#include <filesystem>

namespace sandkey::machine {

std::string base_name(std::string_view path) {
  if (path.empty()) return ".";
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  if (path == "/") return "/";
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::string parent_of(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

std::string absolute_path(std::string_view path, std::string_view folder) {
  std::string text = (std::filesystem::path(folder) / path).lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

std::string go_permissions(RemoteEntry::Type type, unsigned mode) {
  std::string out;
  if (type == RemoteEntry::Type::directory) out += 'd';
  if (type == RemoteEntry::Type::symlink) out += 'L';
  if ((mode & 04000U) != 0) out += 'u';
  if ((mode & 02000U) != 0) out += 'g';
  if ((mode & 01000U) != 0) out += 't';
  if (out.empty()) out += '-';
  constexpr std::string_view kLetters = "rwxrwxrwx";
  for (std::size_t i = 0; i < kLetters.size(); ++i) out += (mode & (0400U >> i)) != 0 ? kLetters[i] : '-';
  return out;
}

}  // namespace sandkey::machine
