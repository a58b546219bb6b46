#include "sandkey/config/config_value.h"

namespace sandkey {

std::string Origin::to_string() const {
  switch (kind) {
    case Kind::program:
      return name.empty() ? "the program" : name;
    case Kind::environment:
      return name + " in the environment";
    case Kind::config_file:
      return line > 0 ? name + ":" + std::to_string(line) : name;
    case Kind::profile:
      return "profile '" + name + "'";
    case Kind::helper:
      return "the helper command " + name;
    case Kind::vendor_file:
      return name;
    case Kind::keyring:
      return "the keyring";
    case Kind::default_value:
      return "built-in default";
  }
  return "built-in default";
}

}  // namespace sandkey
