// Reading what a REST API answered, and finding out whether it did.
#pragma once

#include "sandkey/base/error.h"
#include "sandkey/base/json.h"

#include <map>
#include <string>
#include <string_view>

namespace sandkey {

// Error(protocol): the answer is not what this API answers. `what` quotes nothing of it.
[[noreturn]] void malformed_answer(std::string_view provider, const std::string& operation,
                                   const std::string& what);
// The body as an object; else malformed_answer().
[[nodiscard]] const json::object& object_of(const json::value& body, std::string_view provider,
                                            const std::string& operation);

// Empty if there is none, or it is no text.
[[nodiscard]] std::string text_of(const json::object& object, std::string_view key);
// The texts of an object of texts; what else is in it is left out.
[[nodiscard]] std::map<std::string, std::string> texts_of(const json::object& object, std::string_view key);
[[nodiscard]] json::object to_object(const std::map<std::string, std::string>& texts);

// Whether a request that failed so may have been carried out all the same.
[[nodiscard]] bool may_have_happened(const Error& error) noexcept;

}  // namespace sandkey
