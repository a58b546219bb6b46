#include "sandkey/base/archive/zip.h"

#include "sandkey/base/utf8.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <limits>
#include <optional>

namespace sandkey::archive {

namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kDescriptorSignature = 0x08074b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocator64Signature = 0x07064b50;

constexpr std::size_t kLocalSize = 30;
constexpr std::size_t kCentralSize = 46;
constexpr std::size_t kEndSize = 22;
constexpr std::size_t kEnd64Size = 56;
constexpr std::size_t kLocator64Size = 20;
constexpr std::size_t kMaxComment = 65535;

constexpr std::uint16_t kEncrypted = 1U << 0U;
constexpr std::uint16_t kDescriptorFollows = 1U << 3U;
constexpr std::uint16_t kUtf8Name = 1U << 11U;

constexpr std::uint16_t kStored = 0;
constexpr std::uint16_t kDeflated = 8;

constexpr std::uint16_t kZip64Extra = 0x0001;
constexpr std::uint16_t kTimeExtra = 0x5455;

constexpr std::uint16_t kMax16 = std::numeric_limits<std::uint16_t>::max();
constexpr std::uint32_t kMax32 = std::numeric_limits<std::uint32_t>::max();

// Little-endian numbers off the front of a record whose size was checked.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}
  std::uint16_t u16() { return static_cast<std::uint16_t>(take(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(take(4)); }
  std::uint64_t u64() { return take(8); }
  std::string_view bytes(std::size_t count) {
    need(count);
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  [[nodiscard]] std::size_t left() const { return bytes_.size(); }

 private:
  void need(std::size_t count) const {
    if (bytes_.size() < count) throw malformed("a record of the zip archive is too short");
  }
  std::uint64_t take(std::size_t count) {
    need(count);
    std::uint64_t value = 0;
    for (std::size_t i = count; i-- > 0;) value = (value << 8U) | static_cast<unsigned char>(bytes_[i]);
    bytes_.remove_prefix(count);
    return value;
  }
  std::string_view bytes_;
};

// DOS dates have no zone; UTC keeps equal archives equal.
time_t from_dos(std::uint16_t date, std::uint16_t time) {
  std::tm parts{};
  parts.tm_year = (date >> 9U) + 80;
  parts.tm_mon = ((date >> 5U) & 15U) - 1;
  parts.tm_mday = date & 31U;
  parts.tm_hour = time >> 11U;
  parts.tm_min = (time >> 5U) & 63U;
  parts.tm_sec = (time & 31U) * 2;
  return ::timegm(&parts);
}

}  // namespace

struct ZipReader::State {
  explicit State(int descriptor) : fd(descriptor), window(kBufferSize), compressed(kBufferSize) {}
  ~State() {
    if (inflating) ::inflateEnd(&stream);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // Bytes of the archive; the view lasts until the next call.
  std::string_view at(std::uint64_t offset, std::size_t size) {
    if (offset > file_size || size > file_size - offset)
      throw malformed("the zip archive points beyond its end");
    if (offset < window_offset || offset + size > window_offset + window_size) {
      if (size > window.size()) window.resize(size);
      window_offset = offset;
      window_size = 0;
      while (window_size < size) {
        const std::size_t count = pread_some(std::span(window).subspan(window_size), offset + window_size);
        if (count == 0) throw malformed("the zip archive became shorter while it was read");
        window_size += count;
      }
    }
    return {window.data() + (offset - window_offset), size};
  }

  [[nodiscard]] std::size_t pread_some(std::span<char> buffer, std::uint64_t offset) const {
    for (;;) {
      const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) throw system_error("reading the archive", errno);
    }
  }

  void find_index();
  std::size_t read_raw(std::span<char> buffer);
  std::size_t inflate_some(std::span<char> buffer);

  int fd;
  std::uint64_t file_size = 0;
  std::vector<char> window;
  std::uint64_t window_offset = 0;
  std::size_t window_size = 0;

  std::uint64_t index_offset = 0;  // of the next central record
  std::uint64_t index_end = 0;
  std::uint64_t entries_left = 0;

  // The current entry.
  std::uint16_t method = kStored;
  std::uint64_t data_offset = 0;
  std::uint64_t compressed_left = 0;
  std::uint64_t size_left = 0;
  std::uint32_t stated_crc = 0;
  std::uint32_t crc = 0;
  std::vector<char> compressed;
  z_stream stream{};
  bool inflating = false;
  bool stream_ended = false;
};

void ZipReader::State::find_index() {
  const std::uint64_t tail = std::min<std::uint64_t>(file_size, kEndSize + kMaxComment);
  const std::string_view bytes = at(file_size - tail, static_cast<std::size_t>(tail));
  std::optional<std::size_t> found;
  // Backwards, and only where the comment reaches exactly to the end, or a comment could pose as the index.
  for (std::size_t i = bytes.size() < kEndSize ? 0 : bytes.size() - kEndSize + 1; i-- > 0;) {
    Fields end(bytes.substr(i, kEndSize));
    if (end.u32() != kEndSignature) continue;
    (void)end.bytes(16);
    if (end.u16() == bytes.size() - i - kEndSize) {
      found = i;
      break;
    }
  }
  if (!found) throw malformed("the zip archive has no index; it may be cut off");
  const std::uint64_t end_offset = file_size - tail + *found;
  Fields end(bytes.substr(*found, kEndSize));
  (void)end.u32();
  std::uint32_t disk = end.u16();
  std::uint32_t index_disk = end.u16();
  (void)end.u16();
  entries_left = end.u16();
  std::uint64_t index_size = end.u32();
  index_offset = end.u32();
  std::uint64_t limit = end_offset;
  if (end_offset >= kLocator64Size) {
    Fields locator(at(end_offset - kLocator64Size, kLocator64Size));
    if (locator.u32() == kLocator64Signature) {
      (void)locator.u32();
      limit = locator.u64();
      Fields end64(at(limit, kEnd64Size));
      if (end64.u32() != kEnd64Signature) throw malformed("the zip archive's 64-bit index is missing");
      (void)end64.bytes(12);
      disk = end64.u32();
      index_disk = end64.u32();
      (void)end64.u64();
      entries_left = end64.u64();
      index_size = end64.u64();
      index_offset = end64.u64();
    }
  }
  if (disk != 0 || index_disk != 0) {
    throw extract_error(ErrorCode::unsupported, "the zip archive is one part of several");
  }
  if (index_size > limit || index_offset > limit - index_size) {
    throw malformed("the zip archive's index lies outside of it");
  }
  index_end = index_offset + index_size;
}

ZipReader::ZipReader(int fd) : state_(std::make_unique<State>(fd)) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw system_error("reading the archive", errno);
  if (!S_ISREG(status.st_mode)) {
    throw extract_error(ErrorCode::invalid_argument,
                        "a zip archive can only be read from a file, not from a stream");
  }
  state_->file_size = static_cast<std::uint64_t>(status.st_size);
  state_->find_index();
}

ZipReader::~ZipReader() = default;

bool ZipReader::next(Entry& entry) {
  State& s = *state_;
  if (s.entries_left == 0) {
    if (s.index_offset != s.index_end) throw malformed("the zip archive's index holds more than it says");
    return false;
  }
  s.entries_left--;
  if (s.index_end - s.index_offset < kCentralSize) throw malformed("the zip archive's index is cut off");
  Fields fixed(s.at(s.index_offset, kCentralSize));
  if (fixed.u32() != kCentralSignature) throw malformed("the zip archive's index is damaged");
  const std::uint16_t made_by = fixed.u16();
  (void)fixed.u16();
  const std::uint16_t flags = fixed.u16();
  s.method = fixed.u16();
  const std::uint16_t dos_time = fixed.u16();
  const std::uint16_t dos_date = fixed.u16();
  s.stated_crc = fixed.u32();
  s.compressed_left = fixed.u32();
  std::uint64_t size = fixed.u32();
  const std::uint16_t name_length = fixed.u16();
  const std::uint16_t extra_length = fixed.u16();
  const std::uint16_t comment_length = fixed.u16();
  (void)fixed.u32();
  const std::uint32_t attributes = fixed.u32();
  std::uint64_t local_offset = fixed.u32();
  const std::size_t variable = std::size_t{name_length} + extra_length + comment_length;
  if (s.index_end - s.index_offset - kCentralSize < variable)
    throw malformed("the zip archive's index is cut off");

  entry = Entry{};
  entry.mtime.tv_sec = from_dos(dos_date, dos_time);
  Fields rest(s.at(s.index_offset + kCentralSize, variable));
  s.index_offset += kCentralSize + variable;
  entry.name = rest.bytes(name_length);
  Fields extras(rest.bytes(extra_length));
  while (extras.left() >= 4) {
    const std::uint16_t id = extras.u16();
    Fields extra(extras.bytes(extras.u16()));
    if (id == kZip64Extra) {
      if (size == kMax32) size = extra.u64();
      if (s.compressed_left == kMax32) s.compressed_left = extra.u64();
      if (local_offset == kMax32) local_offset = extra.u64();
    } else if (id == kTimeExtra && extra.left() >= 5 &&
               (static_cast<unsigned char>(extra.bytes(1)[0]) & 1U) != 0) {
      entry.mtime.tv_sec = static_cast<std::int32_t>(extra.u32());
    }
  }

  constexpr std::uint16_t kUnix = 3;
  constexpr std::uint16_t kMac = 19;
  constexpr std::uint32_t kDosDirectory = 0x10;
  const bool unix = (made_by >> 8U) == kUnix || (made_by >> 8U) == kMac;
  const mode_t mode = unix ? attributes >> 16U : 0;
  if (entry.name.ends_with('/') || S_ISDIR(mode) || (!unix && (attributes & kDosDirectory) != 0)) {
    entry.kind = Entry::Kind::directory;
    while (entry.name.size() > 1 && entry.name.ends_with('/')) entry.name.pop_back();
  } else if (S_ISLNK(mode)) {
    entry.kind = Entry::Kind::symlink;
  } else if ((mode & S_IFMT) != 0 && !S_ISREG(mode)) {
    entry.kind = Entry::Kind::special;
  }
  entry.mode = mode & 07777U;
  // Python's writestr() and programs of other systems leave no mode.
  if (mode == 0) entry.mode = entry.kind == Entry::Kind::directory ? 0755 : 0644;

  s.size_left = 0;
  if (entry.kind != Entry::Kind::file && entry.kind != Entry::Kind::symlink) {
    s.compressed_left = 0;
    return true;
  }
  const std::string named = shown(entry.name) + " in the zip archive ";
  if ((flags & kEncrypted) != 0) {
    throw extract_error(ErrorCode::unsupported, named + "is encrypted");
  }
  if (s.method != kStored && s.method != kDeflated) {
    throw extract_error(ErrorCode::unsupported, named + "is compressed by method " +
                                                    std::to_string(s.method) + "; only deflate can be read");
  }
  if (s.method == kStored && size != s.compressed_left) throw malformed(named + "states two sizes");
  Fields local(s.at(local_offset, kLocalSize));
  if (local.u32() != kLocalSignature) throw malformed(named + "is not where the index says");
  (void)local.bytes(22);
  const std::uint16_t local_name = local.u16();
  s.data_offset = local_offset + kLocalSize + local_name + local.u16();
  if (s.data_offset > s.file_size || s.compressed_left > s.file_size - s.data_offset) {
    throw malformed(named + "reaches beyond its end");
  }
  s.crc = 0;
  s.stream_ended = false;
  if (s.method == kDeflated) {
    if (s.inflating) {
      ::inflateReset(&s.stream);
    } else if (::inflateInit2(&s.stream, -MAX_WBITS) == Z_OK) {
      s.inflating = true;
    } else {
      throw std::bad_alloc();
    }
    s.stream.avail_in = 0;
  }
  s.size_left = size;
  if (entry.kind == Entry::Kind::symlink) {
    if (size > kBufferSize) throw malformed(named + "is a symbolic link of impossible length");
    std::string target(static_cast<std::size_t>(size), '\0');
    for (std::span<char> left = target; !left.empty();) left = left.subspan(read(left));
    (void)read({});  // checks the checksum
    entry.link_target = std::move(target);
  } else {
    entry.size = size;
  }
  return true;
}

std::size_t ZipReader::State::read_raw(std::span<char> buffer) {
  buffer = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), compressed_left)));
  const std::size_t count = buffer.empty() ? 0 : pread_some(buffer, data_offset);
  if (count == 0) throw malformed("an entry of the zip archive is cut off");
  data_offset += count;
  compressed_left -= count;
  return count;
}

std::size_t ZipReader::State::inflate_some(std::span<char> buffer) {
  stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
  const auto room = static_cast<uInt>(std::min(buffer.size(), kBufferSize));
  stream.avail_out = room;
  while (stream.avail_out == room) {
    if (stream_ended) throw malformed("an entry of the zip archive is shorter than it says");
    if (stream.avail_in == 0) {
      stream.avail_in = static_cast<uInt>(read_raw(compressed));
      stream.next_in = reinterpret_cast<Bytef*>(compressed.data());
    }
    const int result = ::inflate(&stream, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      stream_ended = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      throw malformed("an entry of the zip archive is damaged");
    }
  }
  return room - stream.avail_out;
}

std::size_t ZipReader::read(std::span<char> buffer) {
  State& s = *state_;
  if (s.size_left == 0) {
    if (s.crc != s.stated_crc) throw malformed("an entry of the zip archive has a wrong checksum");
    return 0;
  }
  // No more than stated is asked for: a deflated entry that holds more fails by its checksum.
  buffer = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), s.size_left)));
  const std::size_t count = s.method == kStored ? s.read_raw(buffer) : s.inflate_some(buffer);
  s.size_left -= count;
  s.crc = static_cast<std::uint32_t>(
      ::crc32(s.crc, reinterpret_cast<const Bytef*>(buffer.data()), static_cast<uInt>(count)));
  return count;
}

namespace {

class Record {
 public:
  Record& u16(std::uint64_t value) { return put(value, 2); }
  Record& u32(std::uint64_t value) { return put(value, 4); }
  Record& u64(std::uint64_t value) { return put(value, 8); }
  Record& bytes(std::string_view value) {
    bytes_ += value;
    return *this;
  }
  [[nodiscard]] const std::string& str() const { return bytes_; }

 private:
  Record& put(std::uint64_t value, unsigned count) {
    for (unsigned i = 0; i < count; i++) bytes_ += static_cast<char>((value >> (8 * i)) & 0xffU);
    return *this;
  }
  std::string bytes_;
};

constexpr unsigned kVersion = 20;
constexpr unsigned kVersion64 = 45;

struct DosTime {
  unsigned date;
  unsigned time;
};

DosTime to_dos(time_t seconds) {
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  if (parts.tm_year < 80) return {.date = (1U << 5U) | 1U, .time = 0};
  if (parts.tm_year > 207) return {.date = (127U << 9U) | (12U << 5U) | 31U, .time = 0};
  const auto field = [](int value) { return static_cast<unsigned>(value); };
  return {.date = (field(parts.tm_year - 80) << 9U) | (field(parts.tm_mon + 1) << 5U) | field(parts.tm_mday),
          .time = (field(parts.tm_hour) << 11U) | (field(parts.tm_min) << 5U) | (field(parts.tm_sec) / 2)};
}

std::string entry_name(const Entry& entry) {
  return entry.name + (entry.kind == Entry::Kind::directory ? "/" : "");
}

bool has_time_extra(const Entry& entry) {
  return entry.mtime.tv_sec >= std::numeric_limits<std::int32_t>::min() &&
         entry.mtime.tv_sec <= std::numeric_limits<std::int32_t>::max();
}

Record& add_time_extra(Record& record, const Entry& entry) {
  if (!has_time_extra(entry)) return record;
  return record.u16(kTimeExtra).u16(5).bytes("\1").u32(static_cast<std::uint64_t>(entry.mtime.tv_sec));
}

constexpr unsigned kTimeExtraSize = 9;
constexpr unsigned kZip64LocalExtraSize = 20;

// Whether sizes need 64 bits. Decided before the data is read, and again by the same number after it.
bool is_large(std::uint64_t size) {
  return size >= kMax32;
}

unsigned entry_flags(const Entry& entry) {
  unsigned flags = 0;
  if (entry.kind == Entry::Kind::file)
    flags |= kDescriptorFollows;  // the checksum is known after the data only
  const bool ascii =
      std::ranges::all_of(entry.name, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (!ascii && utf8::is_valid(entry.name)) flags |= kUtf8Name;
  return flags;
}

}  // namespace

void ZipWriter::begin(const Entry& entry) {
  end_entry();
  entry_ = entry;
  open_ = true;
  offset_ = output_.position();
  size_ = 0;
  crc_ = 0;
  const std::string name = entry_name(entry);
  const bool large = is_large(entry.size);
  // A link's text stands where a file's data would; it is here already.
  const bool link = entry.kind == Entry::Kind::symlink;
  if (link) {
    size_ = entry.link_target.size();
    crc_ = static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(entry.link_target.data()), static_cast<uInt>(size_)));
  }
  const DosTime time = to_dos(entry.mtime.tv_sec);
  Record record;
  record.u32(kLocalSignature).u16(large ? kVersion64 : kVersion).u16(entry_flags(entry)).u16(kStored);
  record.u16(time.time).u16(time.date).u32(crc_);
  record.u32(large ? kMax32 : size_).u32(large ? kMax32 : size_);
  record.u16(name.size());
  record.u16((has_time_extra(entry) ? kTimeExtraSize : 0) + (large ? kZip64LocalExtraSize : 0));
  record.bytes(name);
  // Says that the descriptor after the data counts in 64 bits.
  if (large) record.u16(kZip64Extra).u16(16).u64(0).u64(0);
  add_time_extra(record, entry);
  output_.write(record.str());
  if (link) output_.write(entry.link_target);
}

void ZipWriter::data(std::string_view bytes) {
  size_ += bytes.size();
  crc_ = static_cast<std::uint32_t>(
      ::crc32(crc_, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
  output_.write(bytes);
}

void ZipWriter::end_entry() {
  if (!open_) return;
  open_ = false;
  entries_++;
  const bool large = is_large(entry_.size);
  if (entry_.kind == Entry::Kind::file) {
    Record descriptor;
    descriptor.u32(kDescriptorSignature).u32(crc_);
    if (large) {
      descriptor.u64(size_).u64(size_);
    } else {
      descriptor.u32(size_).u32(size_);
    }
    output_.write(descriptor.str());
  }
  const bool far = offset_ >= kMax32;
  const unsigned zip64_size = (large ? 16U : 0U) + (far ? 8U : 0U);
  mode_t mode = entry_.mode & 07777U;
  if (entry_.kind == Entry::Kind::file) mode |= S_IFREG;
  if (entry_.kind == Entry::Kind::directory) mode |= S_IFDIR;
  if (entry_.kind == Entry::Kind::symlink) mode |= S_IFLNK;
  const bool directory = entry_.kind == Entry::Kind::directory;
  const std::string name = entry_name(entry_);
  const DosTime time = to_dos(entry_.mtime.tv_sec);
  const unsigned version = zip64_size > 0 ? kVersion64 : kVersion;
  Record record;
  record.u32(kCentralSignature).u16((3U << 8U) | version).u16(version).u16(entry_flags(entry_)).u16(kStored);
  record.u16(time.time).u16(time.date).u32(crc_);
  record.u32(large ? kMax32 : size_).u32(large ? kMax32 : size_);
  record.u16(name.size());
  record.u16((has_time_extra(entry_) ? kTimeExtraSize : 0) + (zip64_size > 0 ? 4 + zip64_size : 0));
  record.u16(0).u16(0).u16(0);
  record.u32((std::uint64_t{mode} << 16U) | (directory ? 0x10U : 0U));
  record.u32(far ? kMax32 : offset_).bytes(name);
  if (zip64_size > 0) {
    record.u16(kZip64Extra).u16(zip64_size);
    if (large) record.u64(size_).u64(size_);
    if (far) record.u64(offset_);
  }
  add_time_extra(record, entry_);
  index_ += record.str();
}

void ZipWriter::finish() {
  end_entry();
  const std::uint64_t start = output_.position();
  output_.write(index_);
  const std::uint64_t end = output_.position();
  Record record;
  if (entries_ >= kMax16 || end >= kMax32) {
    record.u32(kEnd64Signature)
        .u64(kEnd64Size - 12)
        .u16((3U << 8U) | kVersion64)
        .u16(kVersion64)
        .u32(0)
        .u32(0);
    record.u64(entries_).u64(entries_).u64(end - start).u64(start);
    record.u32(kLocator64Signature).u32(0).u64(end).u32(1);
  }
  const std::uint64_t count = std::min<std::uint64_t>(entries_, kMax16);
  record.u32(kEndSignature).u16(0).u16(0).u16(count).u16(count);
  record.u32(std::min<std::uint64_t>(end - start, kMax32)).u32(std::min<std::uint64_t>(start, kMax32)).u16(0);
  output_.write(record.str());
  output_.flush();
}

}  // namespace sandkey::archive
