#include "sandkey/providers/daytona/emulator/toolbox/git.h"

#include "sandkey/base/utf8.h"
#include "sandkey/providers/daytona/emulator/toolbox/answers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace sandkey::daytona_toolbox {
namespace {

using net::HttpExchange;

// Gives git the credentials of a request out of the environment, where no list of processes shows them.
constexpr const char* kHelper =
    "credential.helper=!f() { echo \"username=$TOOLBOX_GIT_USER\"; echo \"password=$TOOLBOX_GIT_PASSWORD\"; "
    "}; f";

std::string_view next_part(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kBlank) - begin + 1));
}

std::string_view word_of(char letter) {
  switch (letter) {
    case 'M':
    case 'T':
      return "Modified";
    case 'A':
      return "Added";
    case 'D':
      return "Deleted";
    case 'R':
      return "Renamed";
    case 'C':
      return "Copied";
    case 'U':
      return "Updated but unmerged";
    case '?':
      return "Untracked";
    default:
      return "Unmodified";
  }
}

json::object file_status(std::string_view name, std::string_view letters, std::string_view extra) {
  json::object file;
  file["name"] = utf8::sanitize(name);
  file["staging"] = word_of(letters[0]);
  file["worktree"] = word_of(letters[1]);
  file["extra"] = utf8::sanitize(extra);
  return file;
}

// The rest of a line after so many fields; empty if there are fewer.
std::string_view after_fields(std::string_view line, int count) {
  for (int i = 0; i < count; ++i) (void)next_part(line, ' ');
  return line;
}

int number_of(std::string_view text) {
  int value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

void take_branch_line(std::string_view line, json::object& status) {
  const std::string_view name = next_part(line, ' ');
  if (name == "branch.head") {
    const bool detached = line == "(detached)";
    status["detached"] = detached;
    status["currentBranch"] = detached ? "" : utf8::sanitize(line);
  } else if (name == "branch.upstream") {
    status["upstream"] = utf8::sanitize(line);
    status["branchPublished"] = true;
  } else if (name == "branch.ab") {
    const std::string_view ahead = next_part(line, ' ');
    status["ahead"] = number_of(ahead.substr(std::min<std::size_t>(1, ahead.size())));
    status["behind"] = number_of(line.substr(std::min<std::size_t>(1, line.size())));
  }
}

Variables credentials_of(const Body& body) {
  Variables variables;
  const std::string user = body.text("username").value_or("");
  const std::string password = body.text("password").value_or("");
  if (user.empty() && password.empty()) return variables;
  variables["TOOLBOX_GIT_USER"] = user;
  variables["TOOLBOX_GIT_PASSWORD"] = password;
  return variables;
}

std::string scope_of(const std::string& scope) {
  if (scope.empty() || scope == "global") return "--global";
  if (scope == "local" || scope == "system") return "--" + scope;
  throw bad_request("invalid scope: " + scope);
}

// Names are no options, whoever chose them.
const std::string& checked(const std::string& name) {
  if (name.starts_with('-')) throw bad_request("invalid name: " + name);
  return name;
}

}  // namespace

json::object parse_git_status(std::string_view output) {
  json::object status;
  status["currentBranch"] = "";
  status["detached"] = false;
  status["upstream"] = "";
  status["ahead"] = 0;
  status["behind"] = 0;
  status["branchPublished"] = false;
  json::array files;
  while (!output.empty()) {
    std::string_view line = next_part(output, '\0');
    const std::string_view kind = next_part(line, ' ');
    const std::string_view letters = line.substr(0, 2);
    if (kind == "#") {
      take_branch_line(line, status);
    } else if (kind == "?") {
      files.push_back(file_status(line, "??", ""));
    } else if (letters.size() < 2) {
      continue;
    } else if (kind == "1") {
      files.push_back(file_status(after_fields(line, 7), letters, ""));
    } else if (kind == "2") {
      const std::string_view before = next_part(output, '\0');
      files.push_back(file_status(after_fields(line, 8), letters, before));
    } else if (kind == "u") {
      files.push_back(file_status(after_fields(line, 9), "UU", ""));
    }
  }
  status["fileStatus"] = std::move(files);
  return status;
}

json::array parse_git_log(std::string_view output) {
  json::array commits;
  while (!output.empty()) {
    std::string_view record = next_part(output, '\x1E');
    while (record.starts_with('\n')) record.remove_prefix(1);
    if (record.empty()) continue;
    json::object commit;
    for (const char* const name : {"hash", "author", "email", "timestamp"})
      commit[name] = utf8::sanitize(next_part(record, '\0'));
    commit["message"] = utf8::sanitize(record);
    commits.push_back(std::move(commit));
  }
  return commits;
}

ToolboxError git_error(const std::string& complaint) {
  struct Rule {
    std::string_view text;
    int status;
    const char* code;
  };
  // The first that is in it.
  constexpr std::array<Rule, 19> kRules{{
      {"Authentication failed", 401, "GIT_AUTH_FAILED"},
      {"could not read Username", 401, "GIT_AUTH_FAILED"},
      {"[remote rejected]", 422, "GIT_REMOTE_REJECTED"},
      {"[rejected]", 409, "GIT_PUSH_REJECTED"},
      {"CONFLICT", 409, "GIT_MERGE_CONFLICT"},
      {"would be overwritten by", 409, "GIT_DIRTY_WORKTREE"},
      {"not a git repository", 404, "GIT_REPO_NOT_FOUND"},
      {"does not appear to be a git repository", 404, "GIT_REPO_NOT_FOUND"},
      {"cannot change to", 404, "GIT_REPO_NOT_FOUND"},
      {"Could not find remote branch", 404, "GIT_BRANCH_NOT_FOUND"},
      {"couldn't find remote ref", 404, "GIT_BRANCH_NOT_FOUND"},
      {"invalid reference", 404, "GIT_BRANCH_NOT_FOUND"},
      {"did not match any file(s) known to git", 404, "GIT_BRANCH_NOT_FOUND"},
      {"not found.", 404, "GIT_BRANCH_NOT_FOUND"},
      {"Could not resolve host", 502, "GIT_TRANSPORT_FAILED"},
      {"unable to access", 502, "GIT_TRANSPORT_FAILED"},
      {"unable to look up", 502, "GIT_TRANSPORT_FAILED"},
      {"repository '", 404, "GIT_REPO_NOT_FOUND"},
      {"A branch named", 409, "GIT_BRANCH_EXISTS"},
  }};
  for (const Rule& rule : kRules) {
    if (complaint.find(rule.text) != std::string::npos) return {rule.status, rule.code, complaint};
  }
  if (complaint.find("a branch named") != std::string::npos) return {409, "GIT_BRANCH_EXISTS", complaint};
  return bad_request(complaint);
}

asio::awaitable<Outcome> Git::try_git(std::string path, Arguments arguments, Variables variables,
                                      std::string input) {
  Command command;
  command.argv = {"git"};
  if (!path.empty()) {
    command.argv.emplace_back("-C");
    command.argv.push_back(view_.resolve(path));
  }
  if (variables.contains("TOOLBOX_GIT_USER")) {
    command.argv.emplace_back("-c");
    command.argv.emplace_back(kHelper);
  }
  for (std::string& argument : arguments) command.argv.push_back(std::move(argument));
  variables["GIT_TERMINAL_PROMPT"] = "0";
  variables["LC_ALL"] = "C";
  command.variables = std::move(variables);
  command.input = std::move(input);
  command.merged = false;
  co_return co_await view_.run(std::move(command));
}

asio::awaitable<std::string> Git::git(std::string path, Arguments arguments, Variables variables) {
  std::string none;
  Outcome outcome =
      co_await try_git(std::move(path), std::move(arguments), std::move(variables), std::move(none));
  if (outcome.result.exit_code == 127) throw internal_error("git is not installed in this sandbox");
  if (outcome.result.exit_code != 0) throw git_error(trimmed(outcome.err + outcome.out));
  co_return std::move(outcome.out);
}

// ---- Repositories

asio::awaitable<void> Git::clone(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::string path = view_.resolve(body.required("path"));
  const std::string commit = body.text("commit_id").value_or("");
  const std::string branch = body.text("branch").value_or("");
  const std::uint32_t depth = body.number("depth").value_or(0);
  Arguments arguments{"clone", "--quiet", "--single-branch"};
  if (!branch.empty()) arguments.push_back("--branch=" + branch);
  if (depth > 0) arguments.push_back("--depth=" + std::to_string(depth));
  if (body.flag("insecure_skip_tls")) arguments.emplace_back("--config=http.sslVerify=false");
  arguments.emplace_back("--");
  arguments.push_back(body.required("url"));
  arguments.push_back(path);
  std::string anywhere;
  Variables credentials = credentials_of(body);
  (void)co_await git(std::move(anywhere), std::move(arguments), std::move(credentials));
  if (!commit.empty()) {
    Arguments there{"checkout", "--quiet", "--detach", checked(commit)};
    Variables none;
    (void)co_await git(path, std::move(there), std::move(none));
  }
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Git::init(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  Arguments arguments{"init", "--quiet"};
  if (body.flag("bare")) arguments.emplace_back("--bare");
  const std::string branch = body.text("initial_branch").value_or("");
  if (!branch.empty()) arguments.push_back("--initial-branch=" + branch);
  arguments.emplace_back("--");
  arguments.push_back(view_.resolve(body.required("path")));
  std::string anywhere;
  Variables none;
  (void)co_await git(std::move(anywhere), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 201);
}

asio::awaitable<void> Git::status(HttpExchange& exchange) {
  std::string path = required_query(exchange, "path");
  Arguments arguments{"status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all"};
  Variables none;
  const std::string output = co_await git(std::move(path), std::move(arguments), std::move(none));
  json::object answer = parse_git_status(output);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Git::history(HttpExchange& exchange) {
  std::string path = required_query(exchange, "path");
  Arguments arguments{"log", kGitLogFormat};
  Variables none;
  const std::string output = co_await git(std::move(path), std::move(arguments), std::move(none));
  json::array answer = parse_git_log(output);
  co_await reply_json(exchange, std::move(answer));
}

// ---- Changes

asio::awaitable<void> Git::add(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  const std::vector<std::string> files = body.texts("files");
  if (files.empty()) throw invalid_body("'files' is required");
  Arguments arguments{"add", "--"};
  arguments.insert(arguments.end(), files.begin(), files.end());
  Variables none;
  (void)co_await git(std::move(path), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Git::commit(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::string path = body.required("path");
  Variables who;
  for (const char* const role : {"AUTHOR", "COMMITTER"}) {
    who[std::string("GIT_") + role + "_NAME"] = body.required("author");
    who[std::string("GIT_") + role + "_EMAIL"] = body.required("email");
  }
  Arguments arguments{"commit", "--quiet", "--message", body.required("message")};
  if (body.flag("allow_empty")) arguments.emplace_back("--allow-empty");
  (void)co_await git(path, std::move(arguments), std::move(who));
  Arguments head{"rev-parse", "HEAD"};
  Variables none;
  const std::string hash = co_await git(path, std::move(head), std::move(none));
  json::object answer;
  answer["hash"] = trimmed(hash);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Git::push(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  const std::string remote = body.text("remote").value_or("origin");
  const std::string branch = body.text("branch").value_or("HEAD");
  Arguments arguments{"push", "--quiet"};
  if (body.flag("set_upstream")) arguments.emplace_back("--set-upstream");
  arguments.push_back(checked(remote));
  arguments.push_back(checked(branch));
  Variables credentials = credentials_of(body);
  (void)co_await git(std::move(path), std::move(arguments), std::move(credentials));
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Git::pull(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  const std::string branch = body.text("branch").value_or("");
  Arguments arguments{"pull", "--quiet", checked(body.text("remote").value_or("origin"))};
  if (!branch.empty()) arguments.push_back(checked(branch));
  Variables credentials = credentials_of(body);
  (void)co_await git(std::move(path), std::move(arguments), std::move(credentials));
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Git::reset(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  const std::string mode = body.text("mode").value_or("mixed");
  constexpr std::array<std::string_view, 5> kModes{"soft", "mixed", "hard", "merge", "keep"};
  if (std::ranges::find(kModes, mode) == kModes.end()) throw bad_request("invalid mode: " + mode);
  const std::string target = body.text("target").value_or("HEAD");
  const std::vector<std::string> files = body.texts("files");
  Arguments arguments{"reset", "--quiet"};
  if (files.empty()) arguments.push_back("--" + mode);
  arguments.push_back(checked(target));
  if (!files.empty()) arguments.emplace_back("--");
  arguments.insert(arguments.end(), files.begin(), files.end());
  Variables none;
  (void)co_await git(std::move(path), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Git::restore(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  const std::vector<std::string> files = body.texts("files");
  if (files.empty()) throw invalid_body("'files' is required");
  const std::string source = body.text("source").value_or("");
  Arguments arguments{"restore", "--quiet"};
  if (!source.empty()) arguments.push_back("--source=" + source);
  if (body.flag("staged")) arguments.emplace_back("--staged");
  if (body.flag("worktree")) arguments.emplace_back("--worktree");
  arguments.emplace_back("--");
  arguments.insert(arguments.end(), files.begin(), files.end());
  Variables none;
  (void)co_await git(std::move(path), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 200);
}

// ---- Branches

asio::awaitable<void> Git::branches(HttpExchange& exchange) {
  const std::string path = required_query(exchange, "path");
  Arguments all{"for-each-ref", "--format=%(refname:short)", "refs/heads"};
  Variables none;
  const std::string names = co_await git(path, std::move(all), none);
  Arguments which{"branch", "--show-current"};
  const std::string current = co_await git(path, std::move(which), none);
  json::array list;
  for (std::string_view rest = names; !rest.empty();) list.emplace_back(next_part(rest, '\n'));
  json::object answer;
  answer["branches"] = std::move(list);
  answer["current"] = trimmed(current);
  co_await reply_json(exchange, std::move(answer));
}

// The daemon checks it out as well.
asio::awaitable<void> Git::create_branch(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  Arguments arguments{"checkout", "--quiet", "-b", checked(body.required("name"))};
  Variables none;
  (void)co_await git(std::move(path), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 201);
}

asio::awaitable<void> Git::delete_branch(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  Arguments arguments{"branch", "--quiet", "-D", checked(body.required("name"))};
  Variables none;
  (void)co_await git(std::move(path), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 204);
}

asio::awaitable<void> Git::checkout(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.required("path");
  Arguments arguments{"checkout", "--quiet", checked(body.required("branch")), "--"};
  Variables none;
  (void)co_await git(std::move(path), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 200);
}

// ---- Remotes and configuration

asio::awaitable<void> Git::remotes(HttpExchange& exchange) {
  std::string path = required_query(exchange, "path");
  Arguments arguments{"remote", "--verbose"};
  Variables none;
  const std::string output = co_await git(std::move(path), std::move(arguments), std::move(none));
  json::array list;
  for (std::string_view rest = output; !rest.empty();) {
    std::string_view line = next_part(rest, '\n');
    if (!line.ends_with(" (fetch)")) continue;
    json::object remote;
    remote["name"] = next_part(line, '\t');
    remote["url"] = line.substr(0, line.rfind(' '));
    list.push_back(std::move(remote));
  }
  json::object answer;
  answer["remotes"] = std::move(list);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Git::add_remote(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::string path = body.required("path");
  const std::string name = checked(body.required("name"));
  if (body.flag("overwrite")) {
    Arguments old{"remote", "remove", name};
    Variables none;
    std::string no_input;
    (void)co_await try_git(path, std::move(old), std::move(none), std::move(no_input));
  }
  Arguments arguments{"remote", "add"};
  if (body.flag("fetch")) arguments.emplace_back("-f");
  arguments.insert(arguments.end(), {"--", name, body.required("url")});
  Variables none;
  (void)co_await git(path, std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 201);
}

asio::awaitable<void> Git::get_config(HttpExchange& exchange) {
  const std::string key = required_query(exchange, "key");
  std::string path = exchange.query("path").value_or("");
  Arguments arguments{"config", scope_of(exchange.query("scope").value_or("")), "--get", checked(key)};
  Variables none;
  std::string no_input;
  const Outcome outcome =
      co_await try_git(std::move(path), std::move(arguments), std::move(none), std::move(no_input));
  json::object answer;
  answer["value"] = nullptr;
  if (outcome.result.exit_code == 0) answer["value"] = trimmed(outcome.out);
  co_await reply_json(exchange, std::move(answer));
}

asio::awaitable<void> Git::set_config(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  std::string path = body.text("path").value_or("");
  Arguments arguments{"config", scope_of(body.text("scope").value_or("")), checked(body.required("key")),
                      body.text("value").value_or("")};
  Variables none;
  (void)co_await git(std::move(path), std::move(arguments), std::move(none));
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Git::set_user(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::string path = body.text("path").value_or("");
  const std::string scope = scope_of(body.text("scope").value_or(""));
  for (const char* const part : {"name", "email"}) {
    Arguments arguments{"config", scope, std::string("user.") + part, body.required(part)};
    Variables none;
    (void)co_await git(path, std::move(arguments), std::move(none));
  }
  co_await reply_empty(exchange, 200);
}

asio::awaitable<void> Git::store_credentials(HttpExchange& exchange) {
  const Body body = co_await read_json_body(exchange);
  const std::string host = body.text("host").value_or("github.com");
  const std::string protocol = body.text("protocol").value_or("https");
  std::string anywhere;
  Arguments helper{"config", "--global", "credential.helper", "store"};
  Variables none;
  (void)co_await git(anywhere, std::move(helper), none);
  std::string input = "protocol=" + protocol + "\nhost=" + host + "\nusername=" + body.required("username") +
                      "\npassword=" + body.required("password") + "\n\n";
  Arguments approve{"credential", "approve"};
  (void)co_await try_git(std::move(anywhere), std::move(approve), std::move(none), std::move(input));
  co_await reply_empty(exchange, 200);
}

}  // namespace sandkey::daytona_toolbox
