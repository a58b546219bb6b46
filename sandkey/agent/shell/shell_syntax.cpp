#include "sandkey/agent/shell/shell_syntax.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <utility>

namespace sandkey::agent {
namespace {

// Thrown where the text is no shell we understand; never leaves this file.
struct Unparsable {};

// Nested constructs cost stack; nobody writes this many by hand.
constexpr int kMaxDepth = 100;

// What Python's str.strip() removes, as far as it is ASCII.
constexpr bool blank(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}

std::string_view strip_end(std::string_view text) noexcept {
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

constexpr bool is_one_of(char c, std::string_view set) noexcept {
  return set.find(c) != std::string_view::npos;
}

constexpr std::string_view kBreak = "()<>;&| \t\n";

// Longest first.
constexpr std::array<std::string_view, 23> kOperators = {"&>>", "<<-", "<<<", ";;&", "&&", "||", ";;", ";&",
                                                         "|&",  ">>",  "<<",  "<&",  ">&", "<>", ">|", "&>",
                                                         "&",   "|",   ";",   "(",   ")",  "<",  ">"};

constexpr std::array<std::string_view, 12> kRedirections = {"&>>", "<<-", "<<<", ">>", "<<", "<&",
                                                            ">&",  "<>",  ">|",  "&>", "<",  ">"};

// Words that end a list of commands inside a compound command.
constexpr std::array<std::string_view, 7> kClosers = {"then", "elif", "else", "fi", "do", "done", "}"};

// Words that, where a command begins, are neither a command nor anything parsed here.
constexpr std::array<std::string_view, 9> kUnsupported = {"case", "esac", "select", "time", "coproc",
                                                          "[[",   "]]",   "in",     "!"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& words, std::string_view word) noexcept {
  return std::find(words.begin(), words.end(), word) != words.end();
}

struct Token {
  enum class Kind { word, number, op, newline, end };  // number: a digit or {name} right before < or >
  Kind kind = Kind::end;
  std::size_t begin = 0;
  std::string text;     // without line continuations
  bool quoted = false;  // quotes or backslashes in it: never a reserved word

  [[nodiscard]] bool is_op(std::string_view op) const noexcept { return kind == Kind::op && text == op; }
  [[nodiscard]] bool is_plain(std::string_view word) const noexcept {
    return kind == Kind::word && !quoted && text == word;
  }
};

class Parser {
 public:
  Parser(std::string_view text, std::size_t position, int depth)
      : text_(text), position_(position), depth_(depth) {
    if (depth > kMaxDepth) throw Unparsable{};
  }

  // Where each top-level command begins.
  std::vector<std::size_t> top_level() {
    std::vector<std::size_t> starts;
    for (;;) {
      skip_newlines();
      if (peek().kind == Token::Kind::end) return starts;
      starts.push_back(peek().begin);
      and_or();
      while (peek().is_op(";") || peek().is_op("&")) {
        take();
        if (at_line_end()) break;
        and_or();
      }
      if (!at_line_end()) throw Unparsable{};
    }
  }

  // The inside of $(...) or <(...); returns the position after the closing parenthesis.
  std::size_t substitution() {
    list();
    if (!heredocs_.empty()) throw Unparsable{};
    expect_op(")");
    return position_;
  }

 private:
  struct Heredoc {
    std::string delimiter;
    bool strip_tabs;
  };

  class Deeper {
   public:
    explicit Deeper(int& depth) : depth_(depth) {
      if (++depth_ > kMaxDepth) throw Unparsable{};
    }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    int& depth_;
  };

  // ---- Tokens. One is read ahead at most, and only on demand: what follows a here-document's operator must
  // be known before the newline after it is read.

  const Token& peek() {
    if (!ahead_) ahead_ = read();
    return *ahead_;
  }

  Token take() {
    Token token = ahead_ ? std::move(*ahead_) : read();
    ahead_.reset();
    return token;
  }

  bool at_line_end() { return peek().kind == Token::Kind::newline || peek().kind == Token::Kind::end; }

  [[nodiscard]] char at(std::size_t offset) const noexcept {
    return position_ + offset < text_.size() ? text_[position_ + offset] : '\0';
  }
  [[nodiscard]] bool done() const noexcept { return position_ >= text_.size(); }
  [[nodiscard]] bool continuation() const noexcept { return at(0) == '\\' && at(1) == '\n'; }

  Token read() {
    while (!done() && (at(0) == ' ' || at(0) == '\t' || continuation())) position_ += continuation() ? 2 : 1;
    if (at(0) == '#') position_ = std::min(text_.find('\n', position_), text_.size());
    Token token;
    token.begin = position_;
    if (done()) return token;
    const char c = at(0);
    if (c == '\n') {
      ++position_;
      token.kind = Token::Kind::newline;
      read_heredocs();
      return token;
    }
    if (is_one_of(c, "()<>;&|") && !(is_one_of(c, "<>") && at(1) == '(')) {
      const std::string_view rest = text_.substr(position_);
      const auto* op = std::find_if(kOperators.begin(), kOperators.end(),
                                    [rest](std::string_view o) { return rest.substr(0, o.size()) == o; });
      token.kind = Token::Kind::op;
      token.text = *op;
      position_ += op->size();
      return token;
    }
    read_word(token);
    return token;
  }

  void read_word(Token& token) {
    token.kind = Token::Kind::word;
    std::size_t kept = position_;  // where the part not yet copied begins
    while (!done()) {
      const char c = at(0);
      if (continuation()) {
        token.text.append(text_.substr(kept, position_ - kept));
        position_ += 2;
        kept = position_;
        continue;
      }
      if (is_one_of(c, kBreak) && !(is_one_of(c, "<>") && at(1) == '(')) break;
      if (is_one_of(c, "\\'\"`") || (c == '$' && is_one_of(at(1), "'\""))) token.quoted = true;
      skip_unit(Quoting::none);
    }
    token.text.append(text_.substr(kept, position_ - kept));
    if (is_one_of(at(0), "<>") && !done() && !token.quoted) {
      const bool digits =
          std::all_of(token.text.begin(), token.text.end(), [](char c) { return c >= '0' && c <= '9'; });
      const bool named = token.text.size() > 2 && token.text.front() == '{' && token.text.back() == '}';
      if (digits || named) token.kind = Token::Kind::number;
    }
  }

  // ---- The parts of a word.

  enum class Quoting { none, braces, double_quotes, braces_in_double_quotes };

  void skip_escaped() {
    position_ += 2;
    if (position_ > text_.size()) position_ = text_.size();
  }

  // One character, or one quotation, expansion or substitution.
  void skip_unit(Quoting quoting) {
    const bool bare = quoting == Quoting::none || quoting == Quoting::braces;
    const char c = at(0);
    const char next = at(1);
    if (c == '\\') {
      skip_escaped();
    } else if (c == '\'' && quoting != Quoting::double_quotes) {  // bash: in "${x:-'}'}" they do quote
      skip_past('\'', 1);
    } else if (c == '"' && quoting != Quoting::double_quotes) {
      ++position_;
      skip_double_quotes();
    } else if (c == '`') {
      skip_backquotes();
    } else if (c == '$' && next == '(') {
      if (at(2) == '(') {
        if (quoting == Quoting::none || quoting == Quoting::double_quotes) throw Unparsable{};
        skip_arithmetic();
      } else {
        position_ = Parser(text_, position_ + 2, depth_ + 1).substitution();
      }
    } else if (c == '$' && next == '{') {
      const Deeper deeper(depth_);
      position_ += 2;
      const Quoting inner = bare ? Quoting::braces : Quoting::braces_in_double_quotes;
      while (at(0) != '}' || done()) {
        if (done()) throw Unparsable{};
        skip_unit(inner);
      }
      ++position_;
    } else if (c == '$' && next == '[') {
      throw Unparsable{};
    } else if (c == '$' && next == '\'' && bare) {
      position_ += 2;
      while (at(0) != '\'' || done()) {
        if (done()) throw Unparsable{};
        position_ += at(0) == '\\' && position_ + 1 < text_.size() ? 2 : 1;
      }
      ++position_;
    } else if (is_one_of(c, "<>") && next == '(' && quoting == Quoting::none) {
      position_ = Parser(text_, position_ + 2, depth_ + 1).substitution();
    } else {
      ++position_;
    }
  }

  void skip_past(char closing, std::size_t from) {
    const std::size_t end = text_.find(closing, position_ + from);
    if (end == std::string_view::npos) throw Unparsable{};
    position_ = end + 1;
  }

  void skip_double_quotes() {
    const Deeper deeper(depth_);
    while (!done() && at(0) != '"') skip_unit(Quoting::double_quotes);
    if (done()) throw Unparsable{};
    ++position_;
  }

  void skip_backquotes() {
    const std::size_t begin = ++position_;
    while (!done() && at(0) != '`') {
      if (at(0) == '\\' && at(1) == '`') throw Unparsable{};  // nested ones
      position_ += at(0) == '\\' ? 2 : 1;
    }
    if (done()) throw Unparsable{};
    const std::string_view inside = text_.substr(begin, position_ - begin);
    if (!inside.empty()) Parser(inside, 0, depth_ + 1).top_level();
    ++position_;
  }

  // $((...)) where it is allowed. Quotes are rare enough in there.
  void skip_arithmetic() {
    ++position_;
    std::size_t open = 0;
    do {
      if (done()) throw Unparsable{};
      if (at(0) == '(') ++open;
      if (at(0) == ')') --open;
      ++position_;
    } while (open > 0);
  }

  // ---- Here-documents.

  void read_heredocs() {
    for (const Heredoc& heredoc : std::exchange(heredocs_, {})) {
      std::string line;
      do {
        if (done()) throw Unparsable{};  // delimited by end of file
        read_heredoc_line(heredoc.strip_tabs, line);
      } while (line != heredoc.delimiter);
    }
  }

  // The delimiter is not quoted, so a backslash joins lines.
  void read_heredoc_line(bool strip_tabs, std::string& line) {
    line.clear();
    if (strip_tabs) {
      while (at(0) == '\t') ++position_;
    }
    bool escaped = false;
    for (; !done(); ++position_) {
      const char c = at(0);
      if (c == '\n' && !escaped) break;
      if (c == '\n') {
        line.pop_back();
        escaped = false;
        continue;
      }
      line.push_back(c);
      escaped = c == '\\' && !escaped;
    }
    if (!done()) ++position_;
  }

  // ---- Grammar.

  void skip_newlines() {
    while (peek().kind == Token::Kind::newline) take();
  }

  void expect_op(std::string_view op) {
    if (!take().is_op(op)) throw Unparsable{};
  }

  void expect_plain(std::string_view word) {
    if (!take().is_plain(word)) throw Unparsable{};
  }

  bool at_closer() {
    const Token& token = peek();
    return token.kind == Token::Kind::end || token.is_op(")") ||
           (token.kind == Token::Kind::word && !token.quoted && contains(kClosers, token.text));
  }

  // The commands inside a compound command: at least one.
  void list() {
    const Deeper deeper(depth_);
    skip_newlines();
    and_or();
    while (peek().is_op(";") || peek().is_op("&") || peek().kind == Token::Kind::newline) {
      take();
      skip_newlines();
      if (at_closer()) return;
      and_or();
    }
  }

  void and_or() {
    pipeline();
    while (peek().is_op("&&") || peek().is_op("||")) {
      take();
      skip_newlines();
      pipeline();
    }
  }

  void pipeline() {
    while (peek().is_plain("!")) take();
    command();
    while (peek().is_op("|") || peek().is_op("|&")) {
      take();
      skip_newlines();
      command();
    }
  }

  void command() {
    if (!compound_command()) simple_command();
  }

  // With its redirections. False, and nothing taken, if none begins here.
  bool compound_command() {
    const Token& first = peek();
    if (first.is_op("(")) {
      take();
      list();
      expect_op(")");
    } else if (first.kind != Token::Kind::word || first.quoted) {
      return false;
    } else if (first.text == "{") {
      take();
      list();
      expect_plain("}");
    } else if (first.text == "if") {
      take();
      list();
      expect_plain("then");
      list();
      while (peek().is_plain("elif")) {
        take();
        list();
        expect_plain("then");
        list();
      }
      if (peek().is_plain("else")) {
        take();
        list();
      }
      expect_plain("fi");
    } else if (first.text == "while" || first.text == "until") {
      take();
      list();
      expect_plain("do");
      list();
      expect_plain("done");
    } else if (first.text == "for") {
      take();
      for_command();
    } else if (first.text == "function") {
      take();
      if (take().kind != Token::Kind::word) throw Unparsable{};
      if (peek().is_op("(")) {
        take();
        expect_op(")");
      }
      function_body();
      return true;
    } else if (contains(kClosers, first.text) || contains(kUnsupported, first.text)) {
      throw Unparsable{};
    } else {
      return false;
    }
    while (at_redirection()) redirection();
    return true;
  }

  void for_command() {
    if (take().kind != Token::Kind::word) throw Unparsable{};  // `((` too
    skip_newlines();
    if (peek().is_plain("in")) {
      take();
      while (peek().kind == Token::Kind::word) take();
      if (!peek().is_op(";") && peek().kind != Token::Kind::newline) throw Unparsable{};
      take();
    } else if (peek().is_op(";")) {
      take();
    }
    skip_newlines();
    const bool braces = peek().is_plain("{");
    expect_plain(braces ? "{" : "do");
    list();
    expect_plain(braces ? "}" : "done");
  }

  void function_body() {
    const Deeper deeper(depth_);
    skip_newlines();
    if (peek().is_plain("function") || !compound_command()) throw Unparsable{};
  }

  bool at_redirection() {
    const Token& token = peek();
    return token.kind == Token::Kind::number ||
           (token.kind == Token::Kind::op && contains(kRedirections, token.text));
  }

  void redirection() {
    if (peek().kind == Token::Kind::number) take();
    const Token op = take();
    if (op.kind != Token::Kind::op || !contains(kRedirections, op.text)) throw Unparsable{};
    Token target = take();
    if (target.kind != Token::Kind::word && target.kind != Token::Kind::number) throw Unparsable{};
    if (op.text == "<<" || op.text == "<<-") {
      if (target.quoted) throw Unparsable{};
      heredocs_.push_back({std::move(target.text), op.text == "<<-"});
    }
  }

  void simple_command() {
    bool first = true;
    for (;; first = false) {
      if (at_redirection()) {
        redirection();
      } else if (peek().kind == Token::Kind::word) {
        const Token word = take();
        if (first && peek().is_op("(")) {
          if (is_one_of('=', word.text)) throw Unparsable{};  // an array
          take();
          expect_op(")");
          function_body();
          return;
        }
      } else if (first) {
        throw Unparsable{};
      } else {
        return;
      }
    }
  }

  std::string_view text_;
  std::size_t position_;
  int depth_;
  std::optional<Token> ahead_;
  std::vector<Heredoc> heredocs_;  // announced, their text still to come
};

}  // namespace

std::vector<std::string> split_commands(std::string_view input) {
  if (strip_end(input).empty()) return {""};
  std::vector<std::size_t> starts;
  try {
    starts = Parser(input, 0, 0).top_level();
  } catch (const Unparsable&) {
    return {std::string(input)};
  }
  if (starts.empty()) return {std::string(input)};  // only comments

  std::vector<std::string> pieces;
  const auto add = [&](std::size_t from, std::size_t to) {
    // A line with nothing but a carriage return is a command to bash, but not to whoever wrote it.
    const std::string_view piece = strip_end(input.substr(from, to - from));
    if (!piece.empty()) pieces.emplace_back(piece);
  };
  if (input.substr(0, starts.front()).find('#') != std::string_view::npos) {
    add(0, starts.front());
  } else {
    starts.front() = input.find_first_not_of(" \t\n");  // line continuations belong to the command
  }
  for (std::size_t i = 0; i < starts.size(); ++i) {
    add(starts[i], i + 1 < starts.size() ? starts[i + 1] : input.size());
  }
  return pieces;
}

bool is_special_key(std::string_view input) noexcept {
  return input.size() == 3 && input.substr(0, 2) == "C-";
}

std::optional<char> control_key(std::string_view input) noexcept {
  if (!is_special_key(input)) return std::nullopt;
  const char key = input[2];
  if ((key >= '@' && key <= '_') || (key >= 'a' && key <= 'z')) return static_cast<char>(key & 0x1F);
  // The digits, as terminals have sent them since the VT220.
  if (key == ' ' || key == '2') return '\0';
  if (key >= '3' && key <= '7') return static_cast<char>(key - '3' + 0x1B);
  if (key == '8' || key == '?') return '\x7f';
  return std::nullopt;
}

}  // namespace sandkey::agent
