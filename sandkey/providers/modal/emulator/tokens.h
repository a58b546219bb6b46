// The tokens that the emulated Modal gives out: JSON Web Tokens, which clients read for their end.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/known_secrets.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sandkey::modal::emulator {

// Tokens of one kind, each for a subject.
class Tokens {
 public:
  // `label` is how the journal names them: "auth token", and of what.
  Tokens(const Engine& engine, sandkey::emulator::Clock& clock, sandkey::emulator::KnownSecrets& secrets,
         std::string label);

  [[nodiscard]] std::string issue(const std::string& subject, std::chrono::seconds good_for);
  // Whose it is; nothing if we did not give it out, or its time is over.
  [[nodiscard]] std::optional<std::string> subject_of(std::string_view token) const;
  // None of this subject is good any more.
  void revoke(const std::string& subject);

 private:
  struct Entry {
    std::string subject;
    sandkey::emulator::Time ends;
  };

  const Engine& engine_;
  sandkey::emulator::Clock& clock_;
  sandkey::emulator::KnownSecrets& secrets_;
  std::string label_;
  std::map<std::string, Entry, std::less<>> tokens_;
};

}  // namespace sandkey::modal::emulator
