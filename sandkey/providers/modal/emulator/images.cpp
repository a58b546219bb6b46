#include "sandkey/providers/modal/emulator/images.h"

#include "sandkey/base/json.h"
#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/ids.h"

#include <boost/system/system_error.hpp>

#include <optional>
#include <utility>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

grpc::CallError no_such_image(const std::string& id) {
  return {grpc::Code::not_found, "Could not find image with ID " + id};
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// "RUN apt-get update" -> "RUN", "apt-get update"
std::pair<std::string, std::string_view> instruction_of(std::string_view line) {
  line = trimmed(line);
  const std::size_t blank = line.find_first_of(" \t");
  std::string name(line.substr(0, blank));
  for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return {std::move(name),
          blank == std::string_view::npos ? std::string_view() : trimmed(line.substr(blank))};
}

std::string_view unquoted(std::string_view text) {
  const bool quoted =
      text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

// One "NAME=value", or the old "NAME value".
void set_variable(Image& image, std::string_view argument) {
  const std::size_t mark = argument.find_first_of("= ");
  if (mark == std::string_view::npos) return;
  image.variables[std::string(argument.substr(0, mark))] = unquoted(trimmed(argument.substr(mark + 1)));
}

// ["program", "argument"], or a line for a shell.
std::vector<std::string> command_of(std::string_view argument) {
  if (argument.empty()) return {};
  if (!argument.starts_with('[')) return {"/bin/sh", "-c", std::string(argument)};
  std::vector<std::string> command;
  try {
    const json::value list = parse_json(argument, "CMD");
    for (const json::value& each : list.as_array()) command.emplace_back(std::string_view(each.as_string()));
  } catch (const std::exception&) {
    throw grpc::CallError(grpc::Code::invalid_argument, "CMD must be a list of texts");
  }
  return command;
}

void pull(Image& image, std::string_view tag) {
  if (tag.find(kMissingRegistry) != std::string_view::npos) {
    image.failure = "Image build failed: could not pull '" + std::string(tag) + "': manifest unknown";
  }
  image.holds_agent = tag == kBaseWithAgent;
  image.build_log.push_back("=> pulling " + std::string(tag) + "\n");
}

void follow(Image& image, std::string_view line) {
  const auto [name, argument] = instruction_of(line);
  if (name == "FROM") {
    if (argument != "base") pull(image, argument);
    return;
  }
  image.build_log.push_back("=> " + std::string(trimmed(line)) + "\n");
  if (name == "ENV") set_variable(image, argument);
  if (name == "WORKDIR") image.folder = argument;
  if (name == "CMD") image.command = command_of(argument);
  if (name == "RUN" && (argument == "false" || argument == "exit 1")) {
    image.failure = "Image build failed: '" + std::string(argument) + "' ended with status 1";
  }
}

}  // namespace

Image Images::build(const emu::Account& account, const modal_wire::Image& recipe) {
  Image image;
  for (const modal_wire::BaseImage& base : recipe.base_images()) {
    const Image& below = find(account, base.image_id());
    if (!below.failure.empty()) {
      throw grpc::CallError(grpc::Code::failed_precondition,
                            "The base image " + base.image_id() + " could not be built");
    }
    image.variables = below.variables;
    image.folder = below.folder;
    image.command = below.command;
    image.holds_agent = below.holds_agent;
  }
  for (const std::string& line : recipe.dockerfile_commands()) {
    if (image.failure.empty()) follow(image, line);
  }
  image.id = make_id(engine_, "im");
  image.account = account.name;
  return image;
}

Image& Images::get_or_create(const emu::Account& account,
                             const modal_wire::ImageGetOrCreateRequest& request) {
  if (request.image().dockerfile_commands().empty()) {
    throw grpc::CallError(grpc::Code::invalid_argument, "The image has no commands");
  }
  const std::string recipe =
      account.name + "\n" + request.builder_version() + "\n" + request.image().SerializeAsString();
  const auto known = recipes_.find(recipe);
  const bool anew = request.force_build() || request.ignore_cache();
  if (known != recipes_.end() && !anew) {
    Image& image = images_.at(known->second);
    if (image.failure.empty()) return image;  // a build that failed is tried again
  }
  Image made = build(account, request.image());
  made.builder_version = request.builder_version();
  recipes_[recipe] = made.id;
  std::string id = made.id;
  return images_.insert_or_assign(std::move(id), std::move(made)).first->second;
}

Image& Images::find(const emu::Account& account, const std::string& id) {
  const auto found = images_.find(id);
  if (found == images_.end() || found->second.account != account.name) throw no_such_image(id);
  return found->second;
}

void Images::remove(const emu::Account& account, const std::string& id) {
  (void)find(account, id);
  images_.erase(id);
  std::erase_if(recipes_, [&](const auto& each) { return each.second == id; });
}

modal_wire::GenericResult result_of(const Image& image) {
  modal_wire::GenericResult result;
  if (image.failure.empty()) {
    result.set_status(modal_wire::GenericResult::GENERIC_STATUS_SUCCESS);
  } else {
    result.set_status(modal_wire::GenericResult::GENERIC_STATUS_FAILURE);
    result.set_exception(image.failure);
  }
  return result;
}

modal_wire::ImageMetadata metadata_of(const Image& image) {
  modal_wire::ImageMetadata metadata;
  if (!image.folder.empty()) metadata.set_workdir(image.folder);
  metadata.set_image_builder_version(image.builder_version);
  return metadata;
}

}  // namespace sandkey::modal::emulator
