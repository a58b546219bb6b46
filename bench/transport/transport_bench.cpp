// One client, one way of calling, one row: transport_bench CLIENT IN_FLIGHT REQUESTS URL [CA_FILE]
//
//   curl      libcurl with nothing around it: one handle, or one for each in flight in a multi handle
//   sandkey   an account's transport (retry, authenticate) on HttpClient, on one io thread
//   observed  the same with a trace and a log
//   decoded   the same without, and each answer parsed as JSON and read
//   idle      REQUESTS idle clients with one kept connection each; their memory
//
// Prints JSON: requests per second, the process's CPU time and the latency of a request.
#include "sandkey/base/engine.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/net/http_client.h"
#include "sandkey/net/transport.h"

#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <curl/curl.h>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sandkey;
using Clock = std::chrono::steady_clock;

constexpr char kKey[] = "bench_0123456789abcdef";

struct Arguments {
  std::string client;
  int in_flight = 1;
  int requests = 0;
  std::string url;
  std::string ca_file;
};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double resident_kilobytes() {
  long pages = 0;
  long resident = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1024;
}

// Latencies of the timed part, and what it took.
class Measurement {
 public:
  explicit Measurement(int requests) { latencies_.reserve(static_cast<std::size_t>(requests)); }
  void begin() {
    latencies_.clear();
    cpu_ = cpu_seconds();
    began_ = Clock::now();
  }
  void add(Clock::time_point sent) { latencies_.push_back(Clock::now() - sent); }
  void print(const Arguments& arguments) {
    const double wall = std::chrono::duration<double>(Clock::now() - began_).count();
    const double cpu = cpu_seconds() - cpu_;
    const auto count = static_cast<double>(latencies_.size());
    std::sort(latencies_.begin(), latencies_.end());
    const auto at = [&](double share) {
      return std::chrono::duration<double, std::micro>(
                 latencies_[static_cast<std::size_t>(share * (count - 1))])
          .count();
    };
    std::printf(
        "{\"client\": \"%s\", \"in_flight\": %d, \"requests\": %.0f, \"per_second\": %.0f, "
        "\"cpu_us\": %.2f, \"p50_us\": %.0f, \"p99_us\": %.0f}\n",
        arguments.client.c_str(), arguments.in_flight, count, count / wall, cpu / count * 1e6, at(0.5),
        at(0.99));
  }

 private:
  std::vector<Clock::duration> latencies_;
  Clock::time_point began_;
  double cpu_ = 0;
};

int warm_up(const Arguments& arguments) {
  return std::max(500, arguments.in_flight * 4);
}

// --- libcurl ---

std::size_t keep(char* data, std::size_t, std::size_t size, void* body) {
  static_cast<std::string*>(body)->append(data, size);
  return size;
}

struct Handle {
  explicit Handle(const Arguments& arguments) : easy(curl_easy_init()) {
    headers = curl_slist_append(nullptr, (std::string("X-API-Key: ") + kKey).c_str());
    curl_easy_setopt(easy, CURLOPT_URL, arguments.url.c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &keep);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, static_cast<void*>(&body));
    curl_easy_setopt(easy, CURLOPT_PRIVATE, static_cast<void*>(this));
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (!arguments.ca_file.empty()) {
      curl_easy_setopt(easy, CURLOPT_CAINFO, arguments.ca_file.c_str());
      curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    }
  }
  ~Handle() {
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void check(CURLcode result) const {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (result != CURLE_OK || status != 200 || body.empty())
      throw std::runtime_error("libcurl: a request failed");
  }

  CURL* easy;
  curl_slist* headers;
  std::string body;
  Clock::time_point sent;
};

void curl_one_by_one(Handle& handle, int requests, Measurement& measurement) {
  for (int i = 0; i < requests; ++i) {
    handle.body.clear();
    const auto sent = Clock::now();
    handle.check(curl_easy_perform(handle.easy));
    measurement.add(sent);
  }
}

void curl_in_flight(CURLM* multi, std::vector<std::unique_ptr<Handle>>& handles, int requests,
                    Measurement& measurement) {
  int started = 0;
  int ended = 0;
  const auto start = [&](Handle& handle) {
    if (started == requests) return;
    ++started;
    handle.body.clear();
    handle.sent = Clock::now();
    curl_multi_add_handle(multi, handle.easy);
  };
  for (const auto& handle : handles) start(*handle);
  while (ended < requests) {
    int running = 0;
    curl_multi_perform(multi, &running);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      char* attached = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &attached);
      Handle& handle = *static_cast<Handle*>(static_cast<void*>(attached));
      handle.check(message->data.result);
      measurement.add(handle.sent);
      curl_multi_remove_handle(multi, handle.easy);
      ++ended;
      start(handle);
    }
    if (ended < requests) curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
  }
}

void bench_curl(const Arguments& arguments) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  Measurement measurement(arguments.requests);
  if (arguments.in_flight == 1) {
    Handle handle(arguments);
    curl_one_by_one(handle, warm_up(arguments), measurement);
    measurement.begin();
    curl_one_by_one(handle, arguments.requests, measurement);
  } else {
    CURLM* const multi = curl_multi_init();
    std::vector<std::unique_ptr<Handle>> handles;
    for (int i = 0; i < arguments.in_flight; ++i) handles.push_back(std::make_unique<Handle>(arguments));
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(arguments.in_flight));
    curl_in_flight(multi, handles, warm_up(arguments), measurement);
    measurement.begin();
    curl_in_flight(multi, handles, arguments.requests, measurement);
  }
  measurement.print(arguments);
}

// --- ours ---

CredentialSource key_source() {
  return [](bool) -> asio::awaitable<HttpHeaders> {
    HttpHeaders headers;
    headers.set("X-API-Key", Secret(kKey));
    co_return headers;
  };
}

std::shared_ptr<HttpTransport> make_transport(Engine& engine, const Arguments& arguments) {
  HttpClientOptions network;
  network.ca_file = arguments.ca_file;
  network.max_idle_connections = static_cast<std::size_t>(std::max(arguments.in_flight, 128));
  AccountTransportOptions options;
  options.endpoints.push_back(Endpoint::parse(origin_of(arguments.url)));
  options.credential = key_source();
  if (arguments.client == "observed") {
    options.request_id_header = "X-Request-Id";
    options.log = options.trace = [](const HttpRecord& record) {
      if (to_string(record).empty()) std::abort();
    };
  }
  return make_account_transport(engine, std::make_shared<HttpClient>(engine, std::move(network)),
                                std::move(options));
}

void check_sandbox(const json::object& sandbox) {
  const auto id = find_string(sandbox, sandbox.contains("sandboxID") ? "sandboxID" : "id");
  const auto state = find_string(sandbox, sandbox.contains("state") ? "state" : "status");
  if (!id || id->empty() || !state) throw std::runtime_error("the answer is not what it was");
}

// Reads what a sandbox, or a list of them, is asked for.
void decode(const std::string& body) {
  std::array<unsigned char, 16 * 1024> memory;
  json::monotonic_resource storage(memory.data(), memory.size());
  const json::value answer = parse_json(body, "the answer", &storage);
  if (answer.is_object()) return check_sandbox(answer.get_object());
  for (const json::value& item : answer.as_array()) check_sandbox(item.as_object());
}

asio::awaitable<void> worker(Engine* engine, HttpTransport* http, const Arguments* arguments, int* left,
                             Measurement* measurement) {
  const bool decoded = arguments->client == "decoded";
  while (*left > 0) {
    --*left;
    HttpRequest request;
    request.url = arguments->url;
    request.operation = "list sandboxes";
    request.deadline = engine->in(std::chrono::seconds(60));
    const auto sent = Clock::now();
    const HttpResponse response = co_await http->send(std::move(request));
    if (response.status != 200 || response.body.empty())
      throw std::runtime_error("sandkey: a request failed");
    if (decoded) decode(response.body);
    measurement->add(sent);
  }
}

asio::awaitable<void> requests(Engine* engine, HttpTransport* http, const Arguments* arguments, int count,
                               Measurement* measurement) {
  TaskGroup tasks(*engine, co_await asio::this_coro::executor);
  for (int i = 0; i < arguments->in_flight; ++i)
    tasks.spawn(worker(engine, http, arguments, &count, measurement));
  co_await tasks.join();
}

void bench_sandkey(const Arguments& arguments) {
  Engine engine;
  const auto http = make_transport(engine, arguments);
  Measurement measurement(arguments.requests);
  engine.wait(requests(&engine, http.get(), &arguments, warm_up(arguments), &measurement));
  measurement.begin();
  engine.wait(requests(&engine, http.get(), &arguments, arguments.requests, &measurement));
  measurement.print(arguments);
}

void bench_idle(const Arguments& arguments) {
  Engine engine;
  Measurement measurement(1);
  Arguments one = arguments;
  one.in_flight = 1;
  std::vector<std::shared_ptr<HttpTransport>> clients;
  const auto add = [&] {
    clients.push_back(make_transport(engine, one));
    engine.wait(requests(&engine, clients.back().get(), &one, 1, &measurement));
  };
  for (int i = 0; i < 10; ++i) add();
  const double before = resident_kilobytes();
  for (int i = 0; i < arguments.requests; ++i) add();
  std::printf("{\"client\": \"idle\", \"clients\": %d, \"kilobytes_each\": %.1f}\n", arguments.requests,
              (resident_kilobytes() - before) / arguments.requests);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::fputs("usage: transport_bench curl|sandkey|observed|decoded|idle IN_FLIGHT REQUESTS URL [CA_FILE]\n",
               stderr);
    return 2;
  }
  Arguments arguments;
  arguments.client = argv[1];
  arguments.in_flight = std::atoi(argv[2]);
  arguments.requests = std::atoi(argv[3]);
  arguments.url = argv[4];
  if (argc == 6) arguments.ca_file = argv[5];
  try {
    if (arguments.client == "curl") {
      bench_curl(arguments);
    } else if (arguments.client == "idle") {
      bench_idle(arguments);
    } else {
      bench_sandkey(arguments);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "transport_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
