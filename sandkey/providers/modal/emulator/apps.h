// Apps, to which sandboxes belong, in the environments of a workspace.
#pragma once

#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/clock.h"

#include <map>
#include <modal.pb.h>
#include <string>
#include <vector>

namespace sandkey::modal::emulator {

// The environment that is meant by "". Throws CallError(not_found) for one that there is not: every workspace
// has "main" and "dev".
[[nodiscard]] std::string environment_name(const std::string& wanted);
[[nodiscard]] const std::vector<std::string>& environment_names();

struct App {
  std::string id = {};
  std::string account = {};
  std::string environment = {};
  std::string name = {};  // empty: it has none
  std::string description = {};
  sandkey::emulator::Time created = {};
  bool stopped = false;
};

// Throws CallError(not_found) for what is not there or another account's.
class Apps {
 public:
  Apps(const Engine& engine, sandkey::emulator::Clock& clock) : engine_(engine), clock_(clock) {}

  // Of that name. CallError(already_exists) where it must be new, (invalid_argument) for what is no name.
  App& get_or_create(const sandkey::emulator::Account& account,
                     const modal_wire::AppGetOrCreateRequest& request);
  App& add(const sandkey::emulator::Account& account, const std::string& environment, const std::string& name,
           const std::string& description);
  [[nodiscard]] App& find(const sandkey::emulator::Account& account, const std::string& id);
  [[nodiscard]] App& find_name(const sandkey::emulator::Account& account, const std::string& environment,
                               const std::string& name);
  [[nodiscard]] std::vector<const App*> of(const sandkey::emulator::Account& account,
                                           const std::string& environment) const;

 private:
  App* look(const sandkey::emulator::Account& account, const std::string& environment,
            const std::string& name);

  const Engine& engine_;
  sandkey::emulator::Clock& clock_;
  std::map<std::string, App> apps_;  // by id
};

}  // namespace sandkey::modal::emulator
