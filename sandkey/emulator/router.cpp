#include "sandkey/emulator/router.h"

#include "sandkey/base/percent.h"

#include <utility>

namespace sandkey::emulator {
namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> segments;
  if (path.starts_with('/')) path.remove_prefix(1);
  while (true) {
    const std::size_t end = path.find('/');
    segments.push_back(path.substr(0, end));
    if (end == std::string_view::npos) return segments;
    path.remove_prefix(end + 1);
  }
}

}  // namespace

void Router::add(std::string route, RouteHandler handler) {
  const std::size_t blank = route.find(' ');
  Route made{.name = {}, .method = route.substr(0, blank), .segments = {}, .handler = std::move(handler)};
  for (const std::string_view segment : split(std::string_view(route).substr(blank + 1))) {
    made.segments.emplace_back(segment.starts_with('{') ? "{" : segment);
  }
  made.name = std::move(route);
  routes_.push_back(std::move(made));
}

std::optional<Router::Match> Router::match(std::string_view method, std::string_view target) const {
  const std::string_view path = net::without_authority(target);
  const std::vector<std::string_view> segments = split(path.substr(0, path.find('?')));
  std::optional<Match> best;
  for (const Route& route : routes_) {
    if (route.method != method || route.segments.size() != segments.size()) continue;
    Match match{.route = &route.name, .handler = &route.handler, .arguments = {}};
    bool fits = true;
    for (std::size_t i = 0; fits && i < segments.size(); ++i) {
      if (route.segments[i] != "{") {
        fits = route.segments[i] == segments[i];
      } else if (auto decoded = percent_decode(segments[i], false); decoded && !decoded->empty()) {
        match.arguments.push_back(std::move(*decoded));
      } else {
        fits = false;
      }
    }
    if (fits && (!best || match.arguments.size() < best->arguments.size())) best = std::move(match);
  }
  return best;
}

std::vector<std::string> Router::routes() const {
  std::vector<std::string> names;
  for (const Route& route : routes_) names.push_back(route.name);
  return names;
}

}  // namespace sandkey::emulator
