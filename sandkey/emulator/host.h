// The emulator: clouds, clock, faults, journal, admin API and certificate authority in one object.
#pragma once

#include "sandkey/base/engine.h"
#include "sandkey/emulator/admin.h"
#include "sandkey/emulator/clock.h"
#include "sandkey/emulator/cloud.h"
#include "sandkey/emulator/faults.h"
#include "sandkey/emulator/front.h"
#include "sandkey/emulator/journal.h"
#include "sandkey/emulator/known_secrets.h"
#include "sandkey/emulator/local_sandboxes.h"
#include "sandkey/net/certificate_authority.h"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace sandkey::emulator {

struct HostOptions {
  Clock::Kind clock = Clock::Kind::real;
  std::filesystem::path folder = {};  // there, ours alone (0700), and not deep: sockets lie below it
};

// What a program needs so that it meets the emulated clouds and no others.
struct ProgramEnvironment {
  Variables set = {};
  std::vector<std::string> removed_prefixes = {};  // of variables; those in `set` stay
};

// Made, used and destroyed on one thread of the engine.
class Host {
 public:
  // Serves at once. The entries must outlive it.
  Host(Engine& engine, const boost::asio::any_io_executor& executor, std::span<const CloudEntry> entries,
       const HostOptions& options);

  [[nodiscard]] ProgramEnvironment environment() const;
  [[nodiscard]] const std::vector<std::unique_ptr<Front>>& fronts() const noexcept { return fronts_; }

  // Ends requests, clouds and sandboxes, in this order. Awaited once, before the destructor.
  boost::asio::awaitable<void> close();

 private:
  void write_certificates();
  void mask(const Mask& mask, ProgramEnvironment& environment) const;
  void trust(ProgramEnvironment& environment) const;

  Engine& engine_;
  std::filesystem::path folder_;
  std::span<const CloudEntry> entries_;
  Clock clock_;
  KnownSecrets secrets_;
  Journal journal_;
  FaultScript faults_;
  net::CertificateAuthority authority_;
  LocalSandboxes sandboxes_;
  std::vector<std::unique_ptr<Front>> fronts_;
  Admin admin_;
};

}  // namespace sandkey::emulator
