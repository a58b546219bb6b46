// Stands in for libFuzzer where there is none: runs a fuzz target once over each file of the corpus
// directories (or files) named on the command line.

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void replay(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  // Said before the run: the last line names the culprit of a crash.
  std::printf("%s (%zu bytes)\n", path.c_str(), bytes.size());
  std::fflush(stdout);
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  int count = 0;
  try {
    for (int i = 1; i < argc; i++) {
      if (!std::filesystem::is_directory(argv[i])) {
        replay(argv[i]);
        count++;
        continue;
      }
      for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
        if (!entry.is_regular_file()) continue;
        replay(entry.path());
        count++;
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "an exception escaped the fuzz target: %s\n", error.what());
    return 1;
  }
  if (count == 0) {
    std::fputs("no corpus file was found\n", stderr);
    return 1;
  }
  std::printf("%d files replayed\n", count);
  return 0;
}
