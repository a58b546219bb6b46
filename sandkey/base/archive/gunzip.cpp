#include "sandkey/base/archive/gunzip.h"

#include "sandkey/base/archive/stream.h"

#include <algorithm>
#include <cstring>

namespace sandkey {
namespace {

class TextInput final : public archive::Input {
 public:
  explicit TextInput(std::string_view text) : rest_(text) {}

  std::size_t read(std::span<char> buffer) override {
    const std::size_t count = std::min(buffer.size(), rest_.size());
    std::memcpy(buffer.data(), rest_.data(), count);
    rest_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view rest_;
};

}  // namespace

std::string gunzip(std::string_view compressed, std::uint64_t limit) {
  TextInput input(compressed);
  archive::GunzipInput unpacked(input);
  std::string content;
  std::vector<char> buffer(archive::kBufferSize);
  while (const std::size_t count = unpacked.read(buffer)) {
    if (content.size() + count > limit)
      throw archive::malformed("what was compressed is larger than it may be");
    content.append(buffer.data(), count);
  }
  return content;
}

}  // namespace sandkey
