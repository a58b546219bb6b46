#include "sandkey/agent/python/python_worker.h"

#include "sandkey/agent/process.h"
#include "sandkey/agent/python/cell_output.h"
#include "sandkey/agent/python/worker_source.h"
#include "sandkey/base/async_event.h"
#include "sandkey/base/error.h"
#include "sandkey/base/unique_fd.h"

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace sandkey::agent {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kControlDescriptor = 3;
constexpr std::size_t kMaxStartOutput = std::size_t{16} << 10U;  // what a worker that fails to start may say
constexpr std::size_t kReadsPerTurn = 16;                        // before others get theirs
constexpr std::chrono::seconds kStartTimeout{60};
constexpr std::chrono::seconds kExitGrace{2};     // for the atexit functions after exit()
constexpr std::chrono::hours kLongest{24 * 365};  // a deadline beyond it would overflow
constexpr std::string_view kImagePrefix = "data:image/png;base64,";
constexpr std::string_view kNoOutput = "[Code executed successfully with no output]";
constexpr std::string_view kStateLost =
    "Its variables and imports are lost; the next cell runs in a fresh one.";

// Runs as python -c. Must be valid for Python 2 as well, which may be what `python` is. The source follows on
// the control socket, so that it does not fill every list of processes.
constexpr const char* kLoader =
    "import sys\n"
    "if sys.version_info < (3, 6): sys.exit('Python 3.6 or later is needed, this is ' + "
    "sys.version.split()[0])\n"
    "if sys.path and not sys.path[0]: del sys.path[0]\n"
    "control = open(3, 'rb')\n"
    "source = control.read(int(sys.argv[1]))\n"
    "exec(compile(source, '<sandkey worker>', 'exec'),"
    " {'__name__': 'sandkey_worker', 'control': control, 'source': source})\n";

using Buffer = std::array<char, std::size_t{64} << 10U>;

std::string random_id() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw system_error("making a cell's id", errno);
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return 0;
}

std::string from_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(hex_digit(hex[i]) * 16 + hex_digit(hex[i + 1]));
  }
  return out;
}

// As Python's repr of a float: 120.0, 0.5.
std::string python_seconds(Clock::duration duration) {
  std::array<char, 32> text{};
  const double seconds = std::chrono::duration<double>(duration).count();
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed).ptr;
  std::string out(text.data(), end);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

void add_line(std::string& text, const std::string& line) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  text += line;
}

std::string how_it_ended(const ExitStatus& status) {
  if (status.signal == 0) return "ended with exit code " + std::to_string(status.code);
  std::string out =
      "was killed by signal " + std::to_string(status.signal) + " (" + ::strsignal(status.signal);
  if (status.signal == SIGKILL) out += ", perhaps for want of memory";
  return out + ")";
}

// What the running cell has shown.
struct Cell {
  explicit Cell(std::string identity, std::size_t max_output) : id(std::move(identity)), output(max_output) {}

  std::string id;
  CellOutput output;
  std::vector<std::string> images;
  std::size_t image_bytes = 0;
  std::size_t images_left_out = 0;
  bool done = false;
  bool shown = false;   // a result or a traceback, even an empty one
  bool ending = false;  // the worker ends now, as the cell wanted
};

// One worker process. Its descriptors' handlers keep it alive until they are closed.
struct Process : std::enable_shared_from_this<Process> {
  Process(const asio::any_io_executor& executor, UniqueFd control_fd, UniqueFd output_fd)
      : control(executor, asio::local::stream_protocol(), control_fd.get()),
        output(executor, output_fd.get()),
        changed(executor),
        cell(std::in_place, "start", kMaxStartOutput) {
    (void)control_fd.release();
    (void)output_fd.release();
  }

  void watch_control() {
    control.async_wait(asio::socket_base::wait_read,
                       [self = shared_from_this()](boost::system::error_code error) {
                         if (!error && self->read_control(kReadsPerTurn)) self->watch_control();
                       });
  }

  // False at the end: then no cell can end any more, though the process may still be there (it closed the
  // socket, or became another program).
  bool read_control(std::size_t reads) {
    Buffer buffer;
    for (std::size_t i = 0; i < reads; ++i) {
      const ssize_t n = ::read(control.native_handle(), buffer.data(), buffer.size());
      if (n > 0) {
        take_control({buffer.data(), static_cast<std::size_t>(n)});
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        control_closed = true;
        return false;
      } else if (errno == EAGAIN) {
        return true;
      }
    }
    return true;
  }

  void take_control(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t end = bytes.find('\n');
      const std::string_view piece = bytes.substr(0, end);
      if (line.size() + piece.size() > kMaxCellImages + 256) {
        line_too_long = true;
        line.resize(std::min(line.size(), std::size_t{256}));  // enough to tell whose it was
      }
      if (!line_too_long) line += piece;
      if (end == std::string_view::npos) return;
      take_line();
      line = {};  // a large image's memory is not kept
      line_too_long = false;
      bytes.remove_prefix(end + 1);
    }
  }

  // Lines that are not the running cell's are what somebody in there wrote to the wrong descriptor.
  void take_line() {
    std::string_view rest = line;
    if (!cell || cell->done || !rest.starts_with(cell->id) || rest.substr(cell->id.size(), 1) != " ") return;
    rest.remove_prefix(cell->id.size() + 1);
    const std::string_view verb = rest.substr(0, rest.find(' '));
    const std::string_view argument = rest.substr(std::min(rest.size(), verb.size() + 1));
    if (verb == "image") {
      if (line_too_long || cell->image_bytes + argument.size() + kImagePrefix.size() > kMaxCellImages) {
        ++cell->images_left_out;
        return;
      }
      cell->images.push_back(std::string(kImagePrefix).append(argument));
      cell->image_bytes += cell->images.back().size();
    } else if (verb == "ready" && !ready) {
      ready = true;
      interpreter = from_hex(argument);
      drain_output();
      cell.reset();
      changed.notify_all();
    } else if (verb == "done" && ready) {
      drain_output();
      cell->shown = argument.starts_with("1");
      cell->ending = argument.ends_with(" 1");
      cell->done = true;
      changed.notify_all();
    }
  }

  void watch_output() {
    output.async_wait(asio::posix::descriptor_base::wait_read,
                      [self = shared_from_this()](boost::system::error_code error) {
                        if (!error && self->read_output(kReadsPerTurn * Buffer().size()))
                          self->watch_output();
                      });
  }

  // Reads what is there, at most `limit`. Nothing else consumes the pipe, so that what is read is always in
  // order and at once in its cell, or dropped when none is running. False at the end.
  bool read_output(std::size_t limit) {
    Buffer buffer;
    while (limit > 0) {
      const ssize_t n = ::read(output.native_handle(), buffer.data(), std::min(limit, buffer.size()));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return n < 0 && errno == EAGAIN;
      if (cell && !cell->done) cell->output.append({buffer.data(), static_cast<std::size_t>(n)});
      limit -= static_cast<std::size_t>(n);
    }
    return true;
  }

  // Writes to a pipe are there at once, so all that was written before now is what the pipe holds now. Not
  // until it is empty: something in the background may fill it for ever.
  void drain_output() {
    int size = 0;
    if (::ioctl(output.native_handle(), FIONREAD, &size) == 0 && size > 0)
      read_output(static_cast<std::size_t>(size));
  }

  void on_exit(ExitStatus status) {
    exit = status;
    if (!closed) {
      while (!control_closed && read_control(1) && control_has_more()) {
      }
      drain_output();
    }
    kill_session(pid, SIGKILL);  // now or never: the number may be another session's soon
    changed.notify_all();
  }

  bool control_has_more() {
    int size = 0;
    return ::ioctl(control.native_handle(), FIONREAD, &size) == 0 && size > 0;
  }

  // Not awaited: whether the worker takes it shows in whether the cell ends.
  void send(std::string text) {
    auto kept = std::make_shared<std::string>(std::move(text));
    asio::async_write(control, asio::buffer(*kept),
                      [self = shared_from_this(), kept](boost::system::error_code, std::size_t) {});
  }

  void interrupt() const {
    if (!exit && pid > 1) ::kill(-pid, SIGINT);
  }

  void close() {
    if (closed) return;
    closed = true;
    if (!exit) kill_session(pid, SIGKILL);
    boost::system::error_code ignored;
    control.close(ignored);
    output.close(ignored);
    changed.notify_all();
  }

  [[nodiscard]] bool usable() const { return !exit && !closed && !control_closed; }

  asio::local::stream_protocol::socket control;
  asio::posix::stream_descriptor output;
  AsyncEvent changed;
  std::optional<Cell> cell;  // while starting, what the start says
  pid_t pid = -1;
  bool ready = false;
  bool control_closed = false;
  bool closed = false;
  bool used = false;  // has run a cell, so that there is state to lose
  std::optional<ExitStatus> exit;
  std::string interpreter;
  std::string line;
  bool line_too_long = false;
};

}  // namespace

struct PythonWorker::State {
  State(asio::any_io_executor executor_, ChildReaper& reaper_, PythonOptions options_)
      : executor(std::move(executor_)),
        reaper(reaper_),
        options(std::move(options_)),
        turns(executor),
        synced_cwd(options.working_dir) {}

  void start(const std::string& program);
  void start_first() noexcept;
  void stop() noexcept;
  asio::awaitable<std::optional<CellResult>> ensure_ready();
  asio::awaitable<CellResult> run(CellRequest request);
  asio::awaitable<bool> finished(std::shared_ptr<Process> worker, Clock::time_point deadline);
  [[nodiscard]] CellResult failure(CellError error, std::string text) const;

  asio::any_io_executor executor;
  ChildReaper& reaper;
  PythonOptions options;
  std::shared_ptr<Process> process;
  AsyncEvent turns;
  bool busy = false;
  bool closed = false;
  std::string synced_cwd;  // the shell's folder that the worker was told last
};

void PythonWorker::State::start(const std::string& program) {
  std::array<int, 2> sockets{};
  std::array<int, 2> pipe{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
    throw system_error("making the Python worker's socket", errno);
  }
  UniqueFd control(sockets[0]);
  const UniqueFd their_control(sockets[1]);
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw system_error("making the Python worker's pipe", errno);
  UniqueFd output(pipe[0]);
  const UniqueFd their_output(pipe[1]);
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) throw system_error("opening /dev/null", errno);
  // Ours only: the other ends are blocking, as programs expect.
  ::fcntl(control.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(output.get(), F_SETFL, O_NONBLOCK);

  auto started = std::make_shared<Process>(executor, std::move(control), std::move(output));
  const std::string source(kPythonWorkerSource);
  SpawnOptions spawning{.argv = {program, "-c", kLoader, std::to_string(source.size())},
                        .environment = options.environment,
                        .working_dir = synced_cwd.empty() ? "/" : synced_cwd,
                        .descriptors = {{null.get(), 0},
                                        {their_output.get(), 1},
                                        {their_output.get(), 2},
                                        {their_control.get(), kControlDescriptor}}};
  if (::access(spawning.working_dir.c_str(), X_OK) != 0) spawning.working_dir = "/";  // removed meanwhile
  started->pid = spawn(spawning);
  reaper.watch(started->pid, [weak = std::weak_ptr<Process>(started)](ExitStatus status) {
    if (const auto worker = weak.lock()) worker->on_exit(status);
  });
  process = std::move(started);
  process->watch_control();
  process->watch_output();
  process->send(source);
}

void PythonWorker::State::start_first() noexcept {
  if (process || closed) return;
  try {
    for (const std::string& program : options.candidates()) {
      if (!find_program(program, options.environment).empty()) return start(program);
    }
  } catch (const std::exception&) {
    stop();  // the first cell tries again, and says what is wrong
  }
}

void PythonWorker::State::stop() noexcept {
  if (process) process->close();
  process.reset();
}

CellResult PythonWorker::State::failure(CellError error, std::string text) const {
  return {.text = std::move(text),
          .images = {},
          .timed_out = false,
          .interpreter = process ? process->interpreter : std::string(),
          .error = error};
}

// True when the cell, or the start, or the worker ended before the deadline.
asio::awaitable<bool> PythonWorker::State::finished(std::shared_ptr<Process> worker,
                                                    Clock::time_point deadline) {
  while (true) {
    if (worker->exit || worker->closed || !worker->cell || worker->cell->done) co_return true;
    // Named, as everywhere here: GCC 12 miscompiles `if (!co_await f()) co_return ...`.
    const bool notified = co_await worker->changed.wait_until(deadline);
    if (!notified) co_return false;
  }
}

// Nothing when there is a worker that can take a cell.
asio::awaitable<std::optional<CellResult>> PythonWorker::State::ensure_ready() {
  if (process && process->ready && process->usable()) co_return std::nullopt;
  if (process && process->ready) stop();

  const std::vector<std::string> programs = options.candidates();
  std::string failures;
  bool found = false;
  const auto deadline = Clock::now() + kStartTimeout;
  for (const std::string& program : programs) {
    if (find_program(program, options.environment).empty()) continue;
    found = true;
    std::string why;
    try {
      if (!process) start(program);  // or it is the one that warm() started, with the same program
    } catch (const Error& error) {
      why = error.what();
    }
    if (why.empty()) {
      const auto worker = process;
      const bool in_time = co_await finished(worker, deadline);
      if (closed) co_return failure(CellError::closed, "[The Python session was closed.]");
      if (worker->ready && worker->usable()) co_return std::nullopt;
      why = !in_time       ? "it did not become ready within " + python_seconds(kStartTimeout) + " seconds"
            : worker->exit ? "it " + how_it_ended(*worker->exit)
                           : "it closed its control socket";
      if (worker->cell && !worker->cell->output.empty()) why += ":\n" + worker->cell->output.take_text();
      stop();
    }
    add_line(failures, program + ": " + why);
  }
  if (found) {
    co_return failure(CellError::start_failed, "[The Python worker could not be started.]\n" + failures);
  }
  std::string names;
  for (const std::string& program : programs) names += (names.empty() ? "" : ", ") + program;
  co_return failure(CellError::no_python,
                    "[There is no Python in this image: looked for " + names +
                        " in PATH. Install Python 3.6 or later to run Python cells, or use shell commands.]");
}

asio::awaitable<CellResult> PythonWorker::State::run(CellRequest request) {
  if (closed) co_return failure(CellError::closed, "[The Python session was closed.]");
  // One that ended since the last cell: the caller must know that its variables are gone.
  std::string before;
  if (process && process->used && !process->usable()) {
    before = "[The Python worker " +
             (process->exit ? how_it_ended(*process->exit) : std::string("closed its control socket")) +
             " after the last cell. Its variables and imports are lost; this cell ran in a fresh one.]\n";
  }
  std::optional<CellResult> problem = co_await ensure_ready();
  if (problem) co_return std::move(*problem);

  const auto worker = process;
  worker->drain_output();  // what came between the cells is nobody's
  worker->cell.emplace(random_id(), request.max_output);
  worker->used = true;
  // To leave before the cell ended leaves no worker behind that still runs it.
  struct Abandoned {
    State& state;
    Process& worker;
    ~Abandoned() {
      if (worker.cell && !worker.cell->done) state.stop();
      worker.cell.reset();
    }
  };
  const Abandoned abandoned{*this, *worker};

  std::string cwd;
  if (!request.cwd.empty() && request.cwd != synced_cwd) cwd = synced_cwd = request.cwd;
  worker->send(worker->cell->id + " " + std::to_string(cwd.size()) + " " +
               std::to_string(request.code.size()) + "\n" + cwd + request.code);
  request.code = {};

  const auto limit = std::clamp<Clock::duration>(request.timeout, Clock::duration::zero(), kLongest);
  const bool in_time = co_await finished(worker, Clock::now() + limit);
  if (!in_time) {
    worker->interrupt();
    const bool stopped = co_await finished(worker, Clock::now() + options.interrupt_grace);
    if (!stopped) {
      CellResult result =
          failure(CellError::worker_ended, "[Execution timed out (" + python_seconds(request.timeout) +
                                               " seconds).]\n[The cell went on when interrupted, so "
                                               "the Python worker was killed. " +
                                               std::string(kStateLost) + "]");
      result.timed_out = true;
      stop();
      co_return result;
    }
  }
  if (closed) co_return failure(CellError::closed, "[The Python session was closed.]");

  CellResult result = failure(CellError::none, {});
  Cell& cell = *worker->cell;
  result.timed_out = !in_time;
  if (!in_time) {
    result.text = "[Execution timed out (" + python_seconds(request.timeout) + " seconds).]";
  } else {
    const bool nothing = cell.output.empty() && !cell.shown;
    result.text = nothing ? std::string() : cell.output.take_text();
    result.images = std::move(cell.images);
    if (cell.images_left_out > 0) {
      add_line(result.text, "[Images left out: " + std::to_string(cell.images_left_out) +
                                ". A cell may show " + std::to_string(kMaxCellImages >> 20U) +
                                " MiB of them.]");
    }
    if (nothing && cell.done && result.text.empty() && !cell.ending) result.text = kNoOutput;
  }
  if (!cell.done) {
    result.error = CellError::worker_ended;
    add_line(result.text,
             "[The Python worker " + how_it_ended(*worker->exit) + ". " + std::string(kStateLost) + "]");
    stop();
  } else if (cell.ending) {
    const auto deadline = Clock::now() + kExitGrace;
    bool waiting = true;
    while (waiting && !worker->exit) waiting = co_await worker->changed.wait_until(deadline);
    add_line(result.text, "[The cell ended the Python session. " + std::string(kStateLost) + "]");
    stop();
  }
  result.text.insert(0, before);
  co_return result;
}

struct PythonWorker::Turn {
  explicit Turn(State& s) : state(s) { state.busy = true; }
  ~Turn() {
    state.busy = false;
    state.turns.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  State& state;
};

PythonWorker::PythonWorker(asio::any_io_executor executor, ChildReaper& reaper, PythonOptions options)
    : state_(std::make_unique<State>(std::move(executor), reaper, std::move(options))) {}

PythonWorker::~PythonWorker() {
  close();
}

void PythonWorker::warm() noexcept {
  state_->start_first();
}

asio::awaitable<CellResult> PythonWorker::run(CellRequest request) {
  while (state_->busy) co_await state_->turns.wait();
  const Turn turn(*state_);
  co_return co_await state_->run(std::move(request));
}

void PythonWorker::close() noexcept {
  state_->closed = true;
  if (state_->process) state_->process->close();
}

}  // namespace sandkey::agent
