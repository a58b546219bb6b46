#include "sandkey/events/test_events.h"

namespace sandkey::events_test {
namespace {

const json::object kObject = {{"k", json::array{1, "two", nullptr, 2.5}},
                              {"deep", json::object{{"er", true}}}};
constexpr auto kRejected = ActionConfirmationStatus::rejected;
constexpr auto kHigh = ActionSecurityRisk::high;

}  // namespace

std::vector<Action> every_action() {
  std::vector<ActionBody> bodies = {
      NullAction{},
      CmdRunAction{"ls -l \"ä\"", true, "because", true, true, "/tmp", true, kRejected, kHigh},
      IPythonRunCellAction{"print(1)", "hm", false, kRejected, kHigh, "import os"},
      FileReadAction{"/a", 1, 5, "hm", kHigh, FileReadSource::oh_aci, std::vector<std::int64_t>{1, -1}},
      FileWriteAction{"/a", "text\n", 1, 5, "hm", kHigh},
      FileEditAction{"/a", "insert", "f", "o", "n", LineArgument(7), "c", 2, 9, "hm", kHigh,
                     FileEditSource::llm_based_edit},
      FileEditAction{.path = "/a", .command = "insert", .insert_line = LineArgument("12")},
      BrowseURLAction{"https://example.org", "hm", kHigh, true},
      BrowseInteractiveAction{"click('1')", "hm", "done", kHigh, true},
      MCPAction{"fetch", kObject, "hm", kHigh},
      AgentThinkAction{"hm"},
      AgentFinishAction{"final", kObject, "hm"},
      AgentRejectAction{json::object{{"reason", "no"}}, "hm"},
      AgentDelegateAction{"Browser", kObject, "hm"},
      MessageAction{"hello", std::vector<std::string>{"f"}, std::vector<std::string>{"i", "j"}, true, kHigh},
      SystemMessageAction{"prompt", json::array{kObject}, "0.62.0", "CodeActAgent"},
      RecallAction{RecallType::knowledge, "query", "hm"},
      TaskTrackingAction{"plan", json::array{json::object{{"id", "1"}, {"title", "t"}, {"status", "todo"}}},
                         "hm"},
      CondensationAction{.forgotten_event_ids = std::vector<std::int64_t>{1, 2, 3}},
      CondensationAction{.forgotten_events_start_id = 2,
                         .forgotten_events_end_id = 4,
                         .summary = "short",
                         .summary_offset = 1},
      CondensationRequestAction{},
      ChangeAgentStateAction{"paused", "hm"},
      LoopRecoveryAction{3},
  };
  std::vector<Action> all;
  for (ActionBody& body : bodies) all.emplace_back(std::move(body), 2.5);
  return all;
}

std::vector<Observation> every_observation() {
  std::vector<ObservationBody> bodies = {
      NullObservation{},
      CmdOutputObservation{
          "ls", {2, 17, "me", "box", "/work", "/usr/bin/python", "before\n", "\nafter"}, true},
      IPythonRunCellObservation{"1+1", std::vector<std::string>{"data:image/png;base64,AA=="}},
      FileReadObservation{"/a", FileReadSource::oh_aci},
      FileWriteObservation{"/a"},
      FileEditObservation{"/a", true, "old", "new", FileEditSource::oh_aci, "-old\n+new", "cached"},
      ErrorObservation{"AGENT_ERROR$BAD_ACTION"},
      BrowserOutputObservation{"https://example.org",
                               "browse",
                               "shot",
                               "/shot.png",
                               "marks",
                               true,
                               {"g"},
                               {"o"},
                               2,
                               kObject,
                               kObject,
                               kObject,
                               "act",
                               "err",
                               "bid",
                               true},
      FileDownloadObservation{"/d"},
      MCPObservation{"fetch", kObject},
      AgentThinkObservation{},
      AgentStateChangedObservation{"error", "why"},
      UserRejectObservation{},
      RecallObservation{RecallType::knowledge,
                        "repo",
                        "dir",
                        "branch",
                        "instr",
                        json::object{{"http://h", 80}},
                        "more",
                        "2025-11-28",
                        json::object{{"KEY", "a key"}},
                        "conv",
                        "/work",
                        {{"n", "t", "c"}}},
      TaskTrackingObservation{"plan", json::array{kObject}},
      AgentCondensationObservation{},
      AgentDelegateObservation{kObject},
      SuccessObservation{},
      LoopDetectionObservation{},
  };
  std::vector<Observation> all;
  for (ObservationBody& body : bodies) all.emplace_back("text", std::move(body));
  return all;
}

}  // namespace sandkey::events_test
