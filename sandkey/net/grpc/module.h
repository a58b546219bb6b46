// What a gRPC module and the program that loads it have in common: a table of functions, in C's terms.
//
// gRPC and protobuf with what they need are thirty libraries and take tens of milliseconds to load. Only a
// provider that speaks gRPC needs them, so they stay in a module, `libsandkey-NAME.so`, that the provider's
// folder builds (sandkey_grpc_module() in cmake/grpc.cmake) and GrpcChannel loads. The module holds nothing
// of ours but module.cpp and the descriptions of the messages, and needs nothing of the program: no type,
// exception or singleton crosses the border, so it does not matter how the program was linked.
//
// A message crosses it as JSON (protobuf's own mapping, with the names as they stand in the .proto), except
// for a field `data` of type bytes, which goes beside it as it is.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sandkey::grpc_module {

// Of this interface. A module of another version is not used.
inline constexpr std::uint32_t kVersion = 1;
inline constexpr char kEntrySymbol[] = "sandkey_grpc_module";

// Not ended by NUL. Valid during the call that it is given to.
struct Text {
  const char* bytes;
  std::size_t size;
};

struct Header {
  Text name;
  Text value;
};

struct Destination {
  Text target;             // HOST:PORT of the server, or "unix:/path"
  Text proxy;              // HOST:PORT of a proxy that is asked to CONNECT there; empty: none
  Text proxy_header;       // "Name:value" for it; empty: none
  Text user_agent;         // begins the header of that name
  Text roots;              // certificates to trust, as PEM; for encrypted ones only
  Text details;            // the message's name, "package.Name", that an error's details are
  std::uint8_t encrypted;  // else HTTP/2 in the clear
};

struct Request {
  Text method;  // "/package.Service/Method"; one request, one reply or many
  Text json;
  Text data;
  const Header* headers;
  std::size_t header_count;
  std::int64_t timeout_us;  // negative: none
};

// How a call ended.
struct Ending {
  std::int32_t status;  // gRPC's, 0 is success; or kMalformed
  Text message;
  Text details;  // JSON; empty if there are none
  const Header* trailers;
  std::size_t trailer_count;
};
inline constexpr std::int32_t kMalformed = -1;  // a reply that is not the message it should be

// Called on threads of the module's, one at a time for each call.
struct Listener {
  void* self;
  void (*on_message)(void* self, Text json, Text data);  // once for each read(), unless the call ends
  void (*on_end)(void* self, const Ending* ending);      // once, last
};

struct Channel;
struct Call;

struct Functions {
  std::uint32_t version;
  // Connects when it is first used.
  Channel* (*open)(const Destination* destination);
  void (*close)(Channel* channel);
  // Null where the request is not what the method takes; `complain` is told why, and the listener nothing.
  Call* (*start)(Channel* channel, const Request* request, Listener listener, void* complaint,
                 void (*complain)(void* complaint, Text text));
  // Asks for the next message. Not while one is asked for, nor after the end.
  void (*read)(Call* call);
  // The call is of no interest any more: it is broken off if it has not ended. The listener is still told its
  // end. Nothing may be asked of it after this.
  void (*release)(Call* call);
};

}  // namespace sandkey::grpc_module
