// Python cells: a worker process that keeps their variables, its output, its time limit and its end.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sandkey::agent {

class ChildReaper;

inline constexpr std::size_t kMaxCellOutput = std::size_t{8} << 20U;   // bytes of text; its middle is dropped
inline constexpr std::size_t kMaxCellImages = std::size_t{32} << 20U;  // bytes of all data URLs together
struct PythonOptions {
  std::vector<std::string> environment;  // complete, as "NAME=value"
  std::string working_dir;               // of the first worker
  // Programs to try in turn each time a worker is started: names are looked for in PATH. Python may come into
  // an image later, or by a virtual environment.
  std::function<std::vector<std::string>()> candidates = [] {
    return std::vector<std::string>{"python3", "python"};
  };
  // How long an interrupted cell may take to return before its worker is killed.
  std::chrono::steady_clock::duration interrupt_grace = std::chrono::seconds(5);
};

struct CellRequest {
  std::string code;
  // Where the shell is. The worker goes there before the cell if the shell moved since the last cell, so that
  // a cell's own chdir lasts; empty: it stays where it is.
  std::string cwd;
  std::chrono::steady_clock::duration timeout = std::chrono::seconds(120);
  std::size_t max_output = kMaxCellOutput;
};

enum class CellError {
  none,          // the cell ran, though it may have raised an exception or timed out
  no_python,     // none of the candidates is there
  start_failed,  // one is, but did not become a worker; `text` has what it said
  worker_ended,  // the worker ended in the cell: os._exit, a crash, or killed since it could not be
                 // interrupted
  closed,        // by close()
};

struct CellResult {
  std::string text;                 // the observation's content, UTF-8
  std::vector<std::string> images;  // data:image/png;base64,...
  bool timed_out = false;
  std::string interpreter;  // sys.executable; empty if there is none
  CellError error = CellError::none;
};

// One Python session. With IPython installed, cells run in its InteractiveShell: magics, !commands,
// display(), top-level await; otherwise in plain Python, with the value of a last expression shown.
//
// The text is what OpenHands' Jupyter plugin makes: all printed text in the order it was written (that of
// subprocesses and C code too), results, and tracebacks, joined without separators and without colours;
// "[Code executed successfully with no output]" if nothing was shown; on timeout only
// "[Execution timed out (120.0 seconds).]". A cell's end is told over a socket, by an id that the cell has no
// reason to know, so nothing that it prints can end it early.
//
// As with a Jupyter kernel under OpenHands, a cell ends when its code does: what processes it left behind
// print later belongs to the cell running at that time, or is dropped when none is.
//
// When a worker ends, all processes of its session are killed, its state is lost, the observation says so,
// and the next cell gets a new worker.
//
// Lives on the agent's one thread; must outlive its running calls, and the reaper must outlive it.
class PythonWorker {
 public:
  PythonWorker(boost::asio::any_io_executor executor, ChildReaper& reaper, PythonOptions options);
  ~PythonWorker();  // close()
  PythonWorker(const PythonWorker&) = delete;
  PythonWorker& operator=(const PythonWorker&) = delete;

  // Starts the worker in the background, so that the first cell does not wait for it. Never throws.
  void warm() noexcept;

  // Calls queue up; the time limit counts from when the cell starts. To cancel one kills the worker.
  [[nodiscard]] boost::asio::awaitable<CellResult> run(CellRequest request);

  // Kills the worker and its session; running and later cells return CellError::closed.
  void close() noexcept;

 private:
  struct State;
  struct Turn;
  std::unique_ptr<State> state_;
};

}  // namespace sandkey::agent
