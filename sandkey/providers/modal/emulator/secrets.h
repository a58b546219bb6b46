// Secrets of a workspace: sets of variables, by name or for the time being.
#pragma once

#include "sandkey/emulator/accounts.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/providers/modal/emulator/process.h"

#include <map>
#include <modal.pb.h>
#include <string>
#include <vector>

namespace sandkey::modal::emulator {

struct Secret {
  std::string id = {};
  std::string account = {};
  std::string environment = {};
  std::string name = {};  // empty: it has none
  Variables values = {};
  sandkey::emulator::Time created = {};
};

// What is told of it: its values never are.
[[nodiscard]] modal_wire::SecretMetadata metadata_of(const Secret& secret);

// Throws CallError: not_found for what is not there or another account's, already_exists, failed_precondition
// for one that lacks what it must have.
class Secrets {
 public:
  Secrets(const Engine& engine, sandkey::emulator::Clock& clock) : engine_(engine), clock_(clock) {}

  Secret& get_or_create(const sandkey::emulator::Account& account,
                        const modal_wire::SecretGetOrCreateRequest& request);
  [[nodiscard]] const Secret& find(const sandkey::emulator::Account& account, const std::string& id) const;
  void remove(const sandkey::emulator::Account& account, const std::string& id);
  // Those with a name.
  [[nodiscard]] std::vector<const Secret*> of(const sandkey::emulator::Account& account,
                                              const std::string& environment) const;

  using Ids = google::protobuf::RepeatedPtrField<std::string>;
  using Sources = google::protobuf::RepeatedPtrField<modal_wire::SecretSource>;
  // Puts their values in; later ones win.
  void add_to(Variables& variables, const sandkey::emulator::Account& account, const Ids& ids) const;
  void add_to(Variables& variables, const sandkey::emulator::Account& account, const Sources& sources) const;

 private:
  Secret& add(const sandkey::emulator::Account& account, const std::string& environment,
              const modal_wire::SecretGetOrCreateRequest& request);

  const Engine& engine_;
  sandkey::emulator::Clock& clock_;
  std::map<std::string, Secret> secrets_;  // by id
};

}  // namespace sandkey::modal::emulator
