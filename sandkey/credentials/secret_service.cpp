#include "sandkey/credentials/keyring.h"

#include <dlfcn.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <utility>

namespace sandkey {
namespace {

std::string no_bus(const Environment& environment) {
  if (nonempty_variable(environment, "DBUS_SESSION_BUS_ADDRESS")) return {};
  const auto runtime = nonempty_variable(environment, "XDG_RUNTIME_DIR");
  if (runtime && ::access((*runtime + "/bus").c_str(), F_OK) == 0) return {};
  return "cannot be reached (there is no session bus)";
}

// A desktop that does not answer must not hold up everything.
constexpr std::chrono::seconds kPatience{3};

// What we use of GLib and libsecret, as their stable C interface has it. Written down here and found at run
// time, so that neither building nor running needs them.
struct GList {
  void* data;
  GList* next;
  GList* prev;
};
struct GError;
struct GHashTable;
struct GCancellable;
struct SecretItem;
struct SecretValue;
constexpr int kSearchAll = 1 << 1;
constexpr int kSearchLoadSecrets = 1 << 3;

class Library {
 public:
  static const Library& get() {
    static const Library library;
    return library;
  }
  [[nodiscard]] bool loaded() const noexcept { return complete_; }

  GList* (*search)(void* service, const void* schema, GHashTable*, int flags, GCancellable*,
                   GError**) = nullptr;
  int (*locked)(SecretItem*) = nullptr;
  SecretValue* (*secret)(SecretItem*) = nullptr;
  const char* (*bytes)(SecretValue*, std::size_t* size) = nullptr;
  void (*drop_value)(void*) = nullptr;
  GHashTable* (*new_table)(unsigned (*hash)(const void*), int (*equal)(const void*, const void*)) = nullptr;
  int (*insert)(GHashTable*, void* key, void* value) = nullptr;
  void (*drop_table)(GHashTable*) = nullptr;
  unsigned (*hash)(const void*) = nullptr;
  int (*equal)(const void*, const void*) = nullptr;
  void (*drop_object)(void*) = nullptr;
  void (*drop_list)(GList*) = nullptr;
  void (*drop_error)(GError*) = nullptr;
  GCancellable* (*new_cancellable)() = nullptr;
  void (*cancel)(GCancellable*) = nullptr;

 private:
  Library() {
    // Never unloaded: GLib's threads run its code until the end.
    handle_ = ::dlopen("libsecret-1.so.0", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle_ == nullptr) return;
    complete_ = take("secret_service_search_sync", search) && take("secret_item_get_locked", locked) &&
                take("secret_item_get_secret", secret) && take("secret_value_get", bytes) &&
                take("secret_value_unref", drop_value) && take("g_hash_table_new", new_table) &&
                take("g_hash_table_insert", insert) && take("g_hash_table_unref", drop_table) &&
                take("g_str_hash", hash) && take("g_str_equal", equal) &&
                take("g_object_unref", drop_object) && take("g_list_free", drop_list) &&
                take("g_error_free", drop_error) && take("g_cancellable_new", new_cancellable) &&
                take("g_cancellable_cancel", cancel);
  }

  template <typename Function>
  bool take(const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(handle_, name));
    return function != nullptr;
  }

  void* handle_ = nullptr;
  bool complete_ = false;
};

// Cancels what takes too long.
class Watchdog {
 public:
  Watchdog(const Library& library, GCancellable* cancellable)
      : thread_([this, &library, cancellable] {
          std::unique_lock lock(mutex_);
          if (!ended_.wait_for(lock, kPatience, [this] { return done_; })) {
            late_ = true;
            library.cancel(cancellable);
          }
        }) {}
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog() { stop(); }

  // Whether it had to.
  bool stop() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    ended_.notify_all();
    if (thread_.joinable()) thread_.join();
    return late_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  bool late_ = false;
  std::thread thread_;
};

KeyringAnswer first_unlocked(const Library& library, GList* items) {
  KeyringAnswer answer;
  for (GList* item = items; item != nullptr; item = item->next) {
    auto* const found = static_cast<SecretItem*>(item->data);
    SecretValue* const value = answer.value || library.locked(found) != 0 ? nullptr : library.secret(found);
    if (value != nullptr) {
      std::size_t size = 0;
      const char* const bytes = library.bytes(value, &size);
      answer.value = Secret({bytes, size});
      library.drop_value(value);
    }
    library.drop_object(found);
  }
  if (!answer.value) answer.reason = items == nullptr ? "has no such item" : "is locked; unlock it";
  library.drop_list(items);
  return answer;
}

KeyringAnswer search(const KeyringItem& item) {
  const Library& library = Library::get();
  if (!library.loaded())
    return {.reason = "cannot be reached (libsecret-1.so.0 is not installed)", .unreachable = true};
  std::string application = "sandkey";
  std::string profile = item.profile;
  std::string provider = item.provider;
  std::string part = item.part;
  GHashTable* const attributes = library.new_table(library.hash, library.equal);
  const auto set = [&](const char* name, std::string& value) {
    library.insert(attributes, const_cast<char*>(name), value.data());
  };
  set("application", application);
  set("profile", profile);
  set("provider", provider);
  set("part", part);
  GCancellable* const cancellable = library.new_cancellable();
  Watchdog watchdog(library, cancellable);
  GError* error = nullptr;
  // Without a flag to unlock nobody is asked for a password.
  GList* const items =
      library.search(nullptr, nullptr, attributes, kSearchAll | kSearchLoadSecrets, cancellable, &error);
  const bool late = watchdog.stop();
  library.drop_table(attributes);
  library.drop_object(cancellable);
  if (error != nullptr) {
    library.drop_error(error);
    return {.reason = late ? "did not answer in time" : "cannot be reached (no Secret Service answers)",
            .unreachable = true};
  }
  return first_unlocked(library, items);
}

class SecretService final : public Keyring {
 public:
  explicit SecretService(Environment environment) : environment_(std::move(environment)) {}

  KeyringAnswer lookup(const KeyringItem& item) override {
    if (std::string reason = no_bus(environment_); !reason.empty())
      return {.reason = std::move(reason), .unreachable = true};
    return search(item);
  }

 private:
  Environment environment_;
};

}  // namespace

std::shared_ptr<Keyring> desktop_keyring(Environment environment) {
  return std::make_shared<SecretService>(std::move(environment));
}

}  // namespace sandkey
