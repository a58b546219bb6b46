// The tar format: reads ustar, pax and GNU archives, writes pax. Internal.
#pragma once

#include "sandkey/base/archive/stream.h"

#include <optional>

namespace sandkey::archive {

inline constexpr std::size_t kTarBlock = 512;

// Whether a block has a header's checksum.
[[nodiscard]] bool looks_like_tar(std::string_view block);

class TarReader final : public Reader {
 public:
  explicit TarReader(Input& input) : input_(input) {}
  bool next(Entry& entry) override;
  std::size_t read(std::span<char> buffer) override;

 private:
  // What extension headers say about the entry after them.
  struct Overrides {
    std::optional<std::string> name;
    std::optional<std::string> link_target;
    std::optional<std::uint64_t> size;
    std::optional<timespec> mtime;
  };

  void read_fully(std::span<char> buffer);
  void skip(std::uint64_t count);
  std::string read_extension(std::uint64_t size);
  static void parse_pax(std::string_view records, Overrides& overrides);
  void expect_end();

  Input& input_;
  std::uint64_t left_ = 0;     // of the current entry's data
  std::uint64_t padding_ = 0;  // after it
};

class TarWriter final : public Writer {
 public:
  explicit TarWriter(Output& output) : output_(output) {}
  void begin(const Entry& entry) override;
  void data(std::string_view bytes) override { output_.write(bytes); }
  void finish() override;

 private:
  void header(const Entry& entry, std::string_view name, char type, std::uint64_t size);
  void pad();

  Output& output_;
};

}  // namespace sandkey::archive
