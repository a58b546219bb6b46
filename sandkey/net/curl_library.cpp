#include "sandkey/net/curl_library.h"

#include "sandkey/base/error.h"

#include <dlfcn.h>

#include <atomic>
#include <string>

namespace sandkey {
namespace {

// Its interface has kept this number since 2006.
constexpr const char* kName = "libcurl.so.4";
std::atomic<bool> loaded{false};

[[noreturn]] void fail() {
  const char* reason = ::dlerror();  // NOLINT(concurrency-mt-unsafe): of this thread, as glibc has it
  throw Error(ErrorCode::unsupported, "loading libcurl: " + std::string(reason != nullptr ? reason : kName) +
                                          "; install it (Debian: apt-get install libcurl4)");
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function == nullptr) fail();
}

CurlLibrary load() {
  void* library = ::dlopen(kName, RTLD_LAZY | RTLD_LOCAL);  // for good: its threads may outlive us
  if (library == nullptr) fail();
  CurlLibrary functions{};
  find(library, "curl_easy_cleanup", functions.easy_cleanup);
  find(library, "curl_easy_getinfo", functions.easy_getinfo);
  find(library, "curl_easy_init", functions.easy_init);
  find(library, "curl_easy_pause", functions.easy_pause);
  find(library, "curl_easy_setopt", functions.easy_setopt);
  find(library, "curl_easy_strerror", functions.easy_strerror);
  find(library, "curl_free", functions.free);
  find(library, "curl_getdate", functions.getdate);
  find(library, "curl_multi_add_handle", functions.multi_add_handle);
  find(library, "curl_multi_cleanup", functions.multi_cleanup);
  find(library, "curl_multi_info_read", functions.multi_info_read);
  find(library, "curl_multi_init", functions.multi_init);
  find(library, "curl_multi_remove_handle", functions.multi_remove_handle);
  find(library, "curl_multi_setopt", functions.multi_setopt);
  find(library, "curl_multi_socket_action", functions.multi_socket_action);
  find(library, "curl_url", functions.url);
  find(library, "curl_url_cleanup", functions.url_cleanup);
  find(library, "curl_url_get", functions.url_get);
  find(library, "curl_url_set", functions.url_set);
  decltype(&::curl_global_init) global_init = nullptr;
  find(library, "curl_global_init", global_init);
  if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    throw Error(ErrorCode::internal, "libcurl cannot be initialised");
  }
  loaded = true;
  return functions;
}

}  // namespace

const CurlLibrary& curl() {
  static const CurlLibrary library = load();
  return library;
}

bool curl_is_loaded() noexcept {
  return loaded;
}

}  // namespace sandkey
