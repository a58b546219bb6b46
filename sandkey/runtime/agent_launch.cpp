#include "sandkey/runtime/agent_launch.h"

#include "sandkey/base/archive/gunzip.h"
#include "sandkey/base/error.h"
#include "sandkey/base/own_program.h"
#include "sandkey/credentials/sha256.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>

namespace sandkey {
namespace {

// Says "running", "started", "absent", "absent gzip" or "failed ..." as its last line. Variables of ours do
// not reach the agent, and so not what it runs.
//
// Two may run at once: each has an upload of its own, the port goes to one agent, and whoever comes second
// finds the other's running.
//
// The agent outlives the shell that starts it, in a session of its own and with no stream of the shell's: a
// cloud takes a command for running as long as somebody holds its output. Its readiness is told through a
// pipe, which ends when the agent does.
//
// Every program it starts costs a cloud's small machine milliseconds, so the shell does what it can itself.
constexpr std::string_view kScript = R"script(
usual_umask=$(umask)
umask 077
key=$SANDKEY_KEY name=$SANDKEY_NAME upload=$SANDKEY_UPLOAD size=$SANDKEY_SIZE
port=$SANDKEY_PORT dir=$SANDKEY_DIR version=$SANDKEY_VERSION
unset SANDKEY_KEY SANDKEY_NAME SANDKEY_UPLOAD SANDKEY_SIZE SANDKEY_PORT SANDKEY_DIR SANDKEY_VERSION
own=${HOME:-/tmp}/.sandkey
fail() { echo "failed: $*"; exit 0; }
[ -d "$own" ] || mkdir -p "$own" || fail "cannot make the folder $own"
printf '' >>"$own/keys" || fail "cannot write in $own"
known=
while read -r line; do [ "$line" = "$key" ] && known=yes; done <"$own/keys"
[ -n "$known" ] || printf '%s\n' "$key" >>"$own/keys" || fail "cannot write $own/keys"

end_if_running() {
  [ -f "$own/pid" ] && read -r pid <"$own/pid" && [ -r "/proc/$pid/comm" ] || return 0
  # The agent hides all else of itself from others of its user.
  read -r command <"/proc/$pid/comm"
  case $command in
    agent-*|sandkey-agent) echo running; exit 0 ;;
  esac
}
end_if_running

program=$own/$name
part=$own/$upload
if [ -f "$part.gz" ]; then
  gzip -dc <"$part.gz" >"$part"
  rm -f "$part.gz"
fi
if [ -f "$part" ]; then
  if [ "$(wc -c <"$part")" -eq "$size" ]; then
    chmod 700 "$part" && mv -f "$part" "$program" || fail "cannot use $part"
  else
    rm -f "$part"
  fi
fi
if [ ! -x "$program" ]; then
  program=
  for candidate in sandkey-agent /usr/local/bin/sandkey-agent /usr/bin/sandkey-agent; do
    command -v "$candidate" >/dev/null || continue
    [ "$("$candidate" --version 2>/dev/null)" = "sandkey-agent $version" ] || continue
    program=$candidate
    break
  done
fi
if [ -z "$program" ]; then
  command -v gzip >/dev/null && echo "absent gzip" || echo absent
  exit 0
fi

usable() { [ -d "$dir" ] && [ -w "$dir" ]; }
usable || mkdir -p "$dir" 2>/dev/null
if ! usable; then
  sudo -n sh -c 'mkdir -p "$1" && chown "$2" "$1"' sh "$dir" "$(id -u):$(id -g)" 2>/dev/null
fi
usable || fail "the working directory $dir cannot be made or written; choose another"

log=$own/log-$$ alone=
command -v setsid >/dev/null && alone=setsid
{
  (
    umask "$usual_umask"
    exec $alone "$program" --listen "0.0.0.0:$port" --session-key-file "$own/keys" --working-dir "$dir" \
      --ready-fd 3
  ) 3>&1 </dev/null >"$log" 2>&1 &
  echo "$!"
} | {
  # The process id and an empty line, in either order; the first alone if it ended.
  read -r one
  if read -r other; then
    echo "$one$other" >"$own/pid" && echo started
    exit
  fi
  for turn in 1 2 3 4 5 6 7 8 9 10; do
    end_if_running
    sleep 0.1 2>/dev/null || sleep 1
  done
  fail "the agent ended at once: $(tail -c 300 "$log" 2>/dev/null)"
}
)script";

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::string bytes(file ? static_cast<std::size_t>(file.tellg()) : 0, '\0');
  file.seekg(0);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw Error(ErrorCode::unavailable, "reading " + path.string() + ": it failed");
  return bytes;
}

// The last eight bytes of gzip are the content's checksum and size, least significant byte first.
std::uint32_t number_at(std::string_view bytes, std::size_t from_end) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    number |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[bytes.size() - from_end + i]))
              << (8 * i);
  }
  return number;
}

// Of one engine.
struct LoadedProgram {
  explicit LoadedProgram(Engine& engine) {
    const std::filesystem::path path = find_own_file(engine, "sandkey-agent.gz");
    auto loaded = std::make_shared<AgentProgram>();
    loaded->compressed = read_file(path);
    constexpr std::size_t kSmallest = 18;  // gzip's own header and trailer
    if (loaded->compressed.size() < kSmallest) {
      throw Error(ErrorCode::unsupported, "reading " + path.string() +
                                              ": it is no compressed program; install Sandkey "
                                              "anew");
    }
    loaded->name = fmt::format("agent-{:08x}", number_at(loaded->compressed, 8));
    loaded->size = number_at(loaded->compressed, 4);
    program = std::move(loaded);
  }
  std::shared_ptr<const AgentProgram> program;
};

}  // namespace

std::string AgentProgram::unpacked() const {
  return gunzip(compressed, size);
}

std::shared_ptr<const AgentProgram> agent_program(Engine& engine) {
  return engine.shared<LoadedProgram>()->program;
}

AgentLaunch agent_launch(const AgentProgram& program, const Secret& session_key,
                         const std::string& working_dir, std::uint64_t nonce) {
  const std::string upload = fmt::format("{}-{:016x}.part", program.name, nonce);
  return {.upload_path = ".sandkey/" + upload,
          .script = std::string(kScript),
          .environment = {{"SANDKEY_KEY", std::string(session_key.expose())},
                          {"SANDKEY_NAME", program.name},
                          {"SANDKEY_UPLOAD", upload},
                          {"SANDKEY_SIZE", std::to_string(program.size)},
                          {"SANDKEY_PORT", std::to_string(kCloudAgentPort)},
                          {"SANDKEY_DIR", working_dir},
                          {"SANDKEY_VERSION", SANDKEY_VERSION}}};
}

LaunchOutcome launch_outcome(std::string_view output, std::string_view error_output, int exit_code) {
  while (output.ends_with('\n')) output.remove_suffix(1);
  const std::size_t line_begin = output.rfind('\n');
  const std::string_view last = line_begin == std::string_view::npos ? output : output.substr(line_begin + 1);
  if (exit_code == 0 && last == "running") return LaunchOutcome::running;
  if (exit_code == 0 && last == "started") return LaunchOutcome::started;
  if (exit_code == 0 && last == "absent") return LaunchOutcome::absent;
  if (exit_code == 0 && last == "absent gzip") return LaunchOutcome::absent_with_gzip;
  constexpr std::size_t kMost = 500;
  std::string said(output.empty() ? error_output.substr(0, kMost) : output.substr(0, kMost));
  for (char& c : said) c = static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  throw Error(ErrorCode::unavailable,
              fmt::format("starting the agent in the sandbox: its shell ended with {} and said \"{}\"",
                          exit_code, said));
}

Secret derived_session_key(const Secret& secret) {
  return Secret(Sha256().update("sandkey agent session key\n").update(secret.expose()).hex_digest());
}

}  // namespace sandkey
