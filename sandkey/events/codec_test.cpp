#include "sandkey/events/codec.h"

#include "sandkey/base/error.h"
#include "sandkey/base/utf8.h"
#include "sandkey/events/test_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

namespace sandkey {
namespace {

using testing::HasSubstr;
using testing::Not;

Event parse(std::string_view text) {
  return parse_event(parse_json(text, "test"));
}
Action action(std::string_view text) {
  return parse_action(parse_json(text, "test"));
}
Observation observation(std::string_view text) {
  return parse_observation(parse_json(text, "test"));
}

std::string refusal(std::string_view text) {
  try {
    (void)parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "accepted";
}

// The texts below are what openhands-ai 0.62 writes, but for the spaces.

TEST(Serialize, ActionsAsOpenHandsDoes) {
  Action run(CmdRunAction{.command = "ls"}, 120);
  run.id = 5;
  run.timestamp = "2025-11-28T00:00:00.000001";
  run.source = EventSource::agent;
  EXPECT_EQ(
      serialize(run),
      R"({"id":5,"timestamp":"2025-11-28T00:00:00.000001","source":"agent","message":"Running command: ls",)"
      R"("action":"run","args":{"command":"ls","is_input":false,"thought":"","blocking":false,)"
      R"("is_static":false,"cwd":null,"hidden":false,"confirmation_state":"confirmed","security_risk":-1},)"
      R"("timeout":120.0})");
  EXPECT_EQ(serialize(Action(IPythonRunCellAction{.code = "X"})),
            R"({"message":"Running Python code interactively: X","action":"run_ipython","args":{"code":"X",)"
            R"("thought":"","include_extra":true,"confirmation_state":"confirmed","security_risk":-1,)"
            R"("kernel_init_code":""}})");
  EXPECT_EQ(
      serialize(Action(FileReadAction{.path = "P"})),
      R"({"message":"Reading file: P","action":"read","args":{"path":"P","start":0,"end":-1,"thought":"",)"
      R"("security_risk":-1,"impl_source":"default","view_range":null}})");
  EXPECT_EQ(
      serialize(Action(FileWriteAction{.path = "P", .content = "T"})),
      R"({"message":"Writing file: P","action":"write","args":{"path":"P","content":"T","start":0,"end":-1,)"
      R"("thought":"","security_risk":-1}})");
  EXPECT_EQ(
      serialize(Action(FileEditAction{.path = "P"})),
      R"({"message":"","action":"edit","args":{"path":"P","command":"","file_text":null,"old_str":null,)"
      R"("new_str":null,"insert_line":null,"content":"","start":1,"end":-1,"thought":"","security_risk":-1,)"
      R"("impl_source":"oh_aci"}})");
  EXPECT_EQ(
      serialize(
          Action(MCPAction{.name = "N", .arguments = {{"a", "it's"}, {"b", json::array{1, true, nullptr}}}})),
      R"({"message":"I am interacting with the MCP server with name:\n```\nN\n```\nand arguments:\n```\n)"
      R"({'a': \"it's\", 'b': [1, True, None]}\n```","action":"call_tool_mcp","args":{"name":"N",)"
      R"("arguments":{"a":"it's","b":[1,true,null]},"thought":"","security_risk":-1}})");
  EXPECT_EQ(
      serialize(Action(CondensationAction{.forgotten_events_start_id = 1, .forgotten_events_end_id = 2})),
      R"({"message":"Condenser is dropping the events: [1, 2].","action":"condensation","args":)"
      R"({"forgotten_event_ids":null,"forgotten_events_start_id":1,"forgotten_events_end_id":2,)"
      R"("summary":null,"summary_offset":null}})");
  EXPECT_EQ(serialize(Action()), R"({"message":"No action","action":"null","args":{}})");
}

TEST(Serialize, ObservationsAsOpenHandsDoes) {
  Observation run(
      "hi", CmdOutputObservation{.command = "echo hi",
                                 .metadata = {.exit_code = 0,
                                              .username = "openhands",
                                              .hostname = "box",
                                              .working_dir = "/workspace",
                                              .py_interpreter_path = "/usr/bin/python",
                                              .suffix = "\n[The command completed with exit code 0.]"}});
  run.cause = 5;
  EXPECT_EQ(serialize(run),
            R"({"message":"Command `echo hi` executed with exit code 0.","cause":5,"observation":"run",)"
            R"("content":"hi","extras":{"command":"echo hi","metadata":{"exit_code":0,"pid":-1,)"
            R"("username":"openhands","hostname":"box","working_dir":"/workspace",)"
            R"("py_interpreter_path":"/usr/bin/python","prefix":"",)"
            R"("suffix":"\n[The command completed with exit code 0.]"},"hidden":false},"success":true})");
  EXPECT_EQ(serialize(Observation("1", IPythonRunCellObservation{.code = "X"})),
            R"({"message":"Code executed in IPython cell.","observation":"run_ipython","content":"1",)"
            R"("extras":{"code":"X","image_urls":null},"success":true})");
  EXPECT_EQ(serialize(Observation("text", FileReadObservation{.path = "P"})),
            R"({"message":"I read the file P.","observation":"read","content":"text",)"
            R"("extras":{"path":"P","impl_source":"default"}})");
  EXPECT_EQ(
      serialize(Observation("", FileWriteObservation{.path = "P"})),
      R"({"message":"I wrote to the file P.","observation":"write","content":"","extras":{"path":"P"}})");
  EXPECT_EQ(serialize(Observation(
                "text", FileEditObservation{.path = "P", .impl_source = FileEditSource::oh_aci, .diff = ""})),
            R"({"message":"I edited the file P.","observation":"edit","content":"text","extras":{"path":"P",)"
            R"("prev_exist":false,"old_content":null,"new_content":null,"impl_source":"oh_aci","diff":"",)"
            R"("_diff_cache":null}})");
  EXPECT_EQ(serialize(Observation("E", ErrorObservation{})),
            R"({"message":"E","observation":"error","content":"E","extras":{"error_id":""}})");
  EXPECT_EQ(serialize(Observation()),
            R"({"message":"No observation","observation":"null","content":"","extras":{}})");
}

TEST(Serialize, DerivesTheMessage) {
  const auto message = [](const auto& event) { return std::string(*find_string(to_json(event), "message")); };
  EXPECT_EQ(message(Action(AgentFinishAction{})), "All done! What's next on the agenda?");
  EXPECT_EQ(message(Action(AgentFinishAction{.thought = "T"})), "T");
  EXPECT_EQ(message(Action(AgentRejectAction{.outputs = {{"reason", "no"}}})),
            "Task is rejected by the agent. Reason: no");
  EXPECT_EQ(message(Action(RecallAction{.query = std::string(49, 'q') + "äöü"})),
            "Retrieving content for: " + std::string(49, 'q') + "ä");
  EXPECT_EQ(message(Action(TaskTrackingAction{})), "Clearing the task list.");
  EXPECT_EQ(message(Action(TaskTrackingAction{.task_list = {1}})), "Managing 1 task item.");
  EXPECT_EQ(message(Action(TaskTrackingAction{.task_list = {1, 2}})), "Managing 2 task items.");
  EXPECT_EQ(message(Action(CondensationAction{
                .forgotten_event_ids = std::vector<std::int64_t>{}, .summary = "S", .summary_offset = 0})),
            "Summary: S");
  // A hostile range is not listed.
  EXPECT_EQ(message(Action(
                CondensationAction{.forgotten_events_start_id = std::numeric_limits<std::int64_t>::min(),
                                   .forgotten_events_end_id = std::numeric_limits<std::int64_t>::max()})),
            "Condenser is dropping the events: [-9223372036854775808, ..., 9223372036854775807].");
  EXPECT_EQ(message(Observation("x", RecallObservation{})), "Added workspace context");
  EXPECT_EQ(message(Observation("x", BrowserOutputObservation{.url = "U"})), "Visited U");
  EXPECT_EQ(message(Observation("x", SuccessObservation{})), "x");
  EXPECT_EQ(message(Observation("x", LoopDetectionObservation{})), "");
}

TEST(Serialize, IsValidUtf8WhateverTheMembersHold) {
  Observation bad("a\xFF", MCPObservation{.name = "\x80", .arguments = {{"k\xC3", json::array{"\xE2\x82"}}}});
  bad.tool_call_metadata = json::object{{"x", "\xFE"}};
  const std::string text = serialize(bad);
  EXPECT_TRUE(utf8::is_valid(text)) << text;
  EXPECT_EQ(std::get<Observation>(parse(text)).content, "a\xEF\xBF\xBD");
  EXPECT_TRUE(utf8::is_valid(serialize(Action(MCPAction{.name = "\xFF", .arguments = {{"\xFF", "\xFF"}}}))));
}

TEST(Serialize, RefusesNestingThatCouldNotBeReadBack) {
  const auto nested = [](std::size_t depth) {
    json::value value = 1;
    for (std::size_t i = 0; i < depth; ++i) value = json::object{{"k", std::move(value)}};
    return Action(MCPAction{.name = "N", .arguments = value.get_object()});
  };
  EXPECT_NO_THROW((void)parse(serialize(nested(kMaxJsonDepth - 2))));
  EXPECT_THROW((void)serialize(nested(kMaxJsonDepth - 1)), Error);
}

TEST(WriteJson, WritesNumbersAsPythonDoes) {
  const auto written = [](double number) { return write_json(number); };
  EXPECT_EQ(written(120), "120.0");
  EXPECT_EQ(written(0), "0.0");
  EXPECT_EQ(written(-0.5), "-0.5");
  EXPECT_EQ(written(0.1), "0.1");
  EXPECT_EQ(written(1e5), "100000.0");
  EXPECT_EQ(written(123456789012345.0), "123456789012345.0");
  EXPECT_EQ(written(1e16), "1e+16");
  EXPECT_EQ(written(0.0001), "0.0001");
  EXPECT_EQ(written(0.00001), "1e-05");
  EXPECT_EQ(written(1.7976931348623157e308), "1.7976931348623157e+308");
  EXPECT_EQ(written(std::numeric_limits<double>::infinity()), "1e999");
  EXPECT_EQ(written(-std::numeric_limits<double>::infinity()), "-1e999");
  EXPECT_EQ(written(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(write_json(parse_json("[1e999,-0.0]", "x")), "[1e999,-0.0]");
  EXPECT_EQ(write_json(
                parse_json(R"({"a":[],"b":{},"c":[1,18446744073709551615,true,null,"\u0001\n\"\\é"]})", "x")),
            R"({"a":[],"b":{},"c":[1,18446744073709551615,true,null,"\u0001\n\"\\é"]})");
}

TEST(RoundTrip, NumbersBoostCannotReadBecomeNull) {
  const std::string once = serialize(
      parse(R"({"action":"call_tool_mcp","args":{"name":"n","arguments":{"a":0e999}},"llm_metrics":0e999})"));
  EXPECT_EQ(serialize(parse(once)), once);
}

TEST(RoundTrip, EveryTypeWithEveryMemberSet) {
  std::set<std::size_t> seen;
  for (Action original : events_test::every_action()) {
    seen.insert(original.body.index());
    original.id = 3;
    original.timestamp = "2025-11-28T10:00:00.000000";
    original.source = EventSource::user;
    original.cause = 2;
    original.tool_call_metadata = parse_json(R"({"function_name":"f","model_response":{"x":[1.5]}})", "x");
    original.llm_metrics = parse_json(R"({"accumulated_cost":0.25})", "x");
    const Event back = parse(serialize(original));
    EXPECT_EQ(std::get<Action>(back), original) << serialize(original);
    EXPECT_EQ(serialize(back), serialize(original));
  }
  EXPECT_EQ(seen.size(), std::variant_size_v<ActionBody>);
  seen.clear();
  for (Observation original : events_test::every_observation()) {
    seen.insert(original.body.index());
    original.source = EventSource::environment;
    const Event back = parse(serialize(original));
    EXPECT_EQ(std::get<Observation>(back), original) << serialize(original);
    EXPECT_EQ(serialize(back), serialize(original));
  }
  EXPECT_EQ(seen.size(), std::variant_size_v<ObservationBody>);
}

TEST(ParseAction, NeedsNoMoreThanItsRequiredArguments) {
  EXPECT_EQ(action(R"({"action":"run","args":{"command":"ls"}})"), Action(CmdRunAction{.command = "ls"}));
  EXPECT_EQ(action(R"({"action":"null"})"), Action());
  EXPECT_EQ(action(R"({"action":"think","args":{}})"), Action(AgentThinkAction{}));
  EXPECT_EQ(action(R"({"action":"think","args":{"thought":null},"timeout":null})"),
            Action(AgentThinkAction{}));
  EXPECT_EQ(action(R"({"action":"null","timeout":7})").timeout, 7.0);
}

TEST(ParseAction, IgnoresUnknownTopLevelMembersAndAnyMessage) {
  EXPECT_EQ(action(R"({"action":"null","args":{},"message":5,"token":"x","success":1,"content":{}})"),
            Action());
}

TEST(ParseAction, UnderstandsOlderStreams) {
  const Action confirmed = action(R"({"action":"run","args":{"command":"ls","is_confirmed":"rejected",
      "keep_prompt":true,"task_completed":"partial","timestamp":"2024-01-01T00:00:00"}})");
  EXPECT_EQ(confirmed.confirmation_state(), ActionConfirmationStatus::rejected);
  EXPECT_EQ(confirmed.timestamp, "2024-01-01T00:00:00");
  EXPECT_EQ(action(R"({"action":"null","timestamp":"T","args":{"timestamp":"2024"}})").timestamp, "T");
  EXPECT_EQ(action(R"({"action":"run","args":{"command":"ls","is_confirmed":null}})").confirmation_state(),
            ActionConfirmationStatus::confirmed);
  EXPECT_EQ(action(R"({"action":"message","args":{"content":"x","images_urls":["u"]}})")
                .as<MessageAction>()
                ->image_urls->front(),
            "u");
  EXPECT_EQ(action(R"json({"action":"read","args":{"path":"/a","command":"view",
      "translated_ipython_code":"print(file_editor(**{'command':'view'}))"}})json"),
            Action(FileReadAction{.path = "/a"}));
  EXPECT_EQ(
      action(R"({"action":"edit","args":{"path":"/a","command":"create","translated_ipython_code":null}})"),
      Action(FileEditAction{.path = "/a", .command = "create"}));
}

TEST(ParseAction, DropsASecurityRiskThatIsNone) {
  const auto risk = [](const std::string& value) {
    return action(R"({"action":"run","args":{"command":"ls","security_risk":)" + value + "}}")
        .as<CmdRunAction>()
        ->security_risk;
  };
  EXPECT_EQ(risk("2"), ActionSecurityRisk::high);
  EXPECT_EQ(risk("-1"), ActionSecurityRisk::unknown);
  EXPECT_EQ(risk("1.0"), ActionSecurityRisk::medium);
  for (const char* none : {"3", "-2", "1.5", "\"HIGH\"", "[]", "null", "1e300"}) {
    EXPECT_EQ(risk(none), ActionSecurityRisk::unknown) << none;
  }
  // Also where there is no such argument, but only then.
  EXPECT_EQ(action(R"({"action":"think","args":{"security_risk":"HIGH"}})"), Action(AgentThinkAction{}));
  EXPECT_THAT(refusal(R"({"action":"think","args":{"security_risk":1}})"), HasSubstr("'security_risk'"));
}

TEST(ParseAction, KeepsLineNumbersAsTheyCame) {
  const auto line = [](const std::string& value) {
    return action(R"({"action":"edit","args":{"path":"/a","insert_line":)" + value + "}}")
        .as<FileEditAction>()
        ->insert_line;
  };
  EXPECT_EQ(line("3"), LineArgument(3));
  EXPECT_EQ(line("\"3\""), LineArgument("3"));
  EXPECT_EQ(line("\"three\""), LineArgument("three"));
  EXPECT_EQ(line("null"), std::nullopt);
}

TEST(ParseObservation, NeedsNoMoreThanItsRequiredExtras) {
  EXPECT_EQ(observation(R"({"observation":"run","extras":{"command":"ls"}})"),
            Observation("", CmdOutputObservation{.command = "ls"}));
  EXPECT_EQ(observation(R"({"observation":"success"})"), Observation("", SuccessObservation{}));
  EXPECT_EQ(
      observation(R"({"observation":"error","content":"E","extras":{},"message":1,"success":"x","other":1})"),
      Observation("E", ErrorObservation{}));
}

TEST(ParseObservation, SwallowsAnythingInCommandOutput) {
  const Observation it = observation(R"({"observation":"run","content":"x","extras":{"command":"ls","new":1,
      "formatted_output_and_error":"x","metadata":{"exit_code":"3","pid":7.0,"new":[],"suffix":"s"}}})");
  EXPECT_EQ(it,
            Observation("x", CmdOutputObservation{.command = "ls",
                                                  .metadata = {.exit_code = 3, .pid = 7, .suffix = "s"}}));
  // From before there was metadata.
  EXPECT_EQ(observation(R"({"observation":"run","extras":{"command":"ls","exit_code":3,"command_id":7}})"),
            Observation("", CmdOutputObservation{.command = "ls", .metadata = {.exit_code = 3, .pid = 7}}));
  EXPECT_EQ(observation(R"({"observation":"run","extras":{"command":"ls","metadata":null}})"),
            Observation("", CmdOutputObservation{.command = "ls"}));
}

TEST(ParseObservation, TruncatesCommandOutputUnlessHidden) {
  json::object wire = to_json(Observation("", CmdOutputObservation{.command = "ls"}));
  wire["content"] = std::string(40'000, 'x');
  EXPECT_EQ(parse_observation(wire).content.size(), 30'047U);
  wire["extras"].as_object()["hidden"] = true;
  EXPECT_EQ(parse_observation(wire).content.size(), 40'000U);
}

TEST(ParseEvent, TakesAnActionFirst) {
  EXPECT_TRUE(std::holds_alternative<Action>(parse(R"({"action":"null","observation":"null"})")));
  EXPECT_TRUE(std::holds_alternative<Observation>(parse(R"({"observation":"null"})")));
}

TEST(ParseEvent, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> table[] = {
      {"[]", "an event must be an object, not a list"},
      {"{}", "an event needs an 'action' or an 'observation'"},
      {R"({"action":null})", "'action' must be a string, not null"},
      {R"({"action":"fly"})", "unknown action 'fly'"},
      {R"({"action":"pause"})", "unknown action 'pause'"},
      {R"({"action":"a\nb"})", "unknown action 'a?b'"},
      {R"({"observation":"chat"})", "unknown observation 'chat'"},
      {R"({"observation":7})", "'observation' must be a string, not a number"},
      {R"({"action":"run","args":[]})", "action 'run': 'args' must be an object, not a list"},
      {R"({"action":"run","args":null})", "action 'run': 'args' must be an object, not null"},
      {R"({"action":"run"})", "action 'run': missing required argument 'command'"},
      {R"({"action":"write","args":{}})", "action 'write': missing required arguments 'path', 'content'"},
      {R"({"action":"run","args":{"command":"ls","foo":"canary"}})", "action 'run': unknown argument 'foo'"},
      {R"({"action":"run","args":{"command":null}})",
       "action 'run': argument 'command' must be a string, not null"},
      {R"({"action":"run","args":{"command":"ls","blocking":"canary"}})",
       "action 'run': argument 'blocking' must be a boolean, not a string"},
      {R"({"action":"run","args":{"command":"ls","confirmation_state":"canary"}})",
       "action 'run': argument 'confirmation_state' must be one of confirmed, rejected, "
       "awaiting_confirmation"},
      {R"({"action":"run","args":{"command":"ls"},"timeout":"canary"})",
       "action 'run': 'timeout' must be a number, not a string"},
      {R"({"action":"null","timeout":1e999})", "action 'null': 'timeout' is too large"},
      {R"({"action":"read","args":{"path":"/a","is_confirmed":"confirmed"}})",
       "action 'read': unknown argument 'confirmation_state'"},
      {R"({"action":"read","args":{"path":"/a","images_urls":[]}})",
       "action 'read': unknown argument 'image_urls'"},
      {R"({"action":"read","args":{"path":"/a","start":1.5}})",
       "action 'read': argument 'start' must be an integer, not a number"},
      {R"({"action":"read","args":{"path":"/a","end":18446744073709551615}})",
       "action 'read': argument 'end' must be an integer, not a number"},
      {R"({"action":"read","args":{"path":"/a","view_range":[1,"canary"]}})",
       "action 'read': argument 'view_range' must be an integer, not a string"},
      {R"({"action":"read","args":{"path":"/a","impl_source":1}})",
       "action 'read': argument 'impl_source' must be one of default, oh_aci"},
      {R"({"action":"edit","args":{"path":"/a","insert_line":true}})",
       "action 'edit': argument 'insert_line' must be a line number, not a boolean"},
      {R"({"action":"call_tool_mcp","args":{"name":"n","arguments":"canary"}})",
       "action 'call_tool_mcp': argument 'arguments' must be an object, not a string"},
      {R"({"action":"task_tracking","args":{"task_list":{}}})",
       "action 'task_tracking': argument 'task_list' must be a list, not an object"},
      {R"({"action":"null","id":"canary"})", "action 'null': member 'id' must be an integer, not a string"},
      {R"({"action":"null","id":-5})", "action 'null': member 'id' must not be negative"},
      {R"({"action":"null","source":"canary"})",
       "action 'null': member 'source' must be one of agent, user, environment"},
      {R"({"action":"condensation","args":{}})",
       "action 'condensation': needs either 'forgotten_event_ids' or both 'forgotten_events_start_id' and "
       "'forgotten_events_end_id'"},
      {R"({"action":"condensation","args":{"forgotten_event_ids":[],"summary":"canary"}})",
       "action 'condensation': 'summary' and 'summary_offset' come together or not at all"},
      {R"({"observation":"read","extras":{}})", "observation 'read': missing required extra 'path'"},
      {R"({"observation":"browse"})",
       "observation 'browse': missing required extras 'url', 'trigger_by_action'"},
      {R"({"observation":"error","extras":{"hidden":true}})", "observation 'error': unknown extra 'hidden'"},
      {R"({"observation":"error","extras":"canary"})",
       "observation 'error': 'extras' must be an object, not a string"},
      {R"({"observation":"error","content":5})",
       "observation 'error': 'content' must be a string, not a number"},
      {R"({"observation":"run","extras":{"command":"ls","metadata":{"exit_code":"canary"}}})",
       "observation 'run': extra 'metadata': member 'exit_code' must be an integer, not a string"},
      {R"({"observation":"recall","extras":{"recall_type":"knowledge","microagent_knowledge":[{"name":"n"}]}})",
       "observation 'recall': extra 'microagent_knowledge': missing required members 'trigger', 'content'"},
  };
  for (const auto& [text, wanted] : table) {
    EXPECT_EQ(refusal(text), wanted) << text;
    EXPECT_THAT(refusal(text), Not(HasSubstr("canary")));
  }
  EXPECT_LT(refusal(R"({"action":")" + std::string(100'000, 'x') + "\"}").size(), 200U);
}

}  // namespace
}  // namespace sandkey
