// What must not appear in the journal, and what appears in its place.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::emulator {

// Secrets are looked up as whole words: runs of letters, digits, '_' and '-', as all our keys and tokens are.
class KnownSecrets {
 public:
  // Shown as "[label]". A secret of several words is known by each of them that is long enough to be one.
  void add(std::string_view secret, const std::string& label);

  // The text with every known secret replaced. Takes time in proportion to the text, however many are known.
  [[nodiscard]] std::string mask(std::string_view text) const;
  // The same for the value of a header by which credentials travel: there what is not known is one as well,
  // perhaps a real one that was sent here by mistake.
  [[nodiscard]] std::string mask_header(std::string_view name, std::string_view value) const;

 private:
  std::map<std::string, std::string, std::less<>> words_;  // word -> label
};

// Whether a header of this (lower-case) name carries a credential, as far as the name tells.
[[nodiscard]] bool names_credential(std::string_view header) noexcept;

}  // namespace sandkey::emulator
