// Forms from anywhere: the same parts, or the same refusal, in whatever pieces they arrive.
// Input: a byte that chooses the pieces, a line that is the boundary, the form.
#include "sandkey/net/multipart.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sandkey;

struct Part {
  std::string name, filename, data;
  bool ended = false;
  bool operator==(const Part&) const = default;
};

class Collector final : public net::MultipartParser {
 public:
  using MultipartParser::MultipartParser;
  std::vector<Part> parts;

 private:
  void on_part(std::string_view name, std::string_view filename) override {
    if (!parts.empty() && !parts.back().ended) std::abort();
    parts.push_back({std::string(name), std::string(filename), {}});
  }
  void on_data(std::string_view bytes) override {
    if (bytes.empty() || parts.empty() || parts.back().ended) std::abort();
    parts.back().data += bytes;
  }
  void on_part_end() override {
    if (parts.empty() || parts.back().ended) std::abort();
    parts.back().ended = true;
  }
};

struct Result {
  std::vector<Part> parts;
  bool complete = false;
  bool refused = false;
};

Result parse(std::string_view boundary, std::string_view form, std::size_t piece) {
  Collector parser(boundary);
  Result result;
  try {
    for (std::size_t at = 0; at < form.size(); at += piece) parser.feed(form.substr(at, piece));
    result.complete = parser.complete();
  } catch (const std::invalid_argument&) {
    result.refused = true;
  }
  result.parts = parser.parts;
  // How much of a part that never ends was passed on depends on the pieces.
  if (!result.parts.empty() && !result.parts.back().ended) result.parts.back().data.clear();
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t line = std::min(input.find('\n'), input.size());
  const std::string_view header = input.substr(0, line);
  (void)net::multipart_boundary(header);
  const std::string boundary =
      net::multipart_boundary("multipart/form-data; boundary=" + std::string(header.substr(0, 70)));
  if (boundary.empty()) return 0;
  const std::string_view form = input.substr(std::min(line + 1, input.size()));

  const Result whole = parse(boundary, form, form.size() + 1);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{data[0]} + 2}) {
    const Result pieces = parse(boundary, form, piece);
    if (pieces.refused != whole.refused || pieces.complete != whole.complete || pieces.parts != whole.parts)
      std::abort();
  }
  return 0;
}
