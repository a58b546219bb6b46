#include "sandkey/credentials/part_check.h"

namespace sandkey {

CheckedPart check_part(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n\v\f";
  CheckedPart part;
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return part;
  const std::string_view inner = text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
  part.trimmed = inner.size() != text.size();
  if (inner.size() > kMaxCredentialPart) {
    part.problem = "is longer than " + std::to_string(kMaxCredentialPart) + " bytes";
  } else if (inner.find_first_of(kBlanks) != std::string_view::npos) {
    part.problem = "has a blank or a line break within";
  } else {
    for (const char c : inner) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte > 0x7e) part.problem = "has a character that is not ASCII";
      if (byte < 0x20 || byte == 0x7f) part.problem = "has a control character";
      if (!part.problem.empty()) break;
    }
  }
  part.quoted =
      inner.size() > 1 && inner.front() == inner.back() && (inner.front() == '"' || inner.front() == '\'');
  part.value = Secret(inner);
  return part;
}

}  // namespace sandkey
