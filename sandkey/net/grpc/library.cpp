#include "sandkey/net/grpc/library.h"

#include "sandkey/base/error.h"
#include "sandkey/base/own_program.h"

#include <dlfcn.h>

#include <filesystem>
#include <map>
#include <mutex>

namespace sandkey {
namespace {

[[noreturn]] void fail(const std::string& name, const std::string& reason, const std::string& how_to_get) {
  throw Error(ErrorCode::unsupported, "loading " + name + ": " + reason + "; " + how_to_get);
}

std::filesystem::path find_module(const Engine& engine, const std::string& name,
                                  const std::string& how_to_get) {
  try {
    return find_own_file(engine, name);
  } catch (const Error&) {
    fail(name, "it is not among Sandkey's programs", how_to_get);
  }
}

const grpc_module::Functions& load(const std::filesystem::path& path, const std::string& name,
                                   const std::string& how_to_get) {
  // For good: its threads may outlive us. Its symbols are nobody else's business.
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* const reason = ::dlerror();  // NOLINT(concurrency-mt-unsafe): of this thread, as glibc has it
    fail(name, reason != nullptr ? reason : "it failed", how_to_get);
  }
  using Entry = const grpc_module::Functions* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, grpc_module::kEntrySymbol));
  if (entry == nullptr || entry()->version != grpc_module::kVersion) {
    fail(name, path.string() + " is of another version of Sandkey", how_to_get);
  }
  return *entry();
}

}  // namespace

const grpc_module::Functions& load_grpc_module(const Engine& engine, const std::string& name,
                                               const std::string& how_to_get) {
  static std::mutex mutex;
  static std::map<std::string, const grpc_module::Functions*> loaded;
  const std::lock_guard lock(mutex);
  const grpc_module::Functions*& functions = loaded[name];
  if (functions == nullptr) functions = &load(find_module(engine, name, how_to_get), name, how_to_get);
  return *functions;
}

}  // namespace sandkey
