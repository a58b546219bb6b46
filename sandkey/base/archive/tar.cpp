#include "sandkey/base/archive/tar.h"

#include "sandkey/base/utf8.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>

namespace sandkey::archive {

namespace {

// The ustar header: offset and length of each field used.
struct Field {
  std::size_t offset;
  std::size_t length;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kType = 156;
constexpr Field kLinkName{157, 100};
constexpr Field kMagic{257, 8};
constexpr Field kPrefix{345, 155};

// Extension headers hold names and a few numbers; nothing sound needs more.
constexpr std::uint64_t kMaxExtension = std::uint64_t{256} * 1024;
// Extension headers in a row before an entry must come.
constexpr int kMaxExtensions = 16;
// After the end: tar pads to its block size, 10 KiB by default and seldom more than this.
constexpr std::size_t kMaxTrailing = std::size_t{1024} * 1024;

std::string_view field(std::string_view block, Field where) {
  return block.substr(where.offset, where.length);
}

std::string_view text(std::string_view block, Field where) {
  const std::string_view bytes = field(block, where);
  return bytes.substr(0, bytes.find('\0'));
}

// Octal digits among spaces and NULs, or GNU's big-endian binary where the top bit is set.
std::int64_t number(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if ((byte(0) & 0x80U) != 0) {
    const bool negative = (byte(0) & 0x40U) != 0;
    std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < bytes.size(); i++) {
      const unsigned char digit =
          i > 0 ? byte(i) : static_cast<unsigned char>(negative ? byte(0) : byte(0) & 0x7fU);
      if (i + 8 < bytes.size()) {
        if (digit != (negative ? 0xffU : 0U)) throw malformed("a number in a tar header is too large");
        continue;
      }
      value = (value << 8U) | digit;
    }
    return static_cast<std::int64_t>(value);
  }
  while (!bytes.empty() && bytes.front() == ' ') bytes.remove_prefix(1);
  std::int64_t value = 0;
  for (const char c : bytes) {
    if (c == ' ' || c == '\0') break;
    if (c < '0' || c > '7' || value > (std::numeric_limits<std::int64_t>::max() >> 3)) {
      throw malformed("a tar header holds something else than a number");
    }
    value = value * 8 + (c - '0');
  }
  return value;
}

template <typename Number>
std::optional<Number> decimal(std::string_view digits) {
  Number value{};
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (failure != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// "1700000000.25", with a sign for times before 1970.
std::optional<timespec> pax_time(std::string_view digits) {
  const std::size_t point = digits.find('.');
  const auto seconds = decimal<std::int64_t>(digits.substr(0, point));
  if (!seconds) return std::nullopt;
  timespec time{.tv_sec = *seconds, .tv_nsec = 0};
  if (point == std::string_view::npos) return time;
  std::string fraction(digits.substr(point + 1, 9));
  fraction.resize(9, '0');
  const auto nanoseconds = decimal<std::uint32_t>(fraction);
  if (!nanoseconds) return std::nullopt;
  time.tv_nsec = static_cast<long>(*nanoseconds);
  if (digits.starts_with('-') && time.tv_nsec > 0) {
    time.tv_sec--;
    time.tv_nsec = 1'000'000'000 - time.tv_nsec;
  }
  return time;
}

std::uint64_t padding_after(std::uint64_t size) {
  return (kTarBlock - size % kTarBlock) % kTarBlock;
}

}  // namespace

bool looks_like_tar(std::string_view block) {
  if (block.size() < kTarBlock) return false;
  std::int64_t as_unsigned = 0;
  std::int64_t as_signed = 0;  // what some old programs computed
  for (std::size_t i = 0; i < kTarBlock; i++) {
    const char c = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length ? ' ' : block[i];
    as_unsigned += static_cast<unsigned char>(c);
    as_signed += static_cast<signed char>(c);
  }
  try {
    const std::int64_t stated = number(field(block, kChecksum));
    return stated == as_unsigned || stated == as_signed;
  } catch (const Error&) {
    return false;
  }
}

void TarReader::read_fully(std::span<char> buffer) {
  while (!buffer.empty()) {
    const std::size_t count = input_.read(buffer);
    if (count == 0) throw malformed("the tar archive ends in the middle");
    buffer = buffer.subspan(count);
  }
}

void TarReader::skip(std::uint64_t count) {
  std::array<char, 8192> waste{};
  while (count > 0) {
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(count, waste.size()));
    read_fully(std::span(waste).first(step));
    count -= step;
  }
}

std::string TarReader::read_extension(std::uint64_t size) {
  if (size > kMaxExtension) throw malformed("a tar extension header is larger than 256 KiB");
  std::string bytes(static_cast<std::size_t>(size), '\0');
  read_fully(bytes);
  skip(padding_after(size));
  return bytes;
}

// Records of "length key=value\n", the length counting itself.
void TarReader::parse_pax(std::string_view records, Overrides& overrides) {
  while (!records.empty()) {
    const std::size_t space = records.find(' ');
    const auto length = decimal<std::size_t>(records.substr(0, space));
    if (space == std::string_view::npos || !length || *length <= space + 1 || *length > records.size() ||
        records[*length - 1] != '\n') {
      throw malformed("a pax header is damaged");
    }
    const std::string_view record = records.substr(space + 1, *length - space - 2);
    records.remove_prefix(*length);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos) throw malformed("a pax header is damaged");
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") {
      overrides.name = value;
    } else if (key == "linkpath") {
      overrides.link_target = value;
    } else if (key == "size") {
      overrides.size = decimal<std::uint64_t>(value);
      if (!overrides.size) throw malformed("a pax header's size is not a number");
    } else if (key == "mtime") {
      overrides.mtime = pax_time(value);
    } else if (key.starts_with("GNU.sparse.")) {
      throw extract_error(ErrorCode::unsupported,
                          "the tar archive holds a sparse file; pack it without --sparse");
    }
  }
}

void TarReader::expect_end() {
  std::array<char, 8192> waste{};
  for (std::size_t total = 0;;) {  // to the end, or whoever writes into the pipe would be cut off
    const std::size_t count = input_.read(waste);
    if (count == 0) return;
    total += count;
    if (total > kMaxTrailing) throw malformed("much follows the tar archive's end");
  }
}

bool TarReader::next(Entry& entry) {
  skip(left_);
  skip(padding_);
  left_ = padding_ = 0;
  Overrides overrides;
  std::array<char, kTarBlock> bytes{};
  const std::string_view block(bytes.data(), bytes.size());
  for (int extensions = 0; extensions <= kMaxExtensions; extensions++) {
    read_fully(bytes);
    if (std::ranges::all_of(bytes, [](char c) { return c == '\0'; })) {
      expect_end();
      return false;
    }
    if (!looks_like_tar(block)) throw malformed("a tar header's checksum is wrong");
    const std::int64_t stated_size = number(field(block, kSize));
    if (stated_size < 0) throw malformed("a tar header's size is negative");
    const auto size = static_cast<std::uint64_t>(stated_size);
    const char type = block[kType];
    switch (type) {
      case 'x':
        parse_pax(read_extension(size), overrides);
        continue;
      case 'g': {  // defaults for all entries: none of those we read makes sense for more than one
        Overrides ignored;
        parse_pax(read_extension(size), ignored);
        continue;
      }
      case 'L':
      case 'K': {
        std::string name = read_extension(size);
        name.resize(std::min(name.find('\0'), name.size()));
        (type == 'L' ? overrides.name : overrides.link_target) = std::move(name);
        continue;
      }
      default:
        break;
    }

    entry = Entry{};
    if (overrides.name) {
      entry.name = *overrides.name;
    } else {
      const bool posix = field(block, kMagic).starts_with(std::string_view("ustar\0", 6));
      if (posix && block[kPrefix.offset] != '\0') entry.name = std::string(text(block, kPrefix)) + "/";
      entry.name += text(block, kName);
    }
    entry.link_target = overrides.link_target.value_or(std::string(text(block, kLinkName)));
    entry.mode = static_cast<mode_t>(number(field(block, kMode)) & 07777);
    entry.mtime = overrides.mtime.value_or(timespec{.tv_sec = number(field(block, kMtime)), .tv_nsec = 0});
    switch (type) {
      case '\0':
      case '0':
      case '7':
        entry.kind = entry.name.ends_with('/') ? Entry::Kind::directory : Entry::Kind::file;
        break;
      case '1':
        entry.kind = Entry::Kind::hard_link;
        break;
      case '2':
        entry.kind = Entry::Kind::symlink;
        break;
      case '3':
      case '4':
      case '6':
        entry.kind = Entry::Kind::special;
        break;
      case '5':
        entry.kind = Entry::Kind::directory;
        break;
      default:
        throw extract_error(
            ErrorCode::unsupported,
            shown(entry.name) + " in the tar archive is of unknown type " + shown({&type, 1}));
    }
    while (entry.kind == Entry::Kind::directory && entry.name.ends_with('/') && entry.name.size() > 1) {
      entry.name.pop_back();
    }
    // Other kinds may state the size of what they stand for, but hold nothing.
    if (entry.kind == Entry::Kind::file) entry.size = overrides.size.value_or(size);
    left_ = entry.size;
    padding_ = padding_after(entry.size);
    return true;
  }
  throw malformed("too many tar extension headers in a row");
}

std::size_t TarReader::read(std::span<char> buffer) {
  buffer = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_)));
  if (buffer.empty()) return 0;
  const std::size_t count = input_.read(buffer);
  if (count == 0) throw malformed("the tar archive ends in the middle");
  left_ -= count;
  return count;
}

namespace {

constexpr std::uint64_t kMaxOctalSize = (std::uint64_t{1} << 33U) - 1;  // eleven octal digits

void put(std::array<char, kTarBlock>& block, Field where, std::string_view bytes) {
  std::memcpy(block.data() + where.offset, bytes.data(), std::min(bytes.size(), where.length));
}

void put_octal(std::array<char, kTarBlock>& block, Field where, std::uint64_t value) {
  std::array<char, 24> digits{};
  const auto [end, failure] = std::to_chars(digits.data(), digits.data() + digits.size(), value, 8);
  const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
  std::string padded(where.length - 1 - std::min(where.length - 1, text.size()), '0');
  put(block, where, padded.append(text));
}

std::string pax_record(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;  // ' ', '=', '\n'
  std::size_t length = rest + std::to_string(rest).size();
  length = rest + std::to_string(length).size();  // counting itself may need one digit more
  std::string record = std::to_string(length) + " ";
  record.append(key).append("=").append(value).append("\n");
  return record;
}

}  // namespace

void TarWriter::pad() {
  output_.write(std::string(static_cast<std::size_t>(padding_after(output_.position())), '\0'));
}

void TarWriter::header(const Entry& entry, std::string_view name, char type, std::uint64_t size) {
  std::array<char, kTarBlock> block{};
  // A long name is split at a '/' between the two fields if that works; begin() has written it as pax if not.
  if (name.size() > kName.length) {
    const std::size_t slash = name.find('/', name.size() - kName.length - 1);
    if (slash != std::string_view::npos && slash > 0 && slash <= kPrefix.length && slash + 1 < name.size()) {
      put(block, kPrefix, name.substr(0, slash));
      name.remove_prefix(slash + 1);
    }
  }
  put(block, kName, name);
  put_octal(block, kMode, entry.mode & 07777U);
  put_octal(block, kUid, 0);  // owners mean nothing on another machine
  put_octal(block, kGid, 0);
  put_octal(block, kSize, size <= kMaxOctalSize ? size : 0);
  const auto seconds = entry.mtime.tv_sec;
  put_octal(
      block, kMtime,
      seconds < 0 || seconds > static_cast<time_t>(kMaxOctalSize) ? 0 : static_cast<std::uint64_t>(seconds));
  put(block, kLinkName, entry.link_target);
  put(block, kMagic, std::string_view("ustar\00000", 8));
  block[kType] = type;
  put(block, kChecksum, "        ");
  std::uint64_t sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put_octal(block, {kChecksum.offset, 7}, sum);
  output_.write({block.data(), block.size()});
}

void TarWriter::begin(const Entry& entry) {
  pad();
  const bool directory = entry.kind == Entry::Kind::directory;
  const std::string name = entry.name + (directory ? "/" : "");
  std::string records;
  // Readers ignore what a plain header cannot hold, so only then is a pax header written.
  if (name.size() > kName.length) {
    const std::size_t slash = name.find('/', name.size() - kName.length - 1);
    if (slash == std::string::npos || slash == 0 || slash > kPrefix.length || slash + 1 >= name.size()) {
      records += pax_record("path", name);
    }
  }
  if (entry.link_target.size() > kLinkName.length) records += pax_record("linkpath", entry.link_target);
  // pax text is UTF-8 unless it says otherwise.
  if (!records.empty() && !(utf8::is_valid(name) && utf8::is_valid(entry.link_target))) {
    records.insert(0, pax_record("hdrcharset", "BINARY"));
  }
  if (entry.size > kMaxOctalSize) records += pax_record("size", std::to_string(entry.size));
  if (entry.mtime.tv_nsec != 0 || entry.mtime.tv_sec < 0 ||
      entry.mtime.tv_sec > static_cast<time_t>(kMaxOctalSize)) {
    // The fraction counts upwards in a timespec, away from zero in pax.
    const bool negative = entry.mtime.tv_sec < 0;
    const bool borrow = negative && entry.mtime.tv_nsec > 0;
    const auto seconds =
        static_cast<std::uint64_t>(negative ? -(entry.mtime.tv_sec + (borrow ? 1 : 0)) : entry.mtime.tv_sec);
    std::string fraction = std::to_string(borrow ? 1'000'000'000 - entry.mtime.tv_nsec : entry.mtime.tv_nsec);
    fraction.insert(0, 9 - fraction.size(), '0');
    records += pax_record("mtime", (negative ? "-" : "") + std::to_string(seconds) + "." + fraction);
  }
  if (!records.empty()) {
    Entry extension;
    extension.mode = 0644;
    header(extension, "pax", 'x', records.size());
    output_.write(records);
    pad();
  }
  char type = '0';
  if (directory) type = '5';
  if (entry.kind == Entry::Kind::symlink) type = '2';
  header(entry, name, type, entry.size);
}

void TarWriter::finish() {
  pad();
  output_.write(std::string(2 * kTarBlock, '\0'));
  output_.flush();
}

}  // namespace sandkey::archive
