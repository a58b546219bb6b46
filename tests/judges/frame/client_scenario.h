// Our client's side of the comparison on the wire (wire.py): reads the names of steps, does them, and says of
// each on one line, as JSON, what came of it. Run under sandkey-emulator. Every judge has the same steps, by
// its own cloud's entry.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/providers/provider_entry.h"

#include <boost/json/serialize.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>

namespace sandkey::judge {

using namespace std::chrono_literals;

class Scenario {
 public:
  Scenario(const ProviderEntry& entry, std::string sid) : entry_(entry), sid_(std::move(sid)) {}

  json::value play(const std::string& step) {
    static const std::map<std::string, json::value (Scenario::*)()> kSteps{
        {"authenticate", &Scenario::authenticate},
        {"create", &Scenario::create},
        {"find", &Scenario::find},
        {"list", &Scenario::list},
        {"describe", &Scenario::describe},
        {"timeout", &Scenario::timeout},
        {"pause", &Scenario::pause},
        {"pause-again", &Scenario::pause},
        {"resume", &Scenario::resume},
        {"attach", &Scenario::attach},
        {"port", &Scenario::port},
        {"commands-and-upload", &Scenario::start_agent},
        {"kill", &Scenario::kill},
        {"kill-again", &Scenario::kill},
    };
    const auto found = kSteps.find(step);
    if (found == kSteps.end()) throw Error(ErrorCode::invalid_argument, "no step " + step);
    return (this->*found->second)();
  }

 private:
  [[nodiscard]] Deadline soon() const { return engine_.in(60s); }

  json::value authenticate() {
    provider_ = sandkey::authenticate(engine_, entry_, OpenHandsConfig());
    return true;
  }
  json::value create() {
    SandboxIntent intent;
    intent.sid = sid_;
    intent.working_dir = "/workspace";
    intent.environment = {{"COLOUR", "blue"}};
    if (provider_->capabilities().network_switch) intent.network = false;
    id_ = engine_.wait(provider_->create(std::move(intent), soon())).id;
    return json::string(id_.value);
  }
  json::value find() {
    const auto found = engine_.wait(provider_->find(sid_, soon()));
    return json::array{json::string(found ? found->value : "")};
  }
  json::value list() {
    json::array ids;
    for (const SandboxInfo& info : engine_.wait(provider_->list(soon()))) {
      ids.emplace_back(json::string(info.id.value));
    }
    return ids;
  }
  json::value describe() {
    const SandboxInfo info = engine_.wait(provider_->describe(id_, soon()));
    json::object object;
    object["state"] = to_string(info.state);
    object["template"] = info.image;
    if (info.lease_end)
      object["seconds"] = std::chrono::round<std::chrono::seconds>(*info.lease_end - *info.created).count();
    return object;
  }
  json::value timeout() {
    (void)engine_.wait(provider_->renew(id_, 600s, soon()));
    return true;
  }
  json::value pause() {
    engine_.wait(provider_->pause(id_, soon()));
    return true;
  }
  json::value resume() {
    engine_.wait(provider_->resume(id_, soon()));
    return true;
  }
  // As another process would, which knows the id only.
  json::value attach() {
    provider_ = sandkey::authenticate(engine_, entry_, OpenHandsConfig());
    (void)engine_.wait(provider_->agent_endpoint(id_, soon()));
    return true;
  }
  json::value port() {
    const ExposedPort exposed = engine_.wait(provider_->expose(id_, 8000, soon()));
    json::object headers;
    for (const auto& [name, value] : exposed.headers)
      headers[name] = value.expose();  // the emulator's: nothing else is spoken to
    json::object object;
    object["url"] = exposed.url;
    object["headers"] = std::move(headers);
    return object;
  }
  json::value start_agent() {
    engine_.wait(provider_->start_agent(id_, soon()));
    return true;
  }
  json::value kill() {
    engine_.wait(provider_->destroy(id_, soon()));
    return true;
  }

  const ProviderEntry& entry_;
  const std::string sid_;
  Engine engine_;
  std::shared_ptr<Provider> provider_;
  SandboxId id_;
};

// The whole of such a program.
inline int play(const ProviderEntry& entry, int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: client_scenario SESSION, with the names of steps on standard input\n", stderr);
    return 2;
  }
  if (std::getenv("SANDKEY_EMULATOR_URL") == nullptr) {
    std::fputs("client_scenario: it says secrets aloud, so only under sandkey-emulator\n", stderr);
    return 2;
  }
  Scenario scenario(entry, argv[1]);
  std::string step;
  while (std::getline(std::cin, step)) {
    json::object said;
    try {
      said["value"] = scenario.play(step);
    } catch (const std::exception& error) {
      said["error"] = error.what();
    }
    std::puts(json::serialize(said).c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace sandkey::judge
