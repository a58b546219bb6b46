// What a client and a sandbox's keeper say to each other: a request in a memory file when the keeper is
// started and one line of JSON as its answer; later one line each way on the control socket.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"
#include "sandkey/sandbox/sandbox.h"

#include <string>
#include <string_view>

namespace sandkey::sandbox {

// The keeper's descriptors when it is started.
inline constexpr int kRequestFd = 3;
// One of a pair of sockets. The other is held by the client, which writes one byte when it has heard that the
// sandbox is ready. At the end of this stream before that byte the sandbox ends, and after it if it is bound
// to its client.
inline constexpr int kLifelineFd = 4;
inline constexpr int kAnswerFd = 5;

// In the folder of a sandbox.
inline constexpr const char* kControlSocket = "control";
inline constexpr const char* kAgentSocket = "agent";
// The name of its control group; left behind only by a keeper that was killed.
inline constexpr const char* kGroupFile = "group";
// Folders being made are called this and something random.
inline constexpr std::string_view kUnfinishedPrefix = ".new-";

inline constexpr std::size_t kMaxControlLine = 4096;
inline constexpr std::size_t kMaxReplyLine = 1024 * 1024;

struct KeeperRequest {
  Spec spec = {};  // checked and complete
  std::string folder = {};
  std::string bubblewrap = {};
};

[[nodiscard]] std::string to_json(const KeeperRequest& request);
[[nodiscard]] KeeperRequest request_from_json(std::string_view text);

[[nodiscard]] json::object to_json(const Status& status);
[[nodiscard]] Status status_from_json(const json::object& object);

// {"error": {...}}
[[nodiscard]] json::object to_json(const Error& error);
// Throws the error that the reply holds, if it holds one.
void throw_if_error(const json::object& reply);

[[nodiscard]] bool is_valid_id(std::string_view id) noexcept;

}  // namespace sandkey::sandbox
