#include "sandkey/providers/modal/emulator/tokens.h"

#include "sandkey/base/base64.h"
#include "sandkey/base/json.h"
#include "sandkey/emulator/random_text.h"

#include <boost/json/serialize.hpp>

#include <cstddef>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::size_t kSignature = 43;  // as long as HS256 makes it

// For URLs (RFC 4648, 5), without padding.
std::string base64url(std::string_view bytes) {
  std::string text = base64_encode(bytes);
  text.erase(text.find_last_not_of('=') + 1);
  for (char& c : text) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return text;
}

std::int64_t unix_seconds(emu::Time time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

Tokens::Tokens(const Engine& engine, emu::Clock& clock, emu::KnownSecrets& secrets, std::string label)
    : engine_(engine), clock_(clock), secrets_(secrets), label_(std::move(label)) {}

std::string Tokens::issue(const std::string& subject, std::chrono::seconds good_for) {
  const emu::Time now = clock_.now();
  std::erase_if(tokens_, [now](const auto& each) { return each.second.ends <= now; });
  json::object claims;
  claims["sub"] = subject;
  claims["iat"] = unix_seconds(now);
  claims["exp"] = unix_seconds(now + good_for);
  // The signature is nobody's to check, and all that keeps the token from being guessed.
  const std::string head = base64url(R"({"alg":"HS256","typ":"JWT"})");
  const std::string payload = base64url(json::serialize(claims));
  const std::string signature = emu::random_text(engine_, kSignature, kAlphabet);
  secrets_.add(payload, label_ + " of " + subject);
  secrets_.add(signature, label_ + " of " + subject);
  std::string token = head + "." + payload + "." + signature;
  tokens_[token] = {.subject = subject, .ends = now + good_for};
  return token;
}

std::optional<std::string> Tokens::subject_of(std::string_view token) const {
  const auto found = tokens_.find(token);
  if (found == tokens_.end() || found->second.ends <= clock_.now()) return std::nullopt;
  return found->second.subject;
}

void Tokens::revoke(const std::string& subject) {
  std::erase_if(tokens_, [&](const auto& each) { return each.second.subject == subject; });
}

}  // namespace sandkey::modal::emulator
