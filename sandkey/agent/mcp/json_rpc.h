// What JSON-RPC 2.0 calls an error, as an exception, with the codes MCP uses.
#pragma once

#include "sandkey/base/json.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace sandkey::agent {

namespace rpc {
inline constexpr int kInvalidRequest = -32600;
inline constexpr int kMethodNotFound = -32601;
inline constexpr int kInvalidParams = -32602;
inline constexpr int kInternalError = -32603;
inline constexpr int kServerUnavailable = -32000;  // MCP: the connection to it is closed
inline constexpr int kTimeout = -32001;            // MCP: no answer in time
}  // namespace rpc

class JsonRpcError : public std::runtime_error {
 public:
  JsonRpcError(int code, const std::string& message) : JsonRpcError(make(code, message), message) {}
  // The error object another side answered, to be passed on as it is.
  explicit JsonRpcError(json::object error)
      : JsonRpcError(std::move(error), "the other side answered an error") {}

  [[nodiscard]] const json::object& object() const noexcept { return object_; }

 private:
  JsonRpcError(json::object object, const std::string& text)
      : std::runtime_error(text), object_(std::move(object)) {}

  static json::object make(int code, const std::string& message) {
    json::object error;
    error["code"] = code;
    error["message"] = message;
    return error;
  }

  json::object object_;
};

}  // namespace sandkey::agent
