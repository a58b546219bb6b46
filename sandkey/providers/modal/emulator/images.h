// The images of the emulated Modal: recipes, which are built when they are first asked for. All of them hold
// this machine's /usr; what their lines say of variables, the folder and the command holds.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/accounts.h"

#include <map>
#include <memory>
#include <modal.pb.h>
#include <string>
#include <vector>

namespace sandkey::modal::emulator {

// A base that no registry has: building it fails. It takes all names below .invalid (RFC 2606).
inline constexpr std::string_view kMissingRegistry = ".invalid/";
// A base that holds our agent where a program is looked for.
inline constexpr std::string_view kBaseWithAgent = "sandkey";

struct Image {
  std::string id = {};
  std::string account = {};
  std::string builder_version = {};
  std::map<std::string, std::string> variables = {};
  std::string folder = {};
  std::vector<std::string> command = {};
  std::vector<std::string> build_log = {};
  std::string failure = {};  // why it cannot be built; empty: it can
  bool holds_agent = false;
  bool built = false;  // somebody has seen the end of its build
};

// Throws CallError: invalid_argument for a recipe that is none, not_found for an image that is not there.
class Images {
 public:
  explicit Images(const Engine& engine) : engine_(engine) {}

  // The image of that recipe, the same one for the same recipe unless it is to be built anew.
  Image& get_or_create(const sandkey::emulator::Account& account,
                       const modal_wire::ImageGetOrCreateRequest& request);
  [[nodiscard]] Image& find(const sandkey::emulator::Account& account, const std::string& id);
  void remove(const sandkey::emulator::Account& account, const std::string& id);

 private:
  [[nodiscard]] Image build(const sandkey::emulator::Account& account, const modal_wire::Image& recipe);

  const Engine& engine_;
  std::map<std::string, Image> images_;         // by id
  std::map<std::string, std::string> recipes_;  // account and recipe -> id
};

// What clients are told of one that is built, or failed; nothing of its result before.
[[nodiscard]] modal_wire::GenericResult result_of(const Image& image);
[[nodiscard]] modal_wire::ImageMetadata metadata_of(const Image& image);

}  // namespace sandkey::modal::emulator
