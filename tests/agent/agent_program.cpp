#include "tests/agent/agent_program.h"

#include <boost/json/serialize.hpp>

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <zlib.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace sandkey::test {
namespace {

struct Started {
  pid_t pid = -1;
  UniqueFd output;  // its stdout and stderr
};

Started start(const ProgramOptions& options) {
  std::vector<std::string> arguments{"sandkey-agent"};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = options.environment;  // of two with one name the first counts
  environment.emplace_back("PATH=/usr/local/bin:/usr/bin:/bin");
  environment.emplace_back("NO_CHANGE_TIMEOUT_SECONDS=100");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (std::string& entry : environment) envp.push_back(entry.data());
  envp.push_back(nullptr);
  // By descriptor: another user may not be able to walk the path to the build folder.
  const UniqueFd program(::open(SANDKEY_AGENT, O_RDONLY | O_CLOEXEC));
  if (!program) throw std::runtime_error(std::string("opening ") + SANDKEY_AGENT);
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const UniqueFd write_end(pipe[1]);
  Started started;
  started.output.reset(pipe[0]);
  started.pid = ::fork();
  if (started.pid < 0) throw std::runtime_error("fork");
  if (started.pid == 0) {
    ::dup2(pipe[1], 1);
    ::dup2(pipe[1], 2);
    if (options.user &&
        (::setgroups(0, nullptr) != 0 || ::setgid(*options.user) != 0 || ::setuid(*options.user) != 0)) {
      ::_exit(126);
    }
    if (::chdir("/tmp") != 0) ::_exit(126);
    ::fexecve(program.get(), argv.data(), envp.data());
    ::_exit(127);
  }
  return started;
}

int wait_for(pid_t pid) {
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Appends what comes; false at the end or when nothing comes for very long.
bool read_more(int fd, std::string& into) {
  pollfd entry{fd, POLLIN, 0};
  if (::poll(&entry, 1, 60'000) <= 0) return false;
  std::array<char, 4096> buffer{};
  const ssize_t n = ::read(fd, buffer.data(), buffer.size());
  if (n > 0) into.append(buffer.data(), static_cast<std::size_t>(n));
  return n > 0;
}

void append_little(std::string& out, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>((value >> static_cast<unsigned>(8 * i)) & 0xFFU);
}

std::string deflated(const std::string& data) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2");
  std::string out(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));  // zlib only reads it
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  (void)::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace

Folder::Folder() : path_("/tmp/sandkey-agent-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp");
  ::chmod(path_.c_str(), 0755);
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view content, unsigned mode) {
  std::ofstream(path, std::ios::binary) << content;
  ::chmod(path.c_str(), mode);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

Fifo::Fifo(std::string path) : path_(std::move(path)) {
  if (::mkfifo(path_.c_str(), 0600) != 0) throw std::runtime_error("mkfifo " + path_);
  fd_.reset(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd_) throw std::runtime_error("open " + path_);
}

void Fifo::say(std::string_view line) {
  const std::string text = std::string(line) + "\n";
  if (::write(fd_.get(), text.data(), text.size()) < 0) throw std::runtime_error("write " + path_);
}

bool Fifo::wait_for_line() {
  std::string line;
  return read_more(fd_.get(), line);
}

ProgramEnd run_agent(const ProgramOptions& options) {
  const Started started = start(options);
  ProgramEnd end;
  while (read_more(started.output.get(), end.output)) {
  }
  ::kill(started.pid, SIGKILL);  // one that goes on must not hang the test
  end.code = wait_for(started.pid);
  return end;
}

AgentProgram::AgentProgram(const ProgramOptions& options) {
  Started started = start(options);
  pid_ = started.pid;
  output_ = std::move(started.output);
  const auto addresses = std::count(options.arguments.begin(), options.arguments.end(), "--listen");
  const auto lines = [this] { return std::count(printed_.begin(), printed_.end(), '\n'); };
  while (lines() < addresses) {
    if (!read_more(output_.get(), printed_)) {
      ::kill(pid_, SIGKILL);
      (void)wait_for(pid_);
      throw std::runtime_error("the agent did not come up: " + printed_);
    }
  }
  const std::string mark = "listening on 127.0.0.1:";
  const std::size_t at = printed_.find(mark);
  if (at != std::string::npos)
    port_ = static_cast<std::uint16_t>(std::stoi(printed_.substr(at + mark.size())));
}

AgentProgram::~AgentProgram() {
  (void)terminate();
}

int AgentProgram::terminate() {
  if (pid_ < 0) return -1;
  ::kill(pid_, SIGTERM);
  int status = 0;
  if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; })) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
  }
  pid_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool AgentProgram::running() const {
  return ::kill(pid_, 0) == 0;
}

std::size_t AgentProgram::peak_memory() const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoul(line.substr(6)) * 1024;
  }
  return 0;
}

std::string request(std::string_view method, std::string_view target, std::string_view body,
                    std::string_view headers) {
  std::string text;
  text.append(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: localhost\r\n").append(headers);
  if (!body.empty() || method == "POST" || method == "PUT")
    text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  return text.append("\r\n").append(body);
}

std::string action(std::string_view type, json::object args, std::optional<double> timeout) {
  json::object event;
  event["action"] = type;
  event["args"] = std::move(args);
  if (timeout) event["timeout"] = *timeout;
  json::object body;
  body["action"] = std::move(event);
  return json::serialize(body);
}

std::string form(std::string_view filename, std::string_view content, std::string_view field) {
  std::string text = "--b0und\r\nContent-Disposition: form-data; name=\"";
  text.append(field).append("\"; filename=\"").append(filename).append("\"\r\n\r\n").append(content);
  return text.append("\r\n--b0und--\r\n");
}

std::string make_zip(const std::vector<ZipEntry>& entries) {
  std::string out;
  std::string index;
  for (const ZipEntry& entry : entries) {
    const std::string packed = deflated(entry.data);
    std::string common;
    append_little(common, 20, 2);  // version
    append_little(common, 0, 2);   // flags
    append_little(common, 8, 2);   // deflated
    append_little(common, 0, 4);   // time
    append_little(common,
                  static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(entry.data.data()),
                                                   static_cast<uInt>(entry.data.size()))),
                  4);
    append_little(common, static_cast<std::uint32_t>(packed.size()), 4);
    append_little(common, entry.claimed_size.value_or(static_cast<std::uint32_t>(entry.data.size())), 4);
    append_little(common, static_cast<std::uint32_t>(entry.name.size()), 2);
    append_little(common, 0, 2);  // extra
    index.append("PK\x01\x02");
    append_little(index, 20, 2);
    index.append(common);
    append_little(index, 0, 2);  // comment
    append_little(index, 0, 2);  // disk
    append_little(index, 0, 2);
    append_little(index, 0, 4);
    append_little(index, static_cast<std::uint32_t>(out.size()), 4);
    index.append(entry.name);
    out.append("PK\x03\x04").append(common).append(entry.name).append(packed);
  }
  const auto at = static_cast<std::uint32_t>(out.size());
  out.append(index).append("PK\x05\x06");
  append_little(out, 0, 4);
  append_little(out, static_cast<std::uint32_t>(entries.size()), 2);
  append_little(out, static_cast<std::uint32_t>(entries.size()), 2);
  append_little(out, static_cast<std::uint32_t>(index.size()), 4);
  append_little(out, at, 4);
  append_little(out, 0, 2);
  return out;
}

}  // namespace sandkey::test
