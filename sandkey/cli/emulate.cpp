// sandkey emulate: the program sandkey-emulator in our place.
#include "sandkey/base/error.h"
#include "sandkey/base/own_program.h"
#include "sandkey/cli/context.h"
#include "sandkey/cli/verbs.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>

namespace sandkey::cli {

int emulate(Context& context, const std::vector<std::string>& arguments) {
  const std::filesystem::path program = find_own_program(context.engine(), "sandkey-emulator");
  std::vector<char*> list{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) list.push_back(const_cast<char*>(argument.c_str()));
  list.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);  // as we were started
  ::execv(program.c_str(), list.data());
  throw system_error("starting " + program.string(), errno);
}

}  // namespace sandkey::cli
