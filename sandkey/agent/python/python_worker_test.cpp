#include "sandkey/agent/python/python_worker.h"

#include "sandkey/agent/process.h"
#include "sandkey/base/utf8.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>

extern char** environ;

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::vector<std::string> process_environment() {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) out.emplace_back(*entry);
  return out;
}

// A folder that is gone after the test.
class Folder {
 public:
  Folder() {
    std::string name = fs::temp_directory_path() / "sandkey-python-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] std::string path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }

 private:
  fs::path path_;
};

CellRequest request(std::string code, std::chrono::steady_clock::duration timeout = 60s) {
  CellRequest out;
  out.code = std::move(code);
  out.timeout = timeout;
  return out;
}

// An agent's one thread, and a Python session on it.
class Session {
 public:
  explicit Session(PythonOptions options)
      : reaper_(io_.get_executor()), worker_(io_.get_executor(), reaper_, std::move(options)) {}

  CellResult run(CellRequest request) {
    std::optional<CellResult> out;
    std::exception_ptr failure;
    asio::co_spawn(io_, worker_.run(std::move(request)), [&](std::exception_ptr error, CellResult result) {
      failure = error;
      out = std::move(result);
    });
    io_.restart();
    while (!out) io_.run_one();
    if (failure) std::rethrow_exception(failure);
    return std::move(*out);
  }
  CellResult run(const std::string& code) { return run(request(code)); }
  std::string text(const std::string& code) { return run(code).text; }

  asio::io_context& io() { return io_; }
  PythonWorker& worker() { return worker_; }

 private:
  asio::io_context io_;
  ChildReaper reaper_;
  PythonWorker worker_;
};

// What the machine has: python3, and IPython for it. Asked once.
struct Machine {
  bool python = false;
  bool ipython = false;
  bool matplotlib = false;
};

const Machine& machine() {
  static const Machine found = [] {
    Machine m;
    if (find_program("python3", process_environment()).empty()) return m;
    Session session({.environment = process_environment(), .working_dir = "/"});
    m.python = true;
    const std::string has = session.text(
        "import importlib.util as u\n"
        "print('get_ipython' in globals(), all(u.find_spec(m) for m in ('matplotlib', "
        "'matplotlib_inline')))");
    m.ipython = has.starts_with("True");
    m.matplotlib = has.ends_with("True\n");
    return m;
  }();
  return found;
}

constexpr const char* kNoPythonHere = "python3 is not installed";
constexpr const char* kNoIPythonHere = "IPython is not installed for python3";

enum class Shell { plain, ipython };

// The tests that hold for both kinds of shell. They share one session of each, since IPython takes its time
// to start.
class PythonWorkerTest : public testing::TestWithParam<Shell> {
 protected:
  static void TearDownTestSuite() { shared().clear(); }

  void SetUp() override {
    if (!machine().python) GTEST_SKIP() << kNoPythonHere;
    if (GetParam() == Shell::ipython && !machine().ipython) GTEST_SKIP() << kNoIPythonHere;
    std::unique_ptr<Home>& home = shared()[GetParam()];
    if (!home) home = std::make_unique<Home>(GetParam());
  }

  [[nodiscard]] static PythonOptions options() { return shared()[GetParam()]->options(); }
  static Session& session() { return *shared()[GetParam()]->session; }
  static std::string text(const std::string& code) { return session().text(code); }
  static std::string folder() { return shared()[GetParam()]->folder.path(); }

 private:
  struct Home {
    explicit Home(Shell kind) : shell(kind) { session.emplace(options()); }

    [[nodiscard]] PythonOptions options() const {
      PythonOptions out;
      out.environment = process_environment();
      out.working_dir = folder.path();
      set_environment_value(out.environment, "HOME", home.path());
      if (shell == Shell::plain) {
        home.write("hidden/IPython/__init__.py", "raise ImportError('hidden by the test')\n");
        set_environment_value(out.environment, "PYTHONPATH", home.path() + "/hidden");
      }
      return out;
    }

    Shell shell;
    Folder home;
    Folder folder;
    std::optional<Session> session;
  };

  static std::map<Shell, std::unique_ptr<Home>>& shared() {
    static std::map<Shell, std::unique_ptr<Home>> homes;
    return homes;
  }
};

INSTANTIATE_TEST_SUITE_P(Shells, PythonWorkerTest, testing::Values(Shell::plain, Shell::ipython),
                         [](const auto& shell) { return shell.param == Shell::plain ? "Plain" : "IPython"; });

constexpr const char* kNoOutput = "[Code executed successfully with no output]";

TEST_P(PythonWorkerTest, IsTheShellItShouldBe) {
  EXPECT_EQ(text("print('get_ipython' in globals())"), GetParam() == Shell::ipython ? "True\n" : "False\n");
}

TEST_P(PythonWorkerTest, KeepsState) {
  EXPECT_EQ(text("x = 20\ndef double(n):\n    return 2 * n"), kNoOutput);
  EXPECT_EQ(text("import math\nprint(double(x) + math.floor(2.5))"), "42\n");
}

TEST_P(PythonWorkerTest, ShowsTheValueOfALastExpression) {
  EXPECT_EQ(text("1\n2"), "2");
  EXPECT_EQ(text("'a\\nb'"), "'a\\nb'");
  EXPECT_EQ(text("print('p')\n3"), "p\n3");
  EXPECT_EQ(text("_ + 1"), "4");
  EXPECT_EQ(text("None"), kNoOutput);
  EXPECT_EQ(text(""), kNoOutput);
  EXPECT_EQ(text("# nothing"), kNoOutput);
  // Shown, though it is empty.
  EXPECT_EQ(text("class Empty:\n    def __repr__(self):\n        return ''\nEmpty()"), "");
}

TEST_P(PythonWorkerTest, KeepsTheOrderOfEverythingWritten) {
  EXPECT_EQ(text("import os, subprocess, sys\n"
                 "print('1', end=' ')\n"
                 "print('2', end=' ', file=sys.stderr)\n"
                 "os.system('echo 3; echo 4 >&2')\n"
                 "sys.stdout.write('5 ')\n"
                 "os.write(1, b'6 ')\n"
                 "os.write(2, b'7 ')\n"
                 "subprocess.run(['echo', '8'])\n"
                 "import ctypes; libc = ctypes.CDLL(None); libc.write(1, b'9 ', 2)\n"
                 "print('10', end=' ')\n"
                 "11"),
            "1 2 3\n4\n5 6 7 8\n9 10 11");
}

TEST_P(PythonWorkerTest, StripsColours) {
  EXPECT_EQ(text("print('\\x1b[1;31mred\\x1b[0m')"), "red\n");
}

TEST_P(PythonWorkerTest, ShowsTracebacks) {
  EXPECT_THAT(text("1/0"),
              AllOf(HasSubstr("Traceback (most recent call last)"), HasSubstr("1/0"),
                    HasSubstr("ZeroDivisionError: division by zero"), Not(HasSubstr("sandkey"))));
  EXPECT_THAT(text("undefined_name"), HasSubstr("NameError: name 'undefined_name' is not defined"));
  EXPECT_THAT(text("def f(:"), AllOf(HasSubstr("def f(:"), HasSubstr("SyntaxError")));
  EXPECT_THAT(text("if True:\nprint(1)"), HasSubstr("IndentationError"));
  EXPECT_THAT(text("def inner():\n    raise KeyError('deep')\ndef outer():\n    inner()"), kNoOutput);
  EXPECT_THAT(
      text("print('before')\ntry:\n    outer()\nexcept KeyError as e:\n    raise ValueError('top') from e"),
      AllOf(StartsWith("before\n"), HasSubstr("KeyError: 'deep'"), HasSubstr("direct cause"),
            HasSubstr("raise KeyError('deep')"), HasSubstr("ValueError: top")));
  EXPECT_EQ(text("print('goes on')"), "goes on\n");
}

TEST_P(PythonWorkerTest, ShowsImages) {
  const CellResult result = session().run(
      "class Picture:\n"
      "    def _repr_png_(self):\n"
      "        return b'\\x89PNG pixels'\n"
      "    def __repr__(self):\n"
      "        return 'picture'\n"
      "Picture()");
  EXPECT_EQ(result.text, "picture");
  EXPECT_EQ(result.images, std::vector<std::string>{"data:image/png;base64,iVBORyBwaXhlbHM="});
  EXPECT_TRUE(session().run("1").images.empty());
}

TEST_P(PythonWorkerTest, LeavesOutImagesBeyondTheBound) {
  const CellResult result = session().run(
      "class Picture:\n"
      "    def _repr_png_(self):\n"
      "        return b'x' * (30 << 20)\n"
      "    def __repr__(self):\n"
      "        return 'picture'\n"
      "Picture()");
  EXPECT_THAT(result.text, AllOf(StartsWith("picture\n"), HasSubstr("[Images left out: 1. ")));
  EXPECT_TRUE(result.images.empty());
}

TEST_P(PythonWorkerTest, AwaitsAtTopLevel) {
  if (text("import sys; print(sys.version_info >= (3, 8))") != "True\n") GTEST_SKIP() << "needs Python 3.8";
  EXPECT_EQ(text("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 5\nawait f()"), "5");
  EXPECT_EQ(text("x = await f()\nprint(x)"), "5\n");
  EXPECT_EQ(text("asyncio.run(f())"), "5");
}

TEST_P(PythonWorkerTest, RefusesInput) {
  EXPECT_THAT(text("input('name? ')"),
              HasSubstr("raw_input was called, but this frontend does not support input requests."));
  EXPECT_EQ(text("import sys; sys.stdin.read()"), "''");
  EXPECT_EQ(text("import os; os.system('cat')"), "0");
}

TEST_P(PythonWorkerTest, LooksLikeJupyterToTheCell) {
  EXPECT_EQ(text("import sys, os; print('' in sys.path, sys.argv, __name__, os.isatty(1))"),
            "True [''] __main__ False\n");
  EXPECT_EQ(text("print(sys.modules['__main__'].__dict__ is globals())"), "True\n");
  const CellResult result = session().run("print(sys.executable)");
  EXPECT_EQ(result.text, result.interpreter + "\n");
}

TEST_P(PythonWorkerTest, IsNotConfusedByModulesInTheWorkingFolder) {
  const Folder project;
  for (const char* name : {"ast", "json", "traceback", "random", "asyncio", "IPython"}) {
    project.write(std::string(name) + ".py", "raise RuntimeError('shadowed')\n");
  }
  project.write("mine.py", "value = 7\n");
  PythonOptions there = options();
  there.working_dir = project.path();
  Session session(std::move(there));
  EXPECT_EQ(session.text("import mine; mine.value"), "7");
  EXPECT_THAT(session.text("1/0"), HasSubstr("ZeroDivisionError: division by zero"));
}

TEST_P(PythonWorkerTest, SurvivesSysExit) {
  EXPECT_EQ(text("x = 1"), kNoOutput);
  EXPECT_THAT(text("import sys; sys.exit(3)"), HasSubstr("SystemExit: 3"));
  EXPECT_EQ(text("x"), "1");
}

TEST_P(PythonWorkerTest, SaysThatTheWorkerExited) {
  const std::string old = text("import os; x = 1; print(os.getpid())");
  const CellResult result = session().run("print('last words'); os._exit(7)");
  EXPECT_EQ(result.text,
            "last words\n[The Python worker ended with exit code 7. Its variables and imports are lost; the "
            "next cell "
            "runs in a fresh one.]");
  EXPECT_EQ(result.error, CellError::worker_ended);
  EXPECT_THAT(text("x"), HasSubstr("NameError"));
  EXPECT_NE(text("import os; print(os.getpid())"), old);
}

TEST_P(PythonWorkerTest, SaysThatTheWorkerCrashed) {
  const CellResult result = session().run("import ctypes; ctypes.string_at(0)");
  EXPECT_THAT(result.text, HasSubstr("[The Python worker was killed by signal 11 (Segmentation fault). "));
  EXPECT_EQ(result.error, CellError::worker_ended);
  EXPECT_EQ(text("'again'"), "'again'");
}

TEST_P(PythonWorkerTest, SaysThatTheWorkerEndedBetweenTheCells) {
  text(
      "import os, select, threading\n"
      "reader, writer = os.pipe()\n"
      "pid = os.fork()\n"
      "if pid == 0:\n"
      "    os.setsid()\n"
      "    select.select([reader], [], [], 20)\n"  // longer than the test, and not for ever
      "    os._exit(0)");
  const std::string pid = text("print(os.getpid())");
  ::kill(std::stoi(pid), SIGKILL);
  // The worker's end shows in the next cell whether or not the news came first.
  const CellResult result = session().run("print('x' in globals())");
  if (result.error == CellError::none) {
    EXPECT_THAT(result.text,
                AllOf(StartsWith("[The Python worker was killed by signal 9"), EndsWith("False\n")));
  } else {
    EXPECT_THAT(result.text, HasSubstr("killed by signal 9"));
  }
}

TEST_P(PythonWorkerTest, AForkDoesNotMakeTwoWorkers) {
  EXPECT_THAT(text("import os\n"
                   "child = os.fork()\n"
                   "if child: print('status', os.waitpid(child, 0)[1])\n"
                   "else: print('in the child')"),
              "in the child\nstatus 0\n");
  EXPECT_EQ(text("child = os.fork()\n"
                 "if child == 0: raise SystemExit(5)\n"
                 "os.waitpid(child, 0)[1] >> 8"),
            "5");
  EXPECT_THAT(text("child = os.fork()\n"
                   "if child == 0: raise ValueError('in the child')\n"
                   "os.waitpid(child, 0)[1] >> 8"),
              AllOf(HasSubstr("ValueError: in the child"), EndsWith("1")));
  EXPECT_EQ(text("'one'"), "'one'");
  EXPECT_EQ(text("import multiprocessing\n"
                 "def f(n):\n"
                 "    return n * n\n"
                 "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
                 "    print(pool.map(f, range(4)))"),
            "[0, 1, 4, 9]\n");
}

TEST_P(PythonWorkerTest, InterruptsACellAtItsTimeout) {
  text("x = 'kept'");
  const CellResult result = session().run(request("print('partial')\nimport time\ntime.sleep(60)", 200ms));
  EXPECT_EQ(result.text, "[Execution timed out (0.2 seconds).]");
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.error, CellError::none);
  EXPECT_EQ(text("x"), "'kept'");
}

TEST_P(PythonWorkerTest, InterruptsWhatTheCellWaitsFor) {
  text("x = 'kept'");
  const CellResult result =
      session().run(request("import subprocess; subprocess.run(['sleep', '60'])", 200ms));
  EXPECT_EQ(result.text, "[Execution timed out (0.2 seconds).]");
  EXPECT_EQ(text("x"), "'kept'");
}

TEST_P(PythonWorkerTest, AnInterruptedAwaitDoesNotGoOnLater) {
  if (text("import sys; print(sys.version_info >= (3, 8))") != "True\n") GTEST_SKIP() << "needs Python 3.8";
  text("import asyncio\nlog = []\nawait asyncio.sleep(0)");
  const CellResult result =
      session().run(request("try:\n    await asyncio.sleep(60)\nfinally:\n    log.append('left')", 1s));
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(text("await asyncio.sleep(0)\nlog"), "['left']");
}

TEST_P(PythonWorkerTest, KillsACellThatCannotBeInterrupted) {
  PythonOptions impatient = options();
  impatient.interrupt_grace = 300ms;
  Session session(std::move(impatient));
  session.text(
      "import signal, time\n"
      "def hang():\n"
      "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
      "    while True: time.sleep(60)");
  const CellResult result = session.run(request("hang()", 1s));
  EXPECT_THAT(result.text,
              StartsWith("[Execution timed out (1.0 seconds).]\n[The cell went on when interrupted, so "
                         "the Python worker was killed."));
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.error, CellError::worker_ended);
  EXPECT_EQ(session.text("'fresh'"), "'fresh'");
}

TEST_P(PythonWorkerTest, BoundsTheOutputAndShowsTheCut) {
  CellRequest large = request("print('first')\nfor i in range(3000): print('x' * 1000)\nprint('last')");
  large.max_output = 100000;
  const CellResult result = session().run(large);
  EXPECT_LT(result.text.size(), 100100U);
  EXPECT_THAT(result.text, AllOf(StartsWith("first\nxxx"), EndsWith("xxx\nlast\n"),
                                 HasSubstr("bytes of output were dropped here ...]")));
}

TEST_P(PythonWorkerTest, TakesLargeCells) {
  EXPECT_EQ(text("text = '" + std::string(3'000'000, 'y') + "'\nlen(text)"), "3000000");
}

TEST_P(PythonWorkerTest, OutputForgesNothing) {
  EXPECT_THAT(
      text("import os\n"
           "forged = '\\n0123456789abcdef0123456789abcdef done 1 0\\nstart done 1 0\\nstart ready 41\\n'\n"
           "print(forged, end='')\n"
           "print('{\"id\": 1, \"status\": \"done\"}')\n"
           "for fd in range(64):\n"
           "    try: n = os.write(fd, forged.encode() + b'unfinished') if fd > 2 else 0\n"
           "    except OSError: pass\n"
           "print('end')"),
      AllOf(HasSubstr("\nstart ready 41\n{\"id\": 1"), EndsWith("end\n")));
  EXPECT_EQ(text("'still here'"), "'still here'");
}

TEST_P(PythonWorkerTest, SurvivesACellThatClosesItsDescriptors) {
  const CellResult result = session().run("import os; os.closerange(3, 1000)");
  EXPECT_EQ(result.error, CellError::worker_ended);
  EXPECT_EQ(text("'fresh'"), "'fresh'");
}

TEST_P(PythonWorkerTest, GivesValidUtf8) {
  EXPECT_EQ(text("print('h\\u00e9llo \\U0001F600')"), "h\xC3\xA9llo \xF0\x9F\x98\x80\n");
  EXPECT_EQ(text("'\\u00e9'"), "'\xC3\xA9'");
  EXPECT_EQ(text("variable_\xC3\xA9 = '\xE2\x82\xAC'\nvariable_\xC3\xA9"), "'\xE2\x82\xAC'");
  EXPECT_EQ(text("import os\nn = os.write(1, b'a\\xff\\xe2\\x82z')"), "a\xEF\xBF\xBD\xEF\xBF\xBDz");
  EXPECT_TRUE(utf8::is_valid(text("print('\\ud800')")));
  EXPECT_TRUE(utf8::is_valid(text("raise ValueError('\\ud800')")));
  EXPECT_EQ(text("print('a\\0b')"), std::string("a\0b\n", 4));
}

TEST_P(PythonWorkerTest, FollowsTheShellsFolderOnlyWhenThatMoves) {
  const auto where = [](const std::string& shell) {
    CellRequest cell = request("import os; print(os.getcwd())");
    cell.cwd = shell;
    return session().run(cell).text;
  };
  const Folder other;
  EXPECT_EQ(where(folder()), folder() + "\n");
  EXPECT_EQ(where(other.path()), other.path() + "\n");
  text("os.chdir('/')");
  EXPECT_EQ(where(other.path()), "/\n");  // the shell did not move: the cell's own folder stays
  EXPECT_EQ(where(folder()), folder() + "\n");
  EXPECT_EQ(where("/no/such/folder"), folder() + "\n");
}

TEST_P(PythonWorkerTest, WhatIsPrintedBetweenCellsIsNobodys) {
  const std::string go = folder() + "/go";
  const std::string gone = folder() + "/gone";
  ASSERT_EQ(::mkfifo(go.c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo(gone.c_str(), 0600), 0);
  text("import subprocess\nleft = subprocess.Popen('read line < go; echo late; echo > gone', shell=True)");
  std::ofstream(go) << "\n";
  std::string line;
  std::getline(std::ifstream(gone), line);  // opens when "late" is written
  EXPECT_EQ(text("print('own')"), "own\n");
}

TEST_P(PythonWorkerTest, EndsACellThoughSomethingPrintsForEver) {
  EXPECT_THAT(text("import subprocess; p = subprocess.Popen(['yes']); print('started')"),
              HasSubstr("started"));
  EXPECT_THAT(text("p.kill(); status = p.wait(); print(status)"), EndsWith("-9\n"));
  EXPECT_EQ(text("1"), "1");
}

TEST_P(PythonWorkerTest, IgnoresAnInterruptBetweenCells) {
  const std::string pid = text("import os; x = 1; print(os.getpid())");
  ::kill(std::stoi(pid), SIGINT);
  EXPECT_EQ(text("x"), "1");
}

TEST_P(PythonWorkerTest, StartsInTheBackground) {
  Session session(options());
  session.worker().warm();
  session.worker().warm();
  EXPECT_EQ(session.text("'warm'"), "'warm'");
}

TEST_P(PythonWorkerTest, QueuesCells) {
  std::string order;
  int left = 3;
  for (const char* name : {"a", "b", "c"}) {
    asio::co_spawn(session().io(), session().worker().run(request(std::string("print('") + name + "')")),
                   [&](const std::exception_ptr&, const CellResult& result) {
                     order += result.text;
                     --left;
                   });
  }
  while (left > 0) session().io().run_one();
  EXPECT_EQ(order, "a\nb\nc\n");
}

TEST_P(PythonWorkerTest, ClosesWithARunningCell) {
  Session session(options());
  std::optional<CellResult> out;
  asio::co_spawn(session.io(), session.worker().run(request("import time; time.sleep(600)")),
                 [&](const std::exception_ptr&, CellResult result) { out = std::move(result); });
  session.io().poll();
  session.worker().close();
  session.io().restart();
  while (!out) session.io().run_one();
  EXPECT_EQ(out->error, CellError::closed);
  EXPECT_EQ(session.run("1").error, CellError::closed);
}

TEST_P(PythonWorkerTest, CloseKillsWhatTheCellsLeftBehind) {
  Session session(options());
  // The pipe's other end closes with the child, and with nothing else.
  const std::string fifo = folder() + "/alive";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  session.text("import subprocess; p = subprocess.Popen('exec sleep 600 > alive', shell=True)");
  std::ifstream alive(fifo);  // opens when the child has it
  session.worker().close();
  std::string line;
  EXPECT_FALSE(std::getline(alive, line));  // the end of the file
}

TEST_P(PythonWorkerTest, ToCancelACellKillsItsWorker) {
  Session session(options());
  session.text("x = 1");
  asio::cancellation_signal cancel;
  bool ended = false;
  asio::co_spawn(
      session.io(), session.worker().run(request("import time; time.sleep(600)")),
      asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& error, const CellResult&) {
        ended = error != nullptr;
      }));
  session.io().restart();
  session.io().poll();
  cancel.emit(asio::cancellation_type::terminal);
  session.io().restart();
  while (!ended) session.io().run_one();
  EXPECT_THAT(session.text("x"), HasSubstr("NameError"));
}

// --- only in IPython
// -------------------------------------------------------------------------------------------

class IPythonWorkerTest : public PythonWorkerTest {};
INSTANTIATE_TEST_SUITE_P(Shells, IPythonWorkerTest, testing::Values(Shell::ipython),
                         [](const auto&) { return "IPython"; });

TEST_P(IPythonWorkerTest, RunsMagicsAndShellCommands) {
  EXPECT_EQ(text("%pwd"), "'" + folder() + "'");
  EXPECT_THAT(text("!echo from the shell"), HasSubstr("from the shell"));
  EXPECT_EQ(text("%%bash\necho cell magic"), "cell magic\n");
  EXPECT_EQ(text("out = !echo captured\nout[0]"), "'captured'");
  EXPECT_THAT(text("%no_such_magic"),
              HasSubstr("UsageError: Line magic function `%no_such_magic` not found."));
  EXPECT_THAT(text("len?"), HasSubstr("Return the number of items in a container."));
  EXPECT_EQ(text("get_ipython().execution_count"), "1");
}

TEST_P(IPythonWorkerTest, DisplaysInOrder) {
  EXPECT_EQ(text("print('a')\ndisplay('b')\nprint('c')\ndisplay({'image/png': 'AAAA', 'text/plain': 'd'}, "
                 "raw=True)"),
            "a\n'b'c\nd");
  const CellResult result = session().run("display({'image/png': 'AAAA', 'text/plain': 'd'}, raw=True)");
  EXPECT_EQ(result.images, std::vector<std::string>{"data:image/png;base64,AAAA"});
}

TEST_P(IPythonWorkerTest, ShowsOpenFiguresAtTheEndOfACell) {
  if (!machine().matplotlib) GTEST_SKIP() << "matplotlib and matplotlib_inline are not installed";
  const CellResult result = session().run("import matplotlib.pyplot as plt\nplt.plot([1, 2]);");
  ASSERT_EQ(result.images.size(), 1U);
  EXPECT_THAT(result.images[0], StartsWith("data:image/png;base64,iVBORw0KGgo"));
  EXPECT_THAT(result.text, HasSubstr("<Figure size"));
  EXPECT_TRUE(session().run("plt.get_fignums()").images.empty());
  EXPECT_TRUE(session().run("plt.plot([1]); 1/0").images.empty());  // as in OpenHands, nothing after an error
}

TEST_P(IPythonWorkerTest, ExitEndsTheSession) {
  text("x = 1");
  EXPECT_THAT(text("print('bye')\nexit()"),
              AllOf(StartsWith("bye\n"), HasSubstr("[The cell ended the Python session.")));
  EXPECT_THAT(text("x"), HasSubstr("NameError"));
}

// --- what stands in the way of a worker
// --------------------------------------------------------------------------

TEST(PythonWorkerStart, SaysThatThereIsNoPython) {
  const Folder empty;
  Session session({.environment = {"PATH=" + empty.path()}, .working_dir = "/"});
  session.worker().warm();
  const CellResult result = session.run("1");
  EXPECT_EQ(result.error, CellError::no_python);
  EXPECT_THAT(result.text,
              StartsWith("[There is no Python in this image: looked for python3, python in PATH."));
}

TEST(PythonWorkerStart, SaysWhyAPythonDidNotStartAndTriesTheNext) {
  const Folder programs;
  programs.write("python3", "#!/bin/sh\necho cannot find my library >&2\nexit 9\n");
  ::chmod((programs.path() + "/python3").c_str(), 0755);
  Session broken({.environment = {"PATH=" + programs.path()}, .working_dir = "/"});
  broken.worker().warm();
  const CellResult result = broken.run("1");
  EXPECT_EQ(result.error, CellError::start_failed);
  EXPECT_THAT(result.text, AllOf(HasSubstr("could not be started"), HasSubstr("ended with exit code 9"),
                                 HasSubstr("cannot find my library")));
  if (!machine().python) GTEST_SKIP() << kNoPythonHere;
  const std::string real = find_program("python3", process_environment());
  const std::string first = programs.path() + "/python3";
  Session session({.environment = process_environment(), .working_dir = "/", .candidates = [first, real] {
                     return std::vector<std::string>{first, real};
                   }});
  EXPECT_EQ(session.text("'the second one'"), "'the second one'");
}

TEST(PythonWorkerStart, SaysThatMagicsNeedIPython) {
  if (!machine().python) GTEST_SKIP() << kNoPythonHere;
  const Folder hidden;
  hidden.write("IPython/__init__.py", "raise ImportError\n");
  PythonOptions options{.environment = process_environment(), .working_dir = "/"};
  set_environment_value(options.environment, "PYTHONPATH", hidden.path());
  Session session(std::move(options));
  for (const std::string code : {"%pip install x", "x = 1\n  !ls"}) {
    EXPECT_THAT(session.text(code), AllOf(HasSubstr("IPython is not installed for "),
                                          HasSubstr(code.substr(code.find_first_of("%!")))));
  }
  EXPECT_EQ(session.text("'''\n%not a magic\n'''"), "'\\n%not a magic\\n'");
}

TEST(PythonWorkerStart, OutlivesItsWorkingFolder) {
  if (!machine().python) GTEST_SKIP() << kNoPythonHere;
  Session session({.environment = process_environment(), .working_dir = "/no/such/folder"});
  EXPECT_EQ(session.text("import os; os.getcwd()"), "'/'");
}

}  // namespace
}  // namespace sandkey::agent
