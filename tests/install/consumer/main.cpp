// The smallest program that needs Sandkey's headers, its compiled code, and what that links in turn.

#include "sandkey/base/archive/archive.h"
#include "sandkey/base/error.h"
#include "sandkey/base/json.h"

#include <cstdio>
#include <string>

int main() {
  const sandkey::json::value parsed = sandkey::parse_json(R"({"name": "sand key"})", "the sample");
  const auto name = sandkey::find_string(parsed.as_object(), "name");
  if (!name || *name != "sand key") return 1;
  try {
    sandkey::pack(1, "/does/not/exist");
    return 1;
  } catch (const sandkey::Error& error) {
    if (error.code() != sandkey::ErrorCode::not_found) return 1;
  }
  std::puts("consumer: ok");
  return 0;
}
