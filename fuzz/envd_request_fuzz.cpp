// What clients send to an emulated sandbox of E2B's: envelopes in any pieces, the messages in them, headers,
// gzip.
#include "sandkey/base/base64.h"
#include "sandkey/emulator/machine/gzip.h"
#include "sandkey/emulator/machine/http_content.h"
#include "sandkey/providers/e2b/emulator/envd/accounts.h"
#include "sandkey/providers/e2b/emulator/envd/rpc.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <envd.pb.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sandkey;
using namespace sandkey::e2b_envd;
using namespace sandkey::machine;

struct Outcome {
  std::vector<std::string> messages;
  std::optional<RpcCode> error;
  bool operator==(const Outcome&) const = default;
};

Outcome take_apart(std::string_view bytes, std::size_t piece) {
  Outcome outcome;
  EnvelopeReader reader;
  const auto drain = [&] {
    while (auto message = reader.next()) outcome.messages.push_back(std::move(*message));
  };
  try {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
      reader.feed(bytes.substr(0, piece));
      drain();
    }
    reader.finish();
    drain();
  } catch (const RpcError& error) {
    outcome.error = error.code();
  }
  return outcome;
}

// What was understood can be said again, in either form.
template <typename Message>
void check_message(std::string_view bytes, bool binary) {
  Message message;
  try {
    decode(bytes, binary, message);
  } catch (const RpcError&) {
    return;
  }
  Message again;
  decode(encode(message, true), true, again);
  if (again.SerializeAsString().size() != message.SerializeAsString().size()) std::abort();
}

void check_headers(std::string_view text) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1000}}) {
    const RangeChoice choice = choose_range(text, size);
    if (!choice.bytes) continue;
    if (choice.unsatisfiable || choice.bytes->length == 0 || choice.bytes->first >= size) std::abort();
    if (choice.bytes->length > size - choice.bytes->first) std::abort();
  }
  (void)choose_encoding(text);
  (void)parse_http_date(text);
  (void)parse_keepalive(text);
  (void)basic_user(text);
  (void)rpc_format(text);
  (void)content_type_of(text, text);
  try {
    (void)parse_timeout(text);
  } catch (const RpcError&) {  // is none
  }
  const std::string path(text);
  try {
    if (!resolve_path(path, {.name = "user", .home = "/home/user"}, "/work").starts_with('/')) std::abort();
  } catch (const PathError&) {  // is another user's
  }
  (void)NameTable::parse(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const void* const rest = data + 1;
  const std::string_view bytes(static_cast<const char*>(rest), size - 1);
  const Outcome whole = take_apart(bytes, bytes.size() + 1);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{data[0]} + 2}) {
    if (take_apart(bytes, piece) != whole) std::abort();
  }
  for (const bool binary : {false, true}) {
    check_message<StartRequest>(bytes, binary);
    check_message<StreamInputRequest>(bytes, binary);
    check_message<WatchDirRequest>(bytes, binary);
    for (const std::string& message : whole.messages) check_message<StartRequest>(message, binary);
  }
  check_headers(bytes);
  if (base64_decode(base64_encode(bytes)) != bytes) std::abort();
  (void)base64_decode(bytes);
  constexpr std::size_t kLimit = 10'000;
  const auto plain = gunzip(bytes, kLimit);
  if (plain && plain->size() > kLimit) std::abort();
  Compressor compressor;
  if (gunzip(compressor.feed(bytes, true), bytes.size()) != bytes) std::abort();
  return 0;
}
