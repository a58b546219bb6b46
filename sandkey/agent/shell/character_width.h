// How many terminal columns a character takes.
#pragma once

namespace sandkey::agent {

// 0 for marks that combine with the character before them and for invisible format characters, 2 for East
// Asian wide characters and emoji, 1 for everything else. Unlike wcwidth() it does not depend on the locale,
// which in a sandbox is mostly "C".
[[nodiscard]] int character_width(char32_t code_point) noexcept;

}  // namespace sandkey::agent
