#include "sandkey/providers/modal/emulator/secrets.h"

#include "sandkey/emulator/grpc.h"
#include "sandkey/providers/modal/emulator/apps.h"
#include "sandkey/providers/modal/emulator/ids.h"

#include <algorithm>
#include <chrono>

namespace sandkey::modal::emulator {
namespace {

namespace emu = sandkey::emulator;
namespace grpc = emu::grpc;

void require_keys(const Secret& secret, const modal_wire::SecretGetOrCreateRequest& request) {
  for (const std::string& key : request.required_keys()) {
    if (secret.values.contains(key)) continue;
    throw grpc::CallError(grpc::Code::failed_precondition, "Secret is missing key(s): " + key);
  }
}

}  // namespace

modal_wire::SecretMetadata metadata_of(const Secret& secret) {
  modal_wire::SecretMetadata metadata;
  metadata.set_name(secret.name);
  metadata.set_environment_name(secret.environment);
  const double created = std::chrono::duration<double>(secret.created.time_since_epoch()).count();
  metadata.mutable_creation_info()->set_created_at(created);
  metadata.mutable_creation_info()->set_created_by(secret.account);
  for (const auto& [key, value] : secret.values) metadata.add_keys(key);
  return metadata;
}

Secret& Secrets::add(const emu::Account& account, const std::string& environment,
                     const modal_wire::SecretGetOrCreateRequest& request) {
  Secret secret;
  secret.id = make_id(engine_, "st");
  secret.account = account.name;
  secret.environment = environment;
  secret.name = request.deployment_name();
  secret.created = clock_.now();
  for (const auto& [key, value] : request.env_dict()) secret.values[key] = value;
  std::string id = secret.id;
  return secrets_.emplace(std::move(id), std::move(secret)).first->second;
}

Secret& Secrets::get_or_create(const emu::Account& account,
                               const modal_wire::SecretGetOrCreateRequest& request) {
  const std::string environment = environment_name(request.environment_name());
  const auto how = request.object_creation_type();
  const bool nameless = how == modal_wire::OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP ||
                        how == modal_wire::OBJECT_CREATION_TYPE_EPHEMERAL;
  if (nameless) {
    Secret& made = add(account, environment, request);
    made.name.clear();
    return made;
  }
  const auto known = std::ranges::find_if(secrets_, [&](const auto& each) {
    const Secret& secret = each.second;
    return secret.account == account.name && secret.environment == environment &&
           secret.name == request.deployment_name();
  });
  const std::string called = "Secret '" + request.deployment_name() + "'";
  if (known == secrets_.end()) {
    if (how == modal_wire::OBJECT_CREATION_TYPE_UNSPECIFIED) {
      throw grpc::CallError(grpc::Code::not_found,
                            called + " not found in environment '" + environment + "'");
    }
    if (!is_name(request.deployment_name()))
      throw grpc::CallError(grpc::Code::invalid_argument, "Invalid Secret name");
    return add(account, environment, request);
  }
  Secret& secret = known->second;
  if (how == modal_wire::OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)
    throw grpc::CallError(grpc::Code::already_exists, called + " already exists");
  if (how == modal_wire::OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS) {
    secret.values.clear();
    for (const auto& [key, value] : request.env_dict()) secret.values[key] = value;
  }
  require_keys(secret, request);
  return secret;
}

const Secret& Secrets::find(const emu::Account& account, const std::string& id) const {
  const auto found = secrets_.find(id);
  if (found == secrets_.end() || found->second.account != account.name)
    throw grpc::CallError(grpc::Code::not_found, "Secret with ID " + id + " not found");
  return found->second;
}

void Secrets::remove(const emu::Account& account, const std::string& id) {
  (void)find(account, id);
  secrets_.erase(id);
}

std::vector<const Secret*> Secrets::of(const emu::Account& account, const std::string& environment) const {
  std::vector<const Secret*> list;
  for (const auto& [id, secret] : secrets_) {
    if (secret.account == account.name && secret.environment == environment && !secret.name.empty())
      list.push_back(&secret);
  }
  return list;
}

void Secrets::add_to(Variables& variables, const emu::Account& account, const Ids& ids) const {
  for (const std::string& id : ids) {
    for (const auto& [key, value] : find(account, id).values) variables[key] = value;
  }
}

void Secrets::add_to(Variables& variables, const emu::Account& account, const Sources& sources) const {
  for (const modal_wire::SecretSource& source : sources) {
    if (source.has_secret_id()) {
      for (const auto& [key, value] : find(account, source.secret_id()).values) variables[key] = value;
    }
    for (const auto& [key, value] : source.env().contents()) variables[key] = value;
  }
}

}  // namespace sandkey::modal::emulator
