// The zip format with its 64-bit extensions: reads stored and deflated entries, writes stored ones. Internal.
#pragma once

#include "sandkey/base/archive/stream.h"

#include <memory>

namespace sandkey::archive {

// Goes by the index at the end, as everybody does who reads zip files; `fd` must be seekable (its position
// does not matter).
class ZipReader final : public Reader {
 public:
  explicit ZipReader(int fd);
  ~ZipReader() override;
  ZipReader(const ZipReader&) = delete;
  ZipReader& operator=(const ZipReader&) = delete;
  bool next(Entry& entry) override;
  std::size_t read(std::span<char> buffer) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class ZipWriter final : public Writer {
 public:
  explicit ZipWriter(Output& output) : output_(output) {}
  void begin(const Entry& entry) override;
  void data(std::string_view bytes) override;
  void finish() override;

 private:
  void end_entry();

  Output& output_;
  std::string index_;  // the central directory so far
  std::uint64_t entries_ = 0;
  Entry entry_;  // the one being written, if any
  bool open_ = false;
  std::uint64_t offset_ = 0;  // of its header
  std::uint64_t size_ = 0;
  std::uint32_t crc_ = 0;
};

}  // namespace sandkey::archive
