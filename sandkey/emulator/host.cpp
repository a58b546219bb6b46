#include "sandkey/emulator/host.h"

#include "sandkey/base/error.h"
#include "sandkey/emulator/random_text.h"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

namespace sandkey::emulator {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAuthorityFile = "ca.pem";      // ours
constexpr const char* kBundleFile = "ca-bundle.pem";  // what is trusted anyway, and ours
constexpr const char* kEmptyFolder = "empty";
constexpr const char* kSystemBundle = "/etc/ssl/certs/ca-certificates.crt";
constexpr std::size_t kKeyDigits = 32;

std::string contents_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw system_error("writing " + path.string(), errno);
}

std::vector<std::unique_ptr<Front>> make_fronts(Engine& engine, const asio::any_io_executor& executor,
                                                std::span<const CloudEntry> entries, const fs::path& folder,
                                                Clock& clock, KnownSecrets& secrets,
                                                LocalSandboxes& sandboxes, Journal& journal,
                                                FaultScript& faults,
                                                const net::CertificateAuthority& authority) {
  std::vector<std::unique_ptr<Front>> fronts;
  for (const CloudEntry& entry : entries) {
    if (entry.make == nullptr) continue;
    const fs::path own = folder / entry.name;
    fs::remove_all(own);
    fs::create_directories(own);
    World world{.engine = engine, .clock = clock, .secrets = secrets, .sandboxes = sandboxes, .folder = own};
    fronts.push_back(std::make_unique<Front>(std::move(world), entry, executor, journal, faults, authority));
  }
  return fronts;
}

}  // namespace

Host::Host(Engine& engine, const asio::any_io_executor& executor, std::span<const CloudEntry> entries,
           const HostOptions& options)
    : engine_(engine),
      folder_(options.folder),
      entries_(entries),
      clock_(engine, executor, options.clock),
      authority_("Sandkey emulator (" + random_hex(engine, 6) + ")"),
      sandboxes_(engine, options.folder / "s"),
      fronts_(make_fronts(engine, executor, entries, folder_, clock_, secrets_, sandboxes_, journal_, faults_,
                          authority_)),
      admin_(executor, random_hex(engine, kKeyDigits), clock_, journal_, faults_, fronts_) {
  secrets_.add(admin_.key(), "emulator key");
  fs::create_directories(folder_ / kEmptyFolder);
  write_certificates();
}

void Host::write_certificates() {
  write_file(folder_ / kAuthorityFile, authority_.certificate());
  std::string bundle = contents_of(engine_.environment("SSL_CERT_FILE").value_or(kSystemBundle));
  if (const auto extra = engine_.environment("NODE_EXTRA_CA_CERTS")) bundle += "\n" + contents_of(*extra);
  write_file(folder_ / kBundleFile, bundle + "\n" + authority_.certificate());
}

// Node adds to what it trusts; the others are told one file that is all.
void Host::trust(ProgramEnvironment& environment) const {
  const std::string bundle = (folder_ / kBundleFile).string();
  const bool has_own = engine_.environment("NODE_EXTRA_CA_CERTS").has_value();
  environment.set.emplace_back("SANDKEY_EMULATOR_CA", (folder_ / kAuthorityFile).string());
  environment.set.emplace_back("NODE_EXTRA_CA_CERTS", has_own ? bundle : (folder_ / kAuthorityFile).string());
  environment.set.emplace_back("SSL_CERT_FILE", bundle);
  environment.set.emplace_back("REQUESTS_CA_BUNDLE", bundle);
  // Before SSL_CERT_FILE, with curl and with us.
  environment.set.emplace_back("CURL_CA_BUNDLE", bundle);
}

void Host::mask(const Mask& mask, ProgramEnvironment& environment) const {
  const std::string empty = (folder_ / kEmptyFolder).string();
  environment.removed_prefixes.insert(environment.removed_prefixes.end(), mask.prefixes.begin(),
                                      mask.prefixes.end());
  for (const std::string& name : mask.folders) environment.set.emplace_back(name, empty);
  for (const std::string& name : mask.files) environment.set.emplace_back(name, empty + "/none");
}

ProgramEnvironment Host::environment() const {
  ProgramEnvironment environment;
  for (const CloudEntry& entry : entries_) mask(entry.mask(), environment);
  // Our own profiles may hold keys of the real clouds too.
  environment.set.emplace_back("SANDKEY_CONFIG_DIR", (folder_ / kEmptyFolder).string());
  for (const auto& front : fronts_) {
    for (auto& variable : front->cloud().variables(front->addresses())) {
      environment.set.push_back(std::move(variable));
    }
  }
  // A proxy would not find this machine.
  for (const char* name : {"NO_PROXY", "no_proxy"}) {
    const std::string before = engine_.environment(name).value_or("");
    environment.set.emplace_back(name,
                                 before + (before.empty() ? "" : ",") + "127.0.0.1,localhost,.localhost");
  }
  trust(environment);
  environment.set.emplace_back("SANDKEY_EMULATOR_URL", admin_.url());
  environment.set.emplace_back("SANDKEY_EMULATOR_KEY", admin_.key());
  return environment;
}

asio::awaitable<void> Host::close() {
  admin_.stop();
  co_await clock_.stop();
  for (const auto& front : fronts_) co_await front->close();
  co_await sandboxes_.close();
}

}  // namespace sandkey::emulator
