// Takes the secrets in use out of texts that others wrote: a provider's reply may echo a key.
#pragma once

#include "sandkey/base/secret.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey {

inline constexpr std::string_view kRedacted = "[redacted]";

// Knows values, and replaces each by kRedacted wherever it stands in a text as it is, percent-encoded,
// escaped as in JSON, or within base64 (either alphabet, at any offset). Not thread-safe while values are
// added.
class Redactor {
 public:
  // Shorter values are not looked for: too much of any text would go.
  static constexpr std::size_t kShortest = 6;

  void add(std::string_view secret);
  void add(const Secret& secret) { add(secret.expose()); }

  [[nodiscard]] std::string redact(std::string_view text) const;

 private:
  void add_form(std::string form);

  std::vector<Secret> forms_;    // the longest first
  std::vector<Secret> percent_;  // found in percent-encoded text, whichever characters were encoded
};

// For text of which the secrets are not known: replaces words that look like keys (16 or more characters of
// the kind, letters and digits among them), and control characters by blanks. Cuts at `limit` bytes.
[[nodiscard]] std::string redact_lookalikes(std::string_view text, std::size_t limit = 500);

}  // namespace sandkey
