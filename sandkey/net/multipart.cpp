#include "sandkey/net/multipart.h"

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace sandkey::net {
namespace {

constexpr std::size_t kMaxBoundary = 70;  // RFC 2046
constexpr std::string_view kBlank = " \t";

char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

bool starts_without_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) { return a == lower(b); });
}

// The value of `name` among the parameters "; a=b; c=\"d\"" of a header value.
std::string parameter(std::string_view value, std::string_view name) {
  std::size_t at = value.find(';');
  while (at != std::string_view::npos) {
    at = value.find_first_not_of(kBlank, at + 1);
    if (at == std::string_view::npos) break;
    const std::size_t equals = value.find_first_of("=;", at);
    if (equals == std::string_view::npos) break;
    const std::string_view key = value.substr(at, equals - at);
    std::string text;
    std::size_t end = equals;
    if (value[equals] == '=') {
      end = equals + 1;
      if (end < value.size() && value[end] == '"') {
        for (++end; end < value.size() && value[end] != '"'; ++end) {
          // Only a quote or a backslash is escaped; browsers send a bare backslash of a Windows path.
          if (value[end] == '\\' && end + 1 < value.size() &&
              (value[end + 1] == '"' || value[end + 1] == '\\'))
            ++end;
          text += value[end];
        }
        end = value.find(';', end);
      } else {
        const std::size_t semicolon = value.find(';', end);
        text = value.substr(end, semicolon == std::string_view::npos ? semicolon : semicolon - end);
        text.erase(text.find_last_not_of(kBlank) + 1);
        end = semicolon;
      }
    }
    if (key.size() == name.size() && starts_without_case(key, name)) return text;
    at = end;
  }
  return {};
}

}  // namespace

std::string multipart_boundary(std::string_view content_type) {
  if (!starts_without_case(content_type, "multipart/form-data")) return {};
  std::string boundary = parameter(content_type, "boundary");
  if (boundary.size() > kMaxBoundary || boundary.find_first_of("\r\n") != std::string::npos) return {};
  return boundary;
}

// As if a line break stood before the body, so that the first boundary looks like all others.
MultipartParser::MultipartParser(std::string_view boundary)
    : delimiter_("\r\n--" + std::string(boundary)), buffer_("\r\n") {}

void MultipartParser::feed(std::string_view bytes) {
  buffer_.append(bytes);
  while (true) {
    switch (state_) {
      case State::preamble: {
        const std::size_t found = buffer_.find(delimiter_);
        // The same limit however the bytes come: what is found in time was not given up on before.
        if (found == std::string::npos ? buffer_.size() >= kMaxPartHeader
                                       : found + delimiter_.size() > kMaxPartHeader) {
          throw std::invalid_argument("no boundary at the beginning of the form");
        }
        if (found == std::string::npos) return;
        buffer_.erase(0, found + delimiter_.size());
        state_ = State::after_boundary;
        break;
      }
      case State::after_boundary:
        if (buffer_.size() < 2) return;
        if (buffer_.starts_with("--")) {
          state_ = State::epilogue;
        } else if (buffer_.starts_with("\r\n")) {
          state_ = State::header;  // the line break stays: it makes an empty header end like any other
        } else {
          throw std::invalid_argument("a boundary of the form is not followed by a line break");
        }
        break;
      case State::header: {
        constexpr std::string_view kEnd = "\r\n\r\n";
        const std::size_t end = buffer_.find(kEnd);
        if (end == std::string::npos ? buffer_.size() >= kMaxPartHeader
                                     : end + kEnd.size() > kMaxPartHeader) {
          throw std::invalid_argument("the header of a form part is too long");
        }
        if (end == std::string::npos) return;
        parse_header(std::string_view(buffer_).substr(0, end));
        buffer_.erase(0, end + 4);
        state_ = State::data;
        break;
      }
      case State::data: {
        const std::size_t found = buffer_.find(delimiter_);
        if (found != std::string::npos) {
          if (found > 0) on_data(std::string_view(buffer_).substr(0, found));
          on_part_end();
          buffer_.erase(0, found + delimiter_.size());
          state_ = State::after_boundary;
          break;
        }
        if (buffer_.size() >= delimiter_.size()) {
          const std::size_t safe = buffer_.size() - delimiter_.size() + 1;
          on_data(std::string_view(buffer_).substr(0, safe));
          buffer_.erase(0, safe);
        }
        return;
      }
      case State::epilogue:
        buffer_.clear();
        return;
    }
  }
}

void MultipartParser::parse_header(std::string_view header) {
  std::string name;
  std::string filename;
  while (!header.empty()) {
    const std::size_t end = header.find("\r\n");
    const std::string_view line = header.substr(0, end);
    header.remove_prefix(end == std::string_view::npos ? header.size() : end + 2);
    if (starts_without_case(line, "content-disposition:")) {
      name = parameter(line, "name");
      filename = parameter(line, "filename");
    }
  }
  on_part(name, filename);
}

}  // namespace sandkey::net
