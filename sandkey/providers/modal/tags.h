// Our labels as Modal's tags, whose names and values have 63 of [A-Za-z0-9-_.] at most.
//
// Letters, digits, '-' and '_' stand for themselves, and .XX for any other byte. What is longer than one tag
// goes on in NAME.1, NAME.2 and so on; so a whole text, however long, can be filtered by.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/runtime/session_labels.h"

#include <map>
#include <string>

namespace sandkey::modal {

[[nodiscard]] std::map<std::string, std::string> to_tags(const Labels& labels);
// Of any sandbox: what is no label of this form is taken as it is.
[[nodiscard]] Labels labels_of(const std::map<std::string, std::string>& tags);

// The same as they travel: [{"tag_name": ..., "tag_value": ...}].
[[nodiscard]] json::array to_json(const std::map<std::string, std::string>& tags);
[[nodiscard]] std::map<std::string, std::string> tags_in(const json::object& message);

}  // namespace sandkey::modal
