// Bytes in and out of descriptors, and the shape tar and zip share. Internal to the archive code.
#pragma once

#include "sandkey/base/error.h"

#include <sys/types.h>
#include <time.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sandkey::archive {

inline constexpr std::size_t kBufferSize = std::size_t{64} * 1024;

struct Entry {
  enum class Kind { file, directory, symlink, hard_link, special };
  Kind kind = Kind::file;
  std::string name;         // with '/' between components; directories without a final one
  std::string link_target;  // of symbolic and hard links
  mode_t mode = 0;          // permission bits
  timespec mtime{};
  std::uint64_t size = 0;  // of files; other kinds carry no data
};

class Reader {
 public:
  virtual ~Reader() = default;
  // The next entry, past whatever was left unread of the last; false at the archive's end.
  virtual bool next(Entry& entry) = 0;
  // Data of the current entry; 0 only after all of it, and only if it was sound.
  virtual std::size_t read(std::span<char> buffer) = 0;
};

class Writer {
 public:
  virtual ~Writer() = default;
  // A file's `size` bytes of data follow before the next call of begin() or finish().
  virtual void begin(const Entry& entry) = 0;
  virtual void data(std::string_view bytes) = 0;
  virtual void finish() = 0;
};

// A source of bytes; 0 only at its end.
class Input {
 public:
  virtual ~Input() = default;
  virtual std::size_t read(std::span<char> buffer) = 0;
};

class FdInput final : public Input {
 public:
  explicit FdInput(int fd) : fd_(fd), buffer_(kBufferSize) {}
  std::size_t read(std::span<char> buffer) override;
  // What comes next without taking it: `size` bytes (at most the buffer), or fewer at the end.
  std::string_view peek(std::size_t size);

 private:
  int fd_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

// Gunzips another input; several members in a row are one stream, as gzip has it.
class GunzipInput final : public Input {
 public:
  explicit GunzipInput(Input& source);
  ~GunzipInput() override;
  GunzipInput(const GunzipInput&) = delete;
  GunzipInput& operator=(const GunzipInput&) = delete;
  std::size_t read(std::span<char> buffer) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Collects small pieces into large writes.
class Output {
 public:
  explicit Output(int fd) : fd_(fd) { buffer_.reserve(kBufferSize); }
  void write(std::string_view bytes);
  void flush();
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

 private:
  int fd_;
  std::string buffer_;
  std::uint64_t position_ = 0;
};

// Turns a write to a closed pipe into EPIPE for this thread, without touching the process's signal handlers.
class SigpipeBlock {
 public:
  SigpipeBlock();
  ~SigpipeBlock();
  SigpipeBlock(const SigpipeBlock&) = delete;
  SigpipeBlock& operator=(const SigpipeBlock&) = delete;

 private:
  sigset_t previous_{};
  bool was_pending_ = false;
};

// All of `bytes`, to a descriptor that may be non-blocking.
void write_all(int fd, std::string_view bytes, const std::string& what);
// Up to `buffer`'s size; 0 at the end.
[[nodiscard]] std::size_t read_some(int fd, std::span<char> buffer, const std::string& what);

// A name in quotes, fit for a message: control bytes and malformed UTF-8 made visible, long ones cut.
[[nodiscard]] std::string shown(std::string_view name);

[[nodiscard]] Error extract_error(ErrorCode code, const std::string& message);
// The archive itself is at fault.
[[nodiscard]] Error malformed(const std::string& message);

}  // namespace sandkey::archive
