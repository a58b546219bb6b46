// The program `sandkey` as a shell uses it.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/base/unique_fd.h"
#include "tests/runtime/fixtures.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sandkey::cli_test {

using runtime_test::mode_of;
using runtime_test::Process;
using runtime_test::read_file;
using runtime_test::Spawn;
using runtime_test::TempDir;
using runtime_test::write_file;

struct Result {
  int code = -1;
  std::string out = {};
  std::string err = {};
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
  Pipe();
};

// Reads until `wanted` is in what was read, or the end.
std::string read_until(int fd, const std::string& wanted, std::string so_far = {});
std::string read_all(int fd);
[[nodiscard]] std::size_t count_lines(const std::string& text);

bool pause_briefly(int turn);  // false after very many turns

// Asks until it is true; false when it is not for very long.
template <class Condition>
bool eventually(Condition condition) {
  for (int turn = 0; !condition(); ++turn) {
    if (!pause_briefly(turn)) return false;
  }
  return true;
}

// With a home and a state folder of its own, in a folder that is given.
class Program {
 public:
  explicit Program(const TempDir& dir);

  [[nodiscard]] Spawn spawn(std::vector<std::string> arguments) const;
  // To its end, with `input` on its standard input.
  [[nodiscard]] Result run(std::vector<std::string> arguments, const std::string& input = {}) const;
  // The same; its standard output as the JSON document it must be.
  [[nodiscard]] json::object run_json(std::vector<std::string> arguments) const;

  [[nodiscard]] std::string state_folder() const { return dir_ / "state"; }

  std::map<std::string, std::string> environment;  // of the program, beside a plain user's

 private:
  const TempDir& dir_;
};

// `sandkey ...` on a terminal of its own.
class TerminalProgram {
 public:
  TerminalProgram(const Program& program, std::vector<std::string> arguments, unsigned short rows = 24,
                  unsigned short columns = 80);
  void type(const std::string& text) const;
  [[nodiscard]] std::string read_until(const std::string& wanted, std::string so_far = {}) const;
  // What is left when the program has ended.
  [[nodiscard]] std::string read_rest();
  void resize(unsigned short rows, unsigned short columns) const;
  // Whether the terminal gathers lines and echoes, as it does when nobody changed that.
  [[nodiscard]] bool cooked() const;
  [[nodiscard]] Process& process() { return *process_; }

 private:
  UniqueFd master_;
  UniqueFd slave_;
  std::unique_ptr<Process> process_;
};

// Why no sandbox can be made here; empty where one can.
[[nodiscard]] std::string why_no_sandboxes();

}  // namespace sandkey::cli_test
