// The inside of a gRPC module; see module.h. Nothing in here is linked with the rest of Sandkey.
#include "sandkey/net/grpc/module.h"

#include <chrono>
#include <cstdlib>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/json_util.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/channel_arguments.h>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

// The descriptions of all messages, a google.protobuf.FileDescriptorSet, which the build embeds.
asm(".section .rodata\n"
    "sandkey_wire_begin:\n"
    ".incbin \"" SANDKEY_WIRE_FILE
    "\"\n"
    "sandkey_wire_end:\n"
    ".previous\n");
extern const char wire_begin[] asm("sandkey_wire_begin");
extern const char wire_end[] asm("sandkey_wire_end");

namespace sandkey::grpc_module {
namespace {

namespace pb = google::protobuf;

constexpr int kMaxMessage = 100 << 20;
constexpr int kKeepaliveTime = 30'000;  // milliseconds
constexpr int kKeepaliveTimeout = 10'000;
constexpr int kFirstReconnect = 100;
// What gRPC itself sets where it finds a proxy in the process's environment, which we do not let it read.
constexpr char kConnectServer[] = "grpc.http_connect_server";
constexpr char kConnectHeaders[] = "grpc.http_connect_headers";

std::string_view view(Text text) {
  return {text.bytes, text.size};
}
std::string copy(Text text) {
  return {text.bytes, text.size};
}
Text text_of(std::string_view text) {
  return {text.data(), text.size()};
}

// In a pool of its own: the program may know messages of these names, too, and protobuf allows that once
// only.
class Schema {
 public:
  Schema() : factory_(&pool_) {
    pb::FileDescriptorSet files;
    const auto size = static_cast<std::size_t>(wire_end - wire_begin);
    if (!files.ParseFromArray(wire_begin, static_cast<int>(size))) return;
    for (const pb::FileDescriptorProto& file : files.file()) pool_.BuildFile(file);
  }

  // Null where there is none.
  [[nodiscard]] const pb::MethodDescriptor* method(std::string_view path) const {
    if (path.empty() || path.front() != '/') return nullptr;
    std::string name(path.substr(1));
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos) return nullptr;
    name[slash] = '.';
    return pool_.FindMethodByName(name);
  }
  [[nodiscard]] const pb::Descriptor* message(std::string_view name) const {
    return pool_.FindMessageTypeByName(std::string(name));
  }
  [[nodiscard]] std::unique_ptr<pb::Message> make(const pb::Descriptor* type) {
    return std::unique_ptr<pb::Message>(factory_.GetPrototype(type)->New());
  }

 private:
  pb::DescriptorPool pool_;
  pb::DynamicMessageFactory factory_;
};

Schema& schema() {
  static auto* const schema = new Schema;  // for good: threads of gRPC's may outlive main()
  return *schema;
}

// The field that does not travel as JSON.
const pb::FieldDescriptor* data_field(const pb::Descriptor* type) {
  const pb::FieldDescriptor* field = type->FindFieldByName("data");
  const bool fits =
      field != nullptr && field->type() == pb::FieldDescriptor::TYPE_BYTES && !field->is_repeated();
  return fits ? field : nullptr;
}

std::string to_json(const pb::Message& message) {
  if (message.ByteSizeLong() == 0) return "{}";
  pb::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_enums_as_ints = true;  // values we do not know come as numbers anyway
  std::string json;
  const auto status = pb::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  return json;
}

grpc::ByteBuffer to_buffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// Throws where the JSON does not fit the type.
grpc::ByteBuffer encode(const pb::Descriptor* type, const Request& request) {
  const std::unique_ptr<pb::Message> message = schema().make(type);
  const auto status = pb::util::JsonStringToMessage(copy(request.json), message.get());
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  if (request.data.size != 0) {
    const pb::FieldDescriptor* field = data_field(type);
    if (field == nullptr) throw std::runtime_error(type->full_name() + " has no data");
    message->GetReflection()->SetString(message.get(), field, copy(request.data));
  }
  return to_buffer(message->SerializeAsString());
}

struct Decoded {
  std::string json;
  std::string data;
};

// Throws for bytes that are none of this type.
Decoded decode(const pb::Descriptor* type, const std::string& bytes) {
  const std::unique_ptr<pb::Message> message = schema().make(type);
  if (!message->ParseFromString(bytes)) throw std::runtime_error("the bytes are no " + type->full_name());
  Decoded decoded;
  if (const pb::FieldDescriptor* field = data_field(type)) {
    decoded.data = message->GetReflection()->GetString(*message, field);
    message->GetReflection()->ClearField(message.get(), field);
  }
  decoded.json = to_json(*message);
  return decoded;
}

std::string joined(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) throw std::runtime_error("the bytes cannot be read");
  std::string bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

// "host" of "host:port" and "[::1]:port".
std::string host_of(const std::string& target) {
  std::string host = target.substr(0, target.rfind(':'));
  if (host.size() >= 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

std::shared_ptr<grpc::Channel> connect(const Destination& to) {
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix(copy(to.user_agent));
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  arguments.SetMaxSendMessageSize(kMaxMessage);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTime);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeout);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnect);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kFirstReconnect);
  // Who repeats what is decided outside, and so is which proxy there is.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Two channels to one server are two accounts, or two sandboxes.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  std::string target = copy(to.target);
  if (to.proxy.size != 0) {
    arguments.SetString(kConnectServer, target);
    if (to.proxy_header.size != 0) arguments.SetString(kConnectHeaders, copy(to.proxy_header));
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, target);
    if (to.encrypted != 0) arguments.SetSslTargetNameOverride(host_of(target));
    target = copy(to.proxy);
  }
  if (to.encrypted == 0)
    return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = copy(to.roots);
  return grpc::CreateCustomChannel(target, grpc::SslCredentials(tls), arguments);
}

}  // namespace

struct Channel {
  explicit Channel(const Destination& to) : details(schema().message(view(to.details))), stub(connect(to)) {}
  const pb::Descriptor* const details;  // null: they are not read
  grpc::GenericStub stub;
};

namespace {

// Where gRPC tells what has happened, and the thread that hears it. For good: gRPC's own queues for
// callbacks, which come and go with the channels, do not survive that in version 1.51.
class Events {
 public:
  Events() {
    std::thread([this] { listen(); }).detach();
  }
  [[nodiscard]] grpc::CompletionQueue& queue() { return queue_; }

 private:
  void listen();
  grpc::CompletionQueue queue_;
};

Events& events() {
  static auto* const events = new Events;
  return *events;
}

}  // namespace

// Held by the program until it is released, and by each event that is to come.
struct Call {
  // One for each kind of event, of which there is one at a time.
  struct Event {
    Call* call;
    void (Call::*happened)(bool ok);
  };

  Call(Channel& channel, const pb::MethodDescriptor* the_method, const Request& request,
       Listener the_listener)
      : method(the_method),
        details(channel.details),
        listener(the_listener),
        sent(encode(method->input_type(), request)) {
    for (std::size_t i = 0; i < request.header_count; ++i) {
      context.AddMetadata(copy(request.headers[i].name), copy(request.headers[i].value));
    }
    if (request.timeout_us >= 0) {
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::microseconds(request.timeout_us));
    }
    stream = channel.stub.PrepareCall(&context, copy(request.method), &events().queue());
    const std::lock_guard lock(mutex);
    ++holders;
    stream->StartCall(&started);
  }

  void read() {
    const std::lock_guard lock(mutex);
    wants_message = true;
    go_on();
  }

  void release() {
    context.TryCancel();
    {
      const std::lock_guard lock(mutex);
      is_released = true;
      wants_end = true;
      go_on();
    }
    let_go();
  }

  // With the mutex held: begins what can be begun.
  void go_on() {
    if (!has_started || is_reading || is_ending) return;
    if (wants_end) {
      is_ending = true;
      ++holders;
      stream->Finish(&status, &ended);
    } else if (wants_message) {
      wants_message = false;
      is_reading = true;
      ++holders;
      stream->Read(&received, &has_read);
    }
  }

  void on_started(bool ok) {
    const std::lock_guard lock(mutex);
    has_started = true;
    if (ok && !is_released) {
      ++holders;
      stream->WriteLast(sent, {}, &has_written);
    } else {
      wants_end = true;
    }
    go_on();
  }

  void on_written(bool) {}  // what failed, the end tells

  void on_read(bool ok) {
    std::optional<Decoded> decoded;
    if (ok) {
      try {
        decoded = decode(method->output_type(), joined(received));
      } catch (const std::exception&) {
        malformed = true;
        context.TryCancel();
      }
    }
    bool is_wanted = false;
    {
      const std::lock_guard lock(mutex);
      is_reading = false;
      if (!decoded) wants_end = true;
      is_wanted = !is_released;
      go_on();
    }
    if (decoded && is_wanted)
      listener.on_message(listener.self, text_of(decoded->json), text_of(decoded->data));
  }

  void on_ended(bool) {
    std::vector<Header> trailers;
    for (const auto& [name, value] : context.GetServerTrailingMetadata()) {
      trailers.push_back({{name.data(), name.size()}, {value.data(), value.size()}});
    }
    const std::string told = status.error_message();
    const std::string more = status.ok() ? std::string() : details_of(status);
    const Ending ending{.status = malformed ? kMalformed : static_cast<std::int32_t>(status.error_code()),
                        .message = text_of(told),
                        .details = text_of(more),
                        .trailers = trailers.data(),
                        .trailer_count = trailers.size()};
    listener.on_end(listener.self, &ending);
  }

  void let_go() {
    {
      const std::lock_guard lock(mutex);
      if (--holders != 0) return;
    }
    delete this;
  }

  [[nodiscard]] std::string details_of(const grpc::Status& error) const {
    if (details == nullptr || error.error_details().empty()) return {};
    try {
      return decode(details, error.error_details()).json;
    } catch (const std::exception&) {
      return {};  // of another kind
    }
  }

  const pb::MethodDescriptor* const method;
  const pb::Descriptor* const details;
  const Listener listener;
  const grpc::ByteBuffer sent;
  grpc::ByteBuffer received;
  grpc::ClientContext context;
  grpc::Status status;
  bool malformed = false;  // used by events only
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;

  Event started{this, &Call::on_started};
  Event has_written{this, &Call::on_written};
  Event has_read{this, &Call::on_read};
  Event ended{this, &Call::on_ended};

  std::mutex mutex;
  // Guarded by mutex.
  int holders = 1;
  bool has_started = false;
  bool wants_message = false;
  bool wants_end = false;
  bool is_reading = false;
  bool is_ending = false;
  bool is_released = false;
};

namespace {

void Events::listen() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    const auto* const event = static_cast<Call::Event*>(tag);
    Call* const call = event->call;
    (call->*event->happened)(ok);
    call->let_go();
  }
}

}  // namespace

namespace {

Channel* open(const Destination* destination) {
  return new Channel(*destination);
}

void close(Channel* channel) {
  delete channel;
}

Call* start(Channel* channel, const Request* request, Listener listener, void* complaint,
            void (*complain)(void* complaint, Text text)) {
  try {
    const pb::MethodDescriptor* method = schema().method(view(request->method));
    if (method == nullptr) throw std::runtime_error("there is no " + copy(request->method));
    return new Call(*channel, method, *request, listener);
  } catch (const std::exception& error) {
    complain(complaint, text_of(error.what()));
    return nullptr;
  }
}

void read(Call* call) {
  call->read();
}

void release(Call* call) {
  call->release();
}

constexpr Functions kFunctions{kVersion, &open, &close, &start, &read, &release};

}  // namespace
}  // namespace sandkey::grpc_module

extern "C" __attribute__((visibility("default"))) const sandkey::grpc_module::Functions*
sandkey_grpc_module() {
  // What gRPC has to say goes to the standard error of whatever program this is; the statuses say it, too.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) {  // NOLINT(concurrency-mt-unsafe): as gRPC itself reads it
    gpr_set_log_function([](gpr_log_func_args*) {});
  }
  // For good. Else it would be taken down with the last channel, by whatever thread lets go of that, and set
  // up again with the next.
  static const bool ready = (grpc_init(), true);
  return ready ? &sandkey::grpc_module::kFunctions : nullptr;
}
