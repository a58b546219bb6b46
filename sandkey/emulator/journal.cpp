#include "sandkey/emulator/journal.h"

#include "sandkey/base/utf8.h"

#include <utility>

namespace sandkey::emulator {
namespace {

json::object to_json(const JournalEntry& entry) {
  json::object headers;
  for (const auto& [name, value] : entry.headers) {
    json::value& held = headers[name];
    const std::string text = utf8::sanitize(value);
    held = held.is_string() ? json::value(std::string(std::string_view(held.get_string())) + ", " + text)
                            : json::value(text);
  }
  json::object object;
  object["number"] = entry.number;
  object["provider"] = entry.provider;
  object["time"] = to_rfc3339(entry.time);
  object["method"] = entry.method;
  object["path"] = utf8::sanitize(entry.path);
  object["query"] = utf8::sanitize(entry.query);
  object["headers"] = std::move(headers);
  object["body"] = utf8::sanitize(entry.body);
  object["status"] = entry.status ? json::value(*entry.status) : json::value(nullptr);
  object["took_ms"] = entry.took ? json::value(entry.took->count()) : json::value(nullptr);
  if (!entry.grpc_status.empty()) object["grpc_status"] = entry.grpc_status;
  object["route"] = entry.route;
  object["fault"] = entry.fault.empty() ? json::value(nullptr) : json::value(entry.fault);
  return object;
}

}  // namespace

void Journal::add(const std::shared_ptr<JournalEntry>& entry) {
  entry->number = ++last_number_;
  entries_.push_back(entry);
  bytes_ += entry->body.size();
  if (entries_.size() > kMaxJournalEntries) drop_oldest();
}

void Journal::set_body(JournalEntry& entry, std::string body) {
  // One that was dropped meanwhile is nobody's any more.
  const bool kept = !entries_.empty() && entry.number >= entries_.front()->number;
  if (kept) bytes_ = bytes_ - entry.body.size() + body.size();
  entry.body = std::move(body);
  while (bytes_ > kMaxJournalBytes) drop_oldest();
}

void Journal::drop_oldest() {
  bytes_ -= entries_.front()->body.size();
  entries_.pop_front();
}

void Journal::count(const std::string& provider, const std::string& route) {
  ++calls_[provider][route];
}

void Journal::clear() {
  entries_.clear();
  bytes_ = 0;
  calls_.clear();
}

json::array Journal::entries(std::string_view provider, std::uint64_t since) const {
  json::array list;
  for (const auto& entry : entries_) {
    if (entry->number > since && (provider.empty() || entry->provider == provider)) {
      list.emplace_back(to_json(*entry));
    }
  }
  return list;
}

json::array Journal::coverage(const std::string& provider, const std::vector<std::string>& routes) const {
  std::map<std::string, std::uint64_t> calls;
  for (const std::string& route : routes) calls[route] = 0;
  const auto found = calls_.find(provider);
  if (found != calls_.end()) {
    for (const auto& [route, count] : found->second) calls[route] = count;
  }
  json::array list;
  for (const auto& [route, count] : calls) {
    json::object each;
    each["route"] = route;
    each["calls"] = count;
    list.emplace_back(std::move(each));
  }
  return list;
}

}  // namespace sandkey::emulator
