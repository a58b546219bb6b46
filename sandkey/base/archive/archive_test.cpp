#include "sandkey/base/archive/archive.h"

#include "sandkey/base/archive/stream.h"
#include "sandkey/base/archive/tar.h"
#include "sandkey/base/archive/zip.h"
#include "sandkey/base/unique_fd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace sandkey {
namespace {

namespace fs = std::filesystem;
using archive::Entry;
using ::testing::HasSubstr;

class Archive : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "archive-test-XXXXXX").native();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    fs::create_directories(root_ / "out");
  }
  void TearDown() override {
    std::error_code ignored;
    for (const auto& entry : fs::recursive_directory_iterator(root_, ignored)) {
      if (entry.is_directory() && !entry.is_symlink()) fs::permissions(entry, fs::perms::owner_all, ignored);
    }
    fs::remove_all(root_, ignored);
  }

  fs::path out() const { return root_ / "out"; }

  static void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  static std::string slurp(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static std::string slurp(int fd) {
    std::string all(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)), '\0');
    EXPECT_EQ(::pread(fd, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
    return all;
  }
  static UniqueFd memory(const std::string& bytes = {}) {
    UniqueFd fd(::memfd_create("archive", MFD_CLOEXEC));
    archive::write_all(fd.get(), bytes, "test");
    ::lseek(fd.get(), 0, SEEK_SET);
    return fd;
  }
  static std::string packed(const fs::path& source, ArchiveFormat format, bool with_base_name = false) {
    const UniqueFd fd = memory();
    pack(fd.get(), source, {.format = format, .with_base_name = with_base_name});
    return slurp(fd.get());
  }
  ExtractReport unpack(const std::string& bytes, const ExtractOptions& options = {}) const {
    const UniqueFd fd = memory(bytes);
    return extract(fd.get(), out(), options);
  }
  // The message and code of the refusal; empty if there was none.
  std::string refusal(const std::string& bytes, ErrorCode code = ErrorCode::invalid_argument,
                      const ExtractOptions& options = {}) const {
    try {
      unpack(bytes, options);
    } catch (const ExtractError& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    return {};
  }
  // Nothing but the destination is in the root.
  void expect_no_escape() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(root_)) names.push_back(entry.path().filename().native());
    EXPECT_THAT(names, ::testing::ElementsAre("out"));
  }

  struct Item {
    Entry entry;
    std::string data;
  };
  static Item file(const std::string& name, const std::string& data, mode_t mode = 0644) {
    Item item{.entry = {}, .data = data};
    item.entry.name = name;
    item.entry.mode = mode;
    item.entry.size = data.size();
    return item;
  }
  static Item other(Entry::Kind kind, const std::string& name, const std::string& target = {},
                    mode_t mode = 0755) {
    Item item{};
    item.entry.kind = kind;
    item.entry.name = name;
    item.entry.link_target = target;
    item.entry.mode = mode;
    return item;
  }
  static std::string made(ArchiveFormat format, const std::vector<Item>& items) {
    const UniqueFd fd = memory();
    archive::Output output(fd.get());
    archive::TarWriter tar(output);
    archive::ZipWriter zip(output);
    archive::Writer& writer = format == ArchiveFormat::tar ? static_cast<archive::Writer&>(tar) : zip;
    for (const Item& item : items) {
      writer.begin(item.entry);
      if (!item.data.empty()) writer.data(item.data);
    }
    writer.finish();
    return slurp(fd.get());
  }
  // The one entry of a tar with its type changed and its checksum put right: what TarWriter never writes.
  static std::string retyped(std::string tar, char type) {
    tar[156] = type;
    for (std::size_t i = 148; i < 156; i++) tar[i] = ' ';
    unsigned sum = 0;
    for (std::size_t i = 0; i < 512; i++) sum += static_cast<unsigned char>(tar[i]);
    for (std::size_t i = 154; i-- > 148; sum >>= 3U) tar[i] = static_cast<char>('0' + (sum & 7U));
    tar[154] = '\0';
    return tar;
  }
  static bool have(const std::string& program) {
    return std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
  }
  static int shell(const std::string& command) { return std::system(command.c_str()); }

  // A tree with everything packing keeps.
  fs::path tree() const {
    const fs::path source = root_ / "tree";
    write(source / "a.txt", "alpha");
    write(source / "sub/big.bin", std::string(300'000, 'x') + "end");
    write(source / "sub/run.sh", "#!/bin/sh\n");
    write(source / "empty-file", "");
    write(source / "n\303\244me \346\227\245.txt", "utf8");
    write(source / "odd\xff\n\"name", "bytes");
    write(source / std::string(120, 'd') / std::string(200, 'f'), "long");
    fs::create_directories(source / "empty");
    fs::create_symlink("sub/run.sh", source / "link");
    fs::create_symlink("missing", source / "dangling");
    fs::permissions(source / "sub/run.sh", fs::perms(0750));
    fs::permissions(source / "a.txt", fs::perms(0440));
    fs::permissions(source / "empty", fs::perms(0555));
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                               {.tv_sec = 1'600'000'000, .tv_nsec = 123'456'789}};
    EXPECT_EQ(::utimensat(AT_FDCWD, (source / "a.txt").c_str(), times, 0), 0);
    EXPECT_EQ(::utimensat(AT_FDCWD, (source / "sub").c_str(), times, 0), 0);
    return source;
  }
  static std::map<std::string, std::string> listing(const fs::path& root) {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      struct stat status {};
      ::lstat(entry.path().c_str(), &status);
      std::string what;
      if (entry.is_symlink()) {
        what = "-> " + fs::read_symlink(entry).native();
      } else {
        what = std::to_string(status.st_mode & 07777U) + " ";
        what += entry.is_directory() ? "dir" : slurp(entry.path());
      }
      all[fs::relative(entry.path().parent_path(), root) / entry.path().filename()] = what;
    }
    return all;
  }

  fs::path root_;
};

class ArchiveOfEachFormat : public Archive, public ::testing::WithParamInterface<ArchiveFormat> {};
INSTANTIATE_TEST_SUITE_P(Format, ArchiveOfEachFormat,
                         ::testing::Values(ArchiveFormat::tar, ArchiveFormat::zip),
                         [](const auto& test) { return test.param == ArchiveFormat::tar ? "tar" : "zip"; });

TEST_P(ArchiveOfEachFormat, ComesBackAsItWent) {
  const fs::path source = tree();
  const std::string bytes = packed(source, GetParam());
  const ExtractReport report = unpack(bytes);
  EXPECT_EQ(listing(out()), listing(source));
  EXPECT_EQ(report.files, 7);
  EXPECT_EQ(report.directories, 3);
  EXPECT_EQ(report.links, 2);
  EXPECT_EQ(report.bytes, 5 + 300'003 + 10 + 4 + 5 + 4);
  struct stat status {};
  for (const char* name : {"a.txt", "sub"}) {
    ASSERT_EQ(::stat((out() / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mtim.tv_sec, 1'600'000'000) << name;
    if (GetParam() == ArchiveFormat::tar) {
      EXPECT_EQ(status.st_mtim.tv_nsec, 123'456'789) << name;
    }
  }
  // Over what is there: everything is replaced, nothing is in the way.
  unpack(bytes);
  EXPECT_EQ(listing(out()), listing(source));
  EXPECT_EQ(packed(source, GetParam()), bytes);
}

TEST_P(ArchiveOfEachFormat, CanCarryTheBaseName) {
  write(root_ / "src/f", "x");
  for (const char* source : {"src", "src/", "src/.", "src/../src"}) {
    unpack(packed(root_ / source, GetParam(), true));
    EXPECT_EQ(slurp(out() / "src/f"), "x") << source;
    fs::remove_all(out());
  }
  unpack(packed(root_ / "src/f", GetParam()));
  EXPECT_EQ(slurp(out() / "f"), "x");
}

TEST_P(ArchiveOfEachFormat, OfAnEmptyDirectoryIsValid) {
  fs::create_directories(root_ / "none");
  EXPECT_EQ(unpack(packed(root_ / "none", GetParam())).files, 0);
}

TEST_P(ArchiveOfEachFormat, IsReadByPython) {
  if (!have("python3")) GTEST_SKIP() << "python3 is not installed";
  const fs::path source = tree();
  std::ofstream(root_ / "archive", std::ios::binary) << packed(source, GetParam());
  std::ofstream(root_ / "check.py") << (GetParam() == ArchiveFormat::tar ? R"(import sys, tarfile, os
t = tarfile.open(sys.argv[1])
names = [m.name for m in t]
assert len(names) == 12, names
assert t.extractfile('sub/big.bin').read().endswith(b'xend')
assert t.getmember('link').linkname == 'sub/run.sh'
assert t.getmember('a.txt').mode == 0o440 and abs(t.getmember('a.txt').mtime - 1600000000.123456789) < 1e-6
assert 'n\u00e4me \u65e5.txt' in names and os.fsdecode(b'odd\xff\n"name') in names
assert 'd' * 120 + '/' + 'f' * 200 in names
)"
                                                                         : R"(import sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
names = z.namelist()
assert len(names) == 12, names
assert all(i.compress_type == zipfile.ZIP_STORED for i in z.infolist())
assert z.read('sub/big.bin').endswith(b'xend')
assert 'n\u00e4me \u65e5.txt' in names
assert z.getinfo('a.txt').external_attr >> 16 == 0o100440
assert z.getinfo('a.txt').date_time == (2020, 9, 13, 12, 26, 40)
assert 'empty/' in names
)");
  EXPECT_EQ(shell("python3 " + (root_ / "check.py").native() + " " + (root_ / "archive").native()), 0);
}

TEST_P(ArchiveOfEachFormat, FromPythonIsRead) {
  if (!have("python3")) GTEST_SKIP() << "python3 is not installed";
  const fs::path source = tree();
  fs::remove(source / "odd\xff\n\"name");  // zipfile cannot write it
  fs::remove(source / "link");             // zipfile follows links
  fs::remove(source / "dangling");
  std::ofstream(root_ / "make.py") << (GetParam() == ArchiveFormat::tar ? R"(import sys, tarfile
for name, mode, form in (('1', 'w', tarfile.PAX_FORMAT), ('2', 'w:gz', tarfile.GNU_FORMAT)):
    with tarfile.open(sys.argv[2] + name, mode, format=form) as t: t.add(sys.argv[1], 'tree')
)"
                                                                        : R"(import os, sys, zipfile
for name, how in (('1', zipfile.ZIP_DEFLATED), ('2', zipfile.ZIP_STORED)):
    with zipfile.ZipFile(sys.argv[2] + name, 'w', how) as z:
        for folder, dirs, files in os.walk(sys.argv[1]):
            for f in dirs + files:
                path = os.path.join(folder, f)
                z.write(path, os.path.join('tree', os.path.relpath(path, sys.argv[1])))
)");
  ASSERT_EQ(shell("python3 " + (root_ / "make.py").native() + " " + source.native() + " " +
                  (root_ / "made").native()),
            0);
  for (const char* name : {"made1", "made2"}) {
    unpack(slurp(root_ / name), {.strip_components = 1});
    EXPECT_EQ(listing(out()), listing(source)) << name;
    fs::remove_all(out());
  }
}

TEST_P(ArchiveOfEachFormat, CannotNameAPlaceOutside) {
  for (const std::string name : {"../evil", "a/../../evil", "/evil", "a/..", ".."}) {
    EXPECT_THAT(refusal(made(GetParam(), {file(name, "x")})), HasSubstr("'" + name + "'"));
    EXPECT_THAT(refusal(made(GetParam(), {other(Entry::Kind::directory, name)})),
                HasSubstr("'" + name + "'"));
    EXPECT_THAT(refusal(made(GetParam(), {other(Entry::Kind::symlink, name, "x")})),
                HasSubstr("'" + name + "'"));
  }
  expect_no_escape();
}

TEST_P(ArchiveOfEachFormat, CannotWriteThroughItsOwnLink) {
  const ExtractOptions any{.outward_symlinks = true};
  for (const std::string target : {"..", "/tmp", ".", "real"}) {
    const std::string message =
        refusal(made(GetParam(), {other(Entry::Kind::directory, "real"),
                                  other(Entry::Kind::symlink, "l", target), file("l/x", "x")}),
                ErrorCode::invalid_argument, any);
    EXPECT_THAT(message, HasSubstr("'l/x'"));
    EXPECT_THAT(message, HasSubstr("symbolic link"));
    EXPECT_THAT(message, HasSubstr("2 entries"));
    fs::remove_all(out());
    refusal(made(GetParam(), {other(Entry::Kind::symlink, "l", target), other(Entry::Kind::directory, "l")}),
            ErrorCode::invalid_argument, any);
    fs::remove_all(out());
  }
  // A file in a link's place replaces the link.
  unpack(made(GetParam(), {other(Entry::Kind::symlink, "l", "../evil"), file("l", "mine")}), any);
  EXPECT_FALSE(fs::is_symlink(out() / "l"));
  EXPECT_EQ(slurp(out() / "l"), "mine");
  expect_no_escape();
}

TEST_P(ArchiveOfEachFormat, CannotWriteThroughALinkThatWasThere) {
  fs::create_directories(root_ / "outside");
  write(root_ / "outside/f", "theirs");
  fs::create_directory_symlink(root_ / "outside", out() / "d");
  fs::create_symlink(root_ / "outside/f", out() / "l");
  fs::create_hard_link(root_ / "outside/f", out() / "h");
  EXPECT_THAT(refusal(made(GetParam(), {file("d/f", "evil")})), HasSubstr("'d/f'"));
  EXPECT_THAT(refusal(made(GetParam(), {other(Entry::Kind::directory, "d/new")})), HasSubstr("'d/new'"));
  EXPECT_THAT(refusal(made(GetParam(), {other(Entry::Kind::directory, "d")})), HasSubstr("'d'"));
  unpack(made(GetParam(), {file("l", "mine"), file("h", "mine")}));
  EXPECT_EQ(slurp(out() / "l"), "mine");
  EXPECT_EQ(slurp(out() / "h"), "mine");
  EXPECT_EQ(listing(root_ / "outside").size(), 1);
  EXPECT_EQ(slurp(root_ / "outside/f"), "theirs");
}

TEST_P(ArchiveOfEachFormat, KeepsLinksInsideUnlessToldOtherwise) {
  for (const std::string target : {"/etc/passwd", "../x", "../../x", "a/../..", "a/../b"}) {
    const std::string plain = made(GetParam(), {other(Entry::Kind::symlink, "l", target)});
    EXPECT_THAT(refusal(plain), HasSubstr("'l'")) << target;
    unpack(plain, {.outward_symlinks = true});
    EXPECT_EQ(fs::read_symlink(out() / "l"), target);
  }
  for (const std::string target : {"../x", "x", "..", "../a/b", "./../x"}) {
    unpack(made(GetParam(), {other(Entry::Kind::symlink, "d/l", target)}));
    EXPECT_EQ(fs::read_symlink(out() / "d/l"), target);
  }
}

TEST_P(ArchiveOfEachFormat, DropsSetuidAndHonoursTheUmask) {
  const mode_t before = ::umask(027);
  unpack(made(GetParam(), {file("f", "x", 06777), other(Entry::Kind::directory, "d", {}, 03777)}));
  ::umask(before);
  EXPECT_EQ(fs::status(out() / "f").permissions(), fs::perms(0750));
  EXPECT_EQ(fs::status(out() / "d").permissions(), fs::perms(0750));
}

TEST_P(ArchiveOfEachFormat, FillsReadOnlyDirectories) {
  unpack(made(GetParam(), {other(Entry::Kind::directory, "d", {}, 0555),
                           other(Entry::Kind::directory, "d/e", {}, 0), file("d/e/f", "x")}));
  EXPECT_EQ(fs::status(out() / "d").permissions(), fs::perms(0555));
  EXPECT_EQ(fs::status(out() / "d/e").permissions(), fs::perms(0));
}

TEST_P(ArchiveOfEachFormat, FillsReadOnlyDirectoriesThatWereThere) {
  const std::string bytes =
      made(GetParam(), {other(Entry::Kind::directory, "d", {}, 0777), file("d/f", "new")});
  fs::create_directory(out() / "d");
  write(out() / "d/f", "old");
  fs::permissions(out() / "d", fs::perms(02555));
  const fs::file_time_type before = fs::last_write_time(root_);
  unpack(bytes);
  EXPECT_EQ(slurp(out() / "d/f"), "new");
  EXPECT_EQ(fs::status(out() / "d").permissions(), fs::perms(02555));
  EXPECT_GE(fs::last_write_time(out() / "d"), before);
}

TEST_P(ArchiveOfEachFormat, IsBounded) {
  const std::string bytes = made(GetParam(), {file("a", "123"), file("b/c", "4567")});
  unpack(bytes, {.max_entries = 3, .max_total_bytes = 7});
  fs::remove_all(out());
  EXPECT_THAT(refusal(bytes, ErrorCode::quota_exceeded, {.max_entries = 2}), HasSubstr("'b/c'"));
  fs::remove_all(out());
  EXPECT_THAT(refusal(bytes, ErrorCode::quota_exceeded, {.max_total_bytes = 6}),
              HasSubstr("more than 6 bytes"));
  EXPECT_FALSE(fs::exists(out() / "b/c"));
  EXPECT_EQ(slurp(out() / "a"), "123");
  EXPECT_EQ(std::distance(fs::directory_iterator(out() / "b"), {}), 0) << "a temporary file was left";
  EXPECT_THAT(refusal(made(GetParam(), {file(std::string(4097, 'x'), "")})), HasSubstr("longer than"));
  std::string deep;
  for (int i = 0; i < 1001; i++) deep += "d/";
  EXPECT_THAT(refusal(made(GetParam(), {file(deep + "f", "")})), HasSubstr("components"));
}

TEST_P(ArchiveOfEachFormat, CutOffAnywhereIsAnError) {
  const std::string bytes = made(GetParam(), {file("a", std::string(700, 'a')), file("b", "b")});
  const std::size_t end = GetParam() == ArchiveFormat::tar ? bytes.size() - 1024 : bytes.size();
  for (std::size_t size = 0; size < end; size += 101) {
    EXPECT_THROW(unpack(bytes.substr(0, size)), ExtractError) << size;
  }
}

TEST_P(ArchiveOfEachFormat, DamagedAnywhereNeverEscapes) {
  const std::string bytes = made(GetParam(), {file("a", "aaa"), other(Entry::Kind::directory, "d"),
                                              other(Entry::Kind::symlink, "d/l", "../a")});
  for (std::size_t i = 0; i < bytes.size(); i += 7) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (i % 2 == 0 ? 0x80 : 0x01));
    try {
      unpack(damaged, {.max_entries = 10});
    } catch (const Error&) {
    }
    fs::remove_all(out());
  }
  fs::create_directories(out());
  expect_no_escape();
}

TEST_P(ArchiveOfEachFormat, ReportsAClosedPipe) {
  write(root_ / "src/f", std::string(1'000'000, 'x'));
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd in(ends[1]);
  ::close(ends[0]);
  EXPECT_THROW(pack(in.get(), root_ / "src", {.format = GetParam()}), Error);  // and no SIGPIPE
}

TEST_F(Archive, StreamsATarThroughAPipeInConstantMemory) {
  constexpr int kFiles = 4;
  for (int i = 0; i < kFiles; i++) {
    write(root_ / "src" / std::to_string(i), "");
    fs::resize_file(root_ / "src" / std::to_string(i), 16U << 20U);  // sparse: cheap to make
  }
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);  // both sides must cope
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  std::jthread packing([&] {
    pack(writer.get(), root_ / "src");
    writer.reset();
  });
  const ExtractReport report = extract(reader.get(), out());
  packing.join();
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  EXPECT_EQ(report.bytes, std::uint64_t{kFiles} << 24U);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 8192) << "KiB";
#endif
}

TEST_F(Archive, OfAZipNeedsAFile) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  archive::write_all(writer.get(), made(ArchiveFormat::zip, {file("f", "x")}), "test");
  writer.reset();
  try {
    extract(reader.get(), out());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("stream"));
  }
}

TEST_F(Archive, OfUnknownFormatIsSaidToBe) {
  EXPECT_THAT(refusal("", ErrorCode::protocol), HasSubstr("empty"));
  EXPECT_THAT(refusal(std::string(5000, 'x'), ErrorCode::protocol), HasSubstr("not a tar"));
  EXPECT_THAT(refusal("PK\5\6", ErrorCode::protocol), HasSubstr("index"));
}

TEST_F(Archive, RefusesDevicesAndFifos) {
  const std::string tar = made(ArchiveFormat::tar, {file("node", "")});
  for (const char type : {'3', '4', '6'}) EXPECT_THAT(refusal(retyped(tar, type)), HasSubstr("'node'"));
  EXPECT_THAT(refusal(retyped(tar, 'S'), ErrorCode::unsupported), HasSubstr("type 'S'"));
}

TEST_F(Archive, LimitsHardLinksToFilesInside) {
  const auto hard = [&](const std::string& name, const std::string& target) {
    return retyped(made(ArchiveFormat::tar, {other(Entry::Kind::symlink, name, target)}), '1');
  };
  write(root_ / "secret", "theirs");
  EXPECT_THAT(refusal(hard("h", "../secret")), HasSubstr("'h'"));
  EXPECT_THAT(refusal(hard("h", (root_ / "secret").native())), HasSubstr("'h'"));
  EXPECT_THAT(refusal(hard("h", "missing"), ErrorCode::not_found), HasSubstr("'h'"));
  fs::create_symlink("../secret", out() / "l");
  fs::create_directory_symlink("..", out() / "d");
  EXPECT_THAT(refusal(hard("h", "l")), HasSubstr("not a file"));
  EXPECT_THAT(refusal(hard("h", "d/secret")), HasSubstr("symbolic link"));
  EXPECT_THAT(refusal(hard("h", ".")), HasSubstr("no target"));
  write(out() / "sub/f", "mine");
  unpack(hard("x/h", "sub/f"));
  unpack(hard("x/h", "x/h"));
  EXPECT_EQ(fs::hard_link_count(out() / "sub/f"), 2);
  EXPECT_EQ(std::distance(fs::directory_iterator(out() / "x"), {}), 1) << "a temporary name was left";
}

TEST_F(Archive, ShowsNamesSafely) {
  EXPECT_EQ(archive::shown("a\nb\xff\303\244"), "'a\\x0ab\\xff\303\244'");
  EXPECT_LT(archive::shown(std::string(5000, 'x')).size(), 300U);
}

TEST_F(Archive, SkipsWhatIsNoFile) {
  write(root_ / "src/f", "x");
  ASSERT_EQ(::mkfifo((root_ / "src/fifo").c_str(), 0600), 0);
  const UniqueFd fd = memory();
  const PackReport report = pack(fd.get(), root_ / "src");
  EXPECT_EQ(report.entries, 1);
  EXPECT_EQ(report.skipped, 1);
  EXPECT_THROW(pack(fd.get(), root_ / "src/fifo"), Error);
  EXPECT_THROW(pack(fd.get(), root_ / "absent"), Error);
}

TEST_P(ArchiveOfEachFormat, OfAShrinkingFileIsNone) {
  // The reader holds the pack up in mid-file, and the file is cut behind its back.
  write(root_ / "src/f", "");
  fs::resize_file(root_ / "src/f", 8U << 20U);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::string message;
  std::jthread packing([&] {
    try {
      pack(writer.get(), root_ / "src", {.format = GetParam()});
    } catch (const Error& error) {
      message = error.what();
    }
    writer.reset();
  });
  const UniqueFd copy = memory();
  std::vector<char> buffer(4096);
  std::size_t count = archive::read_some(reader.get(), buffer, "test");
  fs::resize_file(root_ / "src/f", 1000);
  for (; count > 0; count = archive::read_some(reader.get(), buffer, "test")) {
    archive::write_all(copy.get(), {buffer.data(), count}, "test");
  }
  packing.join();
  EXPECT_THAT(message, HasSubstr("'f': the file became shorter"));
  ::lseek(copy.get(), 0, SEEK_SET);
  EXPECT_THROW(extract(copy.get(), out()), ExtractError);
}

TEST_F(Archive, KeepsTimesBefore1970) {
  Item item = file("f", "x");
  item.entry.mtime = {.tv_sec = -2, .tv_nsec = 250'000'000};
  unpack(made(ArchiveFormat::tar, {item}));
  struct stat status {};
  ASSERT_EQ(::stat((out() / "f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mtim.tv_sec, -2);
  EXPECT_EQ(status.st_mtim.tv_nsec, 250'000'000);
}

TEST_F(Archive, OfZipCanHoldMoreThanItsOldLimits) {
  // 70,000 entries need the 64-bit index.
  std::vector<Item> items;
  for (int i = 0; i < 70'000; i++) items.push_back(file("f" + std::to_string(i), ""));
  const UniqueFd fd = memory(made(ArchiveFormat::zip, items));
  archive::ZipReader reader(fd.get());
  Entry entry;
  int count = 0;
  while (reader.next(entry)) count++;
  EXPECT_EQ(count, 70'000);
}

}  // namespace
}  // namespace sandkey
