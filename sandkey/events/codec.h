// Events as JSON, exactly as OpenHands writes and reads them.
//
//   {"id":5,"timestamp":"2025-11-28T10:00:00.000000","source":"agent","message":"Running command: ls",
//    "action":"run","args":{"command":"ls",...},"timeout":120.0}
//   {"id":6,...,"message":"...","cause":5,"observation":"run","content":"...","extras":{...},"success":true}
//
// Header members that are not set are left out; `message` is derived, for people, and ignored when read.
#pragma once

#include "sandkey/base/json.h"
#include "sandkey/events/event.h"

#include <string>

namespace sandkey {

// Strings that are not valid UTF-8 get U+FFFD where they are not. Error(invalid_argument) if free-form
// members are nested so deeply that parse_json would refuse the result.
[[nodiscard]] json::object to_json(const Action& action);
[[nodiscard]] json::object to_json(const Observation& observation);
[[nodiscard]] json::object to_json(const Event& event);

// The same as one line of text.
[[nodiscard]] std::string serialize(const Action& action);
[[nodiscard]] std::string serialize(const Observation& observation);
[[nodiscard]] std::string serialize(const Event& event);

// Any JSON as one line of valid UTF-8, with numbers as people and Python write them (120.0, not 1.2E2).
[[nodiscard]] std::string write_json(const json::value& value);

// As tolerant as OpenHands, and no more. All throw Error(invalid_argument) that names the type and the member
// at fault, and never quotes a value.
//
// Actions: arguments unknown to the type are an error, and so are required ones that are missing (all of them
// are named). Unknown top-level keys are ignored. From older event streams: `keep_prompt`, `task_completed`
// and `translated_ipython_code` are dropped (the last together with a `command` of "view"), `is_confirmed` is
// `confirmation_state`, `images_urls` is `image_urls`, a `timestamp` among the arguments is the event's. A
// `security_risk` that is none is dropped. Null where there is a default means the default.
[[nodiscard]] Action parse_action(const json::value& value);

// Observations: as above for extras, but those of `run` may hold anything more, as may its metadata; the
// older `exit_code`, `command_id` and `formatted_output_and_error` are understood. Output of commands that
// are not hidden is truncated. `message` and `success` are derived, so what came is ignored.
[[nodiscard]] Observation parse_observation(const json::value& value);

// An action if there is an `action`, else an observation.
[[nodiscard]] Event parse_event(const json::value& value);

}  // namespace sandkey
