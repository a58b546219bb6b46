#include "sandkey/providers/modal/emulator/apps.h"

#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/ids.h"

#include <algorithm>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

}  // namespace

const std::vector<std::string>& environment_names() {
  static const std::vector<std::string> kNames{"main", "dev"};
  return kNames;
}

std::string environment_name(const std::string& wanted) {
  if (wanted.empty()) return environment_names().front();
  if (std::ranges::find(environment_names(), wanted) == environment_names().end())
    throw grpc::CallError(grpc::Code::not_found, "Environment '" + wanted + "' not found");
  return wanted;
}

App* Apps::look(const emu::Account& account, const std::string& environment, const std::string& name) {
  const auto found = std::ranges::find_if(apps_, [&](const auto& each) {
    const App& app = each.second;
    return app.account == account.name && app.environment == environment && app.name == name && !app.stopped;
  });
  return found == apps_.end() ? nullptr : &found->second;
}

App& Apps::add(const emu::Account& account, const std::string& environment, const std::string& name,
               const std::string& description) {
  App app;
  app.id = make_id(engine_, "ap");
  app.account = account.name;
  app.environment = environment_name(environment);
  app.name = name;
  app.description = description;
  app.created = clock_.now();
  std::string id = app.id;
  return apps_.emplace(std::move(id), std::move(app)).first->second;
}

App& Apps::get_or_create(const emu::Account& account, const modal_wire::AppGetOrCreateRequest& request) {
  const std::string environment = environment_name(request.environment_name());
  const auto how = request.object_creation_type();
  App* known = look(account, environment, request.app_name());
  if (known != nullptr && how == modal_wire::OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)
    throw grpc::CallError(grpc::Code::already_exists, "App '" + request.app_name() + "' already exists");
  if (known != nullptr) return *known;
  if (how == modal_wire::OBJECT_CREATION_TYPE_UNSPECIFIED)
    return find_name(account, environment, request.app_name());
  if (!is_name(request.app_name()))
    throw grpc::CallError(grpc::Code::invalid_argument, "Invalid App name: '" + request.app_name() + "'");
  return add(account, environment, request.app_name(), request.app_name());
}

App& Apps::find(const emu::Account& account, const std::string& id) {
  const auto found = apps_.find(id);
  if (found == apps_.end() || found->second.account != account.name)
    throw grpc::CallError(grpc::Code::not_found, "App with ID " + id + " not found");
  return found->second;
}

App& Apps::find_name(const emu::Account& account, const std::string& environment, const std::string& name) {
  App* app = look(account, environment, name);
  if (app == nullptr) {
    throw grpc::CallError(grpc::Code::not_found,
                          "App '" + name + "' not found in environment '" + environment + "'");
  }
  return *app;
}

std::vector<const App*> Apps::of(const emu::Account& account, const std::string& environment) const {
  std::vector<const App*> list;
  for (const auto& [id, app] : apps_) {
    if (app.account == account.name && app.environment == environment) list.push_back(&app);
  }
  std::ranges::sort(list, [](const App* a, const App* b) { return a->created > b->created; });
  return list;
}

}  // namespace sandkey::modal::emulator
