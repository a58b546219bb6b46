// config.toml from anywhere: loaded or refused, and no message quotes a value of the file.
#include "sandkey/base/error.h"
#include "sandkey/config/config_loader.h"
#include "sandkey/config/toml_document.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace sandkey;

constexpr std::array<ConfigField, 1> kFields{{{"acme_api_key", true, "the key"}}};

void require(bool condition) {
  if (!condition) std::abort();
}

void require_plain(std::string_view text) {
  require(std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
}

// The corpus has this as a value in many places. Any text would not do: the fuzzer learns those of our
// messages.
constexpr std::string_view kCanary = "canary-canary-canary-canary";

// Names of keys are shown.
bool is_key(const TomlValue& value, std::string_view name) {
  return value.key.find(name) != std::string::npos ||
         std::any_of(value.items.begin(), value.items.end(),
                     [&](const TomlValue& item) { return is_key(item, name); });
}

void require_written_back(const TomlValue& value) {
  if (value.is(TomlValue::Type::text)) {
    require(parse_toml("k = " + toml_quoted(value.text), "it").find("k")->text == value.text);
  }
  for (const TomlValue& item : value.items) require_written_back(item);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  bool valid = true;
  bool names_canary = false;
  try {
    const TomlValue document = parse_toml(text, "it");
    require_written_back(document);
    names_canary = is_key(document, kCanary);
  } catch (const Error& error) {
    valid = false;
    require_plain(error.what());
  }

  const int file = ::memfd_create("config", MFD_CLOEXEC);
  require(file >= 0 && ::write(file, data, size) == static_cast<ssize_t>(size));
  ConfigSources sources;
  sources.file = "/proc/self/fd/" + std::to_string(file);
  sources.environment = [](const std::string&) { return std::nullopt; };
  sources.fields = kFields;
  std::string said;
  try {
    const LoadedConfig loaded = load_config(sources);
    require(valid);
    for (const std::string& warning : loaded.warnings) said += warning;
    (void)show_config(loaded.config);
  } catch (const Error& error) {
    said = error.what();
  }
  ::close(file);
  require_plain(said);
  require(names_canary || said.find(kCanary) == std::string::npos);
  return 0;
}
