// The character classes of regular expressions, as ECMA-262 has them.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_CHARACTER_CLASSES_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_CHARACTER_CLASSES_H_

#include <optional>

#include "engine/structured/code_points.h"

namespace whipsnake::engine {

// What "\letter" matches, of d, w, s and their negations D, W, S; nullopt for other letters.
std::optional<CodePointSet> CharacterClass(char32_t letter);

// What "." matches: all but line terminators.
CodePointSet DotCharacters();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_CHARACTER_CLASSES_H_
