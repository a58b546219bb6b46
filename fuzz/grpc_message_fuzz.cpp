// The messages of gRPC calls from anywhere: the same ones, or the same refusal, in whatever pieces the bytes
// come; what was read can be written again, byte for byte. And timeouts. The first byte chooses the pieces.
#include "sandkey/emulator/grpc.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace grpc = sandkey::emulator::grpc;

struct Outcome {
  std::vector<std::string> messages = {};
  grpc::Code code = grpc::Code::ok;
  bool operator==(const Outcome&) const = default;
};

Outcome read(std::string_view bytes, std::size_t piece) {
  Outcome outcome;
  try {
    grpc::MessageReader reader;
    const auto drain = [&] {
      while (auto message = reader.next()) outcome.messages.push_back(std::move(*message));
    };
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
      reader.feed(bytes.substr(0, piece));
      drain();
    }
    reader.finish();
    drain();
  } catch (const grpc::CallError& error) {
    outcome.code = error.code();
  }
  return outcome;
}

void read_timeout(std::string_view text) {
  try {
    const auto timeout = grpc::parse_timeout(text);
    if (timeout && timeout->count() < 0) std::abort();
  } catch (const grpc::CallError& error) {
    if (error.code() != grpc::Code::internal) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const void* const bytes = data + 1;
  const std::string_view stream(static_cast<const char*>(bytes), size - 1);
  const Outcome whole = read(stream, stream.size() + 1);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{data[0]} + 2}) {
    if (read(stream, piece) != whole) std::abort();
  }
  std::string again;
  for (const std::string& message : whole.messages) again += grpc::frame(message);
  if (!stream.starts_with(again)) std::abort();
  if (whole.code == grpc::Code::ok && again != stream) std::abort();
  read_timeout(stream);
  for (const char c : grpc::encode_status_message(stream)) {
    if (c < 0x20 || c > 0x7E) std::abort();
  }
  return 0;
}
