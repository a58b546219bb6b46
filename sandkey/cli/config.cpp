// config show: every setting, and where its value came from.
#include "sandkey/base/json.h"
#include "sandkey/cli/verbs.h"
#include "sandkey/config/config_loader.h"

#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

namespace sandkey::cli {
namespace {

std::string origin_of(const ShownSetting& setting) {
  return setting.value == "(not set)" ? "" : setting.origin.to_string();
}

}  // namespace

int show_config(Context& context) {
  const LoadedConfig& loaded = context.loaded_config();
  const std::vector<ShownSetting> settings = sandkey::show_config(loaded.config);
  if (context.json()) {
    json::array rows;
    for (const ShownSetting& setting : settings) {
      json::object row;
      row["key"] = setting.key;
      row["value"] = setting.value;
      row["origin"] = origin_of(setting);
      rows.emplace_back(std::move(row));
    }
    json::array warnings;
    for (const std::string& warning : loaded.warnings) warnings.emplace_back(warning);
    json::object document;
    document["file"] = loaded.file.empty() ? json::value(nullptr) : json::value(loaded.file.string());
    document["settings"] = std::move(rows);
    document["warnings"] = std::move(warnings);
    context.print_json(document);
    return 0;
  }
  std::vector<Line> lines{{"SETTING", "VALUE", "FROM"}};
  for (const ShownSetting& setting : settings) {
    lines.push_back({setting.key, setting.value.empty() ? "''" : setting.value, origin_of(setting)});
  }
  print_table(lines);
  write_all(STDOUT_FILENO, loaded.file.empty() ? "\nThere is no config.toml here; --config names one.\n"
                                               : "\nRead from " + loaded.file.string() + ".\n");
  return 0;
}

}  // namespace sandkey::cli
